"""Values out of documents, and values as text."""

from __future__ import annotations

import math

import pytest

from vrm.report.values import (
    Span,
    clip,
    clip_lines,
    clip_middle,
    count,
    fixed,
    fixed_range,
    number,
    numbers,
    percent,
    percent_range,
    plain,
    span,
)


def test_what_is_absent_or_of_another_type_is_none():
    document = {"a": {"b": 2, "nan": math.nan, "flag": True, "word": "x", "inf": "inf", "list": [1, None, "y", 2.5]}}
    assert number(document, "a", "b") == 2.0
    for path in (("a", "nan"), ("a", "flag"), ("a", "word"), ("a", "list"), ("a", "b", "c"), ("z",)):
        assert number(document, *path) is None
    assert number(document, "a", "inf") == math.inf
    assert count(document, "a", "inf") is None
    assert numbers(document, "a", "list") == [1.0, None, None, 2.5]
    assert numbers(document, "a", "word") == []


def test_spans():
    assert span({"estimate": 0.5, "low": 0.4, "high": 0.6}) == Span(0.5, 0.4, 0.6)
    assert span(0.5) == Span(0.5)
    assert span({"low": 0.4}) is None
    assert not Span(0.5, 0.4, None).known
    assert Span(0.5, 0.4, 0.6).leaves_out_zero
    assert not Span(0.5, -0.1, 0.6).leaves_out_zero
    assert not Span(0.5).leaves_out_zero
    assert Span(0.5, 0.4, 0.7).scaled(-2) == Span(-1.0, -1.4, -0.8)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.8064), "80.6"),
        (percent(None), "–"),
        (fixed(-0.12345), "−0.123"),
        (fixed(-0.0001), "0.000"),
        (fixed(0.1, 2, signed=True), "+0.10"),
        (fixed(0.001, 2, signed=True), "0.00"),
        (percent_range(Span(0.5, 0.25, 0.75)), "[25.0, 75.0]"),
        (percent_range(Span(0.5)), ""),
        (fixed_range(Span(0.5, -0.5, 1.0), 1, signed=True), "[−0.5, +1.0]"),
        (fixed_range(None), ""),
        (clip("a  b\nc", 10), "a b c"),
        (clip("abcdef", 4), "abc…"),
        (clip_middle("abcdefghij", 5), "ab…ij"),
        (clip_middle("abc", 5), "abc"),
        (plain(None), "–"),
        (plain(True), "yes"),
        (plain(0.30000001), "0.3"),
        (plain([1, 3, 6]), "1, 3, 6"),
        (plain({"a": 1, "b": [2]}), "a 1, b 2"),
        (plain({}), "–"),
    ],
)
def test_texts(written, expected):
    assert written == expected


def test_long_texts_keep_their_lines_and_say_what_is_left_out():
    assert clip_lines("a\nb", 3) == ("a\nb", 0)
    assert clip_lines("a\nbcdef", 4) == ("a\nbc …", 3)
