"""Values out of documents, and values as text."""

from __future__ import annotations

import math

import pytest

from vrm.metrics import Interval
from vrm.report.blocks import Cell
from vrm.report.values import (
    clip,
    clip_lines,
    clip_middle,
    fixed,
    fixed_cell,
    fixed_range,
    has_ends,
    known,
    percent,
    percent_cell,
    percent_range,
    plain,
    scaled,
)


def interval(estimate, low=math.nan, high=math.nan):
    return Interval(estimate, low, high, 0.95)


def test_intervals():
    assert known(None) is None
    assert known(interval(math.nan, 0.4, 0.6)) is None
    assert known(interval(0.5)) == interval(0.5)
    assert not has_ends(interval(0.5, 0.4))
    assert scaled(interval(0.5, 0.4, 0.7), -2) == interval(-1.0, -1.4, -0.8)
    assert percent_cell(interval(0.5, 0.25, 0.75)) == Cell("50.0", "[25.0, 75.0]")
    assert percent_cell(None) == fixed_cell(interval(math.nan)) == Cell("–")
    assert fixed_cell(interval(0.5, 0.25, 0.75), 2, signed=True, strong=True) == Cell("+0.50", "[+0.25, +0.75]", True)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.8064), "80.6"),
        (percent(None), "–"),
        (percent(math.nan), "–"),
        (fixed(math.nan), "–"),
        (fixed(-0.12345), "−0.123"),
        (fixed(-0.0001), "0.000"),
        (fixed(0.1, 2, signed=True), "+0.10"),
        (fixed(0.001, 2, signed=True), "0.00"),
        (percent_range(interval(0.5, 0.25, 0.75)), "[25.0, 75.0]"),
        (percent_range(interval(0.5)), ""),
        (fixed_range(interval(0.5, -0.5, 1.0), 1, signed=True), "[−0.5, +1.0]"),
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
