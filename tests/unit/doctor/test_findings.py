"""Severity, limits and settings."""

from __future__ import annotations

import pytest

from vrm.doctor import DoctorReport, DoctorSettings, Finding, Thresholds
from vrm.doctor.findings import ERRORS, ordered, percent, severity
from vrm.doctor.rows import evenly
from vrm.errors import ConfigError
from vrm.results import Severity
from vrm.results.formats import plural


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "ok"), (1, "info"), (5, "info"), (6, "warning"), (10, "warning"), (11, "error")],
)
def test_severity_by_share(count, expected):
    assert severity(count, 100, error=0.10, warning=0.05) == expected


def test_severity_without_limits_is_information():
    assert severity(100, 100) == "info"
    assert severity(1, 1000, error=0.0) == "error"
    assert severity(0, 0, error=0.0) == "ok"


@pytest.mark.parametrize("values", [{"near": 0.0}, {"near": 1.5}, {"bad_rows": -0.1}, {"longer_wins": 2.0}])
def test_limits_are_shares(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        Thresholds(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"allow": ("longer_wins",)}, "longer_wins cannot be allowed"),
        ({"split_by": "row"}, "split_by must be one of prompt, category; got 'row'"),
        ({"examples": -1}, "examples is -1"),
        ({"sample": -5}, "sample is -5"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(ConfigError, match=message):
        DoctorSettings(**values)


def test_the_worst_comes_first_and_the_rest_keeps_its_order():
    findings = [Finding(f"{name}{n}", name, ("f",), "") for n in range(2) for name in reversed(Severity)]
    assert [finding.name for finding in ordered(findings)] == [f"{name}{n}" for name in Severity for n in range(2)]


def test_a_report_is_invalid_with_an_error_only():
    def report(*severities):
        return DoctorReport(findings=tuple(Finding("x", Severity(name), ("f",), "") for name in severities))

    assert report("warning", "error").invalid
    assert not report("warning", "info", "ok", "not run").invalid


def test_shares_in_words():
    assert [percent(share) for share in (0.0, 0.0001, 0.0123, 1.0)] == ["0.0 %", "under 0.1 %", "1.2 %", "100.0 %"]
    assert [plural(count, "row") for count in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]


def test_evenly_spaced_entries():
    assert evenly(range(10), 0) == evenly(range(10), 10) == list(range(10))
    assert evenly(range(10), 5) == [0, 2, 4, 6, 8]
    assert evenly(range(7), 3) == [0, 2, 4]


def test_every_error_can_be_allowed(look, clean):
    """A file for each error; allowing exactly that one makes it a warning and the data valid."""
    seen = set()
    tied = [{**row, "preference": 0.5} for row in clean]
    first = clean[0]
    words = "explain how the quick brown fox jumps over the lazy dog while seventeen geese watch from a hill"
    long = "good " * 80
    cases = [
        ([*clean, {**first, "chosen": ""}],),
        (tied,),
        ([*clean, {**first, "preference": 0.0}, *(dict(first) for _ in range(3))],),
        ([*clean, {**first, "chosen": f"{long} a b", "rejected": f"{long} b b"}],),
        ([*clean, {**first, "chosen": "good  answer", "rejected": "good answer"}],),
        (clean, clean[:1]),
        ([*clean, {**first, "prompt": f"{words} a"}], [{**first, "prompt": f"{words} b"}]),
    ]
    for files in cases:
        report = look(*files)
        names = {finding.name for finding in report.of("error")}
        assert names
        seen |= names
        allowed = look(*files, allow=tuple(names))
        assert not allowed.invalid
        assert {finding.name for finding in allowed.of("warning") if finding.allowed} == names
    categorized = [{**row, "category": "x"} for row in clean]
    assert [f.name for f in look(categorized[:6], categorized[6:], split_by="category").of("error")] == [
        "shared_categories"
    ]
    assert seen | {"shared_categories", "template_refuses"} == set(ERRORS)
