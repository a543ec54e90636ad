"""Lengths: the "longer wins" rate, quantiles, sides that hardly differ."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from vrm.doctor.lengths import quantiles
from vrm.doctor.view import print_report

from .conftest import pair


def lengths(longer: int, shorter: int):
    rows = [pair(f"Q{n}?", "a long answer", "short") for n in range(longer)]
    return rows + [pair(f"R{n}?", "short", "a long answer") for n in range(shorter)]


def test_the_longer_wins_too_often(find):
    found = find("longer_wins", lengths(30, 10))
    rate = found.details["rate"]
    assert found.severity == "warning"
    assert rate.estimate == 0.75
    assert 0.5 < rate.low < 0.75 < rate.high < 1.0
    assert "75.0 %" in found.message


def test_the_shorter_wins_too_often(find):
    found = find("longer_wins", lengths(10, 30))
    assert (found.severity, found.details["rate"].estimate) == ("warning", 0.25)


@pytest.mark.parametrize(("longer", "shorter"), [(20, 20), (4, 2), (110, 90)])
def test_length_alone_is_no_warning_where_it_is_weak_or_unsure(find, longer, shorter):
    found = find("longer_wins", lengths(longer, shorter))
    assert (found.severity, found.advice) == ("info", "")


def test_ties_and_the_direction_of_the_label_count(find):
    rows = [*lengths(10, 0), pair("T?", "tie tie", "tie", preference=0.5), pair("U?", "x", "xxxx", preference=0.0)]
    found = find("longer_wins", rows)
    assert (found.details["rate"].estimate, found.total) == (1.0, 11)
    assert find("longer_wins", [pair("T?", "tie tie", "tie", preference=0.5)]).severity == "not run"


def test_by_source(find):
    rows = [{**row, "source": "one" if row["prompt"][0] == "Q" else "two"} for row in lengths(10, 10)]
    found = find("longer_wins", rows)
    assert {name: rate.estimate for name, rate in found.details["by_source"].items()} == {"one": 1.0, "two": 0.0}
    assert "one 100.0 %" in found.message
    assert find("longer_wins", lengths(10, 10)).details["by_source"] == {}


def test_every_pair_of_a_list_counts(find):
    row = {"prompt": "Name a tree.", "completions": ["Oak tree.", "Elm.", "A cork oak tree."], "scores": [2, 1, 0]}
    found = find("longer_wins", [row])
    assert found.total == 3
    assert found.details["rate"].estimate == pytest.approx(1 / 3)


def test_lengths_in_characters_of_the_preferred_side(look):
    rows = [pair("1234", "12", "123"), pair("12345678", "1", "1234", preference=0.0)]
    characters = look(rows).files["file0"]["characters"]
    assert characters["chosen"]["mean"] == 3.0
    assert characters["rejected"]["mean"] == 2.0
    assert characters["prompt"]["max"] == 8.0


def test_quantiles_are_numpys():
    values = list(range(101))
    assert quantiles(values) == {"p5": 5.0, "p50": 50.0, "p95": 95.0, "max": 100.0, "mean": float(np.mean(values))}


def test_sides_that_differ_in_case_alone(find, clean):
    found = find("case_only", [*clean, pair("Why?", "Because.", "BECAUSE. "), pair("How?", "So.", "So!")])
    assert (found.severity, found.count, found.total) == ("warning", 1, 14)
    assert found.places[0].endswith(":13")
    assert find("case_only", clean).severity == "ok"
    many = [pair(f"Q{n}?", "yes", "no") for n in range(200)]
    assert find("case_only", [*many, pair("Why?", "Because.", "BECAUSE.")]).severity == "info"


def test_the_share_of_an_estimated_rate_is_shown(look):
    rows = [pair(f"What about {n}?", f"a{'a' * (n % 4)}", f"b{'b' * ((n + 1) % 4)}") for n in range(40)]
    report = look(rows)
    (found,) = (finding for finding in report.findings if finding.name == "longer_wins")
    assert found.shown_share == found.details["rate"].estimate
    console = Console(width=100, record=True, file=io.StringIO())
    print_report(console, report)
    line = next(line for line in console.export_text().splitlines() if "longer_wins" in line)
    assert f"{100 * found.shown_share:.1f} %" in line
