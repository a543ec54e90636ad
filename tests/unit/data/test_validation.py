from __future__ import annotations

import json

import pytest

from vrm.data import InvalidRowError, Judgment, Problem, ValidationReport
from vrm.data.problems import one_problem
from vrm.data.validation import kinds_of


@pytest.mark.parametrize(
    ("judgment", "kinds"),
    [
        (Judgment("p", ["a", "b"], preference=1.0), ["comparisons"]),
        (Judgment("p", ["a", "b"], preference=0.5, ratings=[{"x": 1.0}, {}]), ["comparisons", "ties", "with ratings"]),
        (Judgment("p", ["a", "b", "c"], scores=[1.0, 2.0, 3.0]), ["ranked lists"]),
        (Judgment("p", ["a", "b", "c"], ratings=[{"x": 1.0}, {}, {}]), ["rated lists", "with ratings"]),
        (Judgment("p", ["a", "b"], objective_votes={"x": 1.0}), ["unranked lists", "with votes"]),
        (Judgment("p", objective_votes={"x": 1.0}), ["votes only", "with votes"]),
    ],
)
def test_kinds(judgment, kinds):
    assert kinds_of(judgment) == kinds


def bad(line: int, *kinds: str) -> InvalidRowError:
    return InvalidRowError([Problem("f.jsonl", line, f"field{index}", kind, "why") for index, kind in enumerate(kinds)])


def test_rows_and_problems_are_counted_apart():
    report = ValidationReport()
    report.add_good(Judgment("p", ["a", "b"], preference=1.0), "f")
    report.add_bad(bad(2, "wrong type", "wrong type", "not finite"), "f")
    report.add_bad(bad(3, "wrong type"), "f")
    report.add_bad(bad(0, "empty file"), "g")
    assert (report.rows, report.bad.total(), len(report.problems)) == (3, 2, 5)
    assert report.reasons() == {"wrong type": 2, "empty file": 1, "not finite": 1}
    assert not report.ok


def test_the_text_lists_every_problem_up_to_the_cap():
    report = ValidationReport()
    for line in range(1, 31):
        report.add_bad(one_problem("f.jsonl", line, "field0", "wrong type", f"why {line}"), "f")
    text = report.render(max_printed=3)
    assert text.splitlines() == [
        "30 rows: 0 good, 30 bad",
        "  f: 0 good, 30 bad",
        "What is wrong, by number of rows:",
        "       30  wrong type",
        "Where:",
        "  f.jsonl:1: field 'field0': why 1",
        "  f.jsonl:2: field 'field0': why 2",
        "  f.jsonl:3: field 'field0': why 3",
        "  ... and 27 more problems",
    ]
    assert "more problems" not in report.render(max_printed=30)
    assert len(report.problems) == 30


def test_problems_that_read_the_same_are_printed_once():
    report = ValidationReport()
    for line in range(1, 31):
        report.add_bad(bad(line, "wrong type"), "f")
    report.add_bad(one_problem("f.jsonl", 31, "", "wrong type", "other"), "f")
    lines = report.render().splitlines()
    assert lines[-2:] == ["  f.jsonl:1: field 'field0': why (in 30 rows)", "  f.jsonl:31: other"]
    assert report.render(max_printed=1).endswith("(in 30 rows)\n  ... and 1 more problems")


def test_plain_data_for_json():
    report = ValidationReport()
    report.add_good(Judgment("p", ["a", "b"], preference=1.0), "f")
    report.add_bad(bad(2, "wrong type"), "f")
    report.ignored.update(["id"])
    found = json.loads(json.dumps(report.to_dict()))
    assert (found["rows"], found["good"], found["bad"]) == (2, {"f": 1}, {"f": 1})
    assert found["ignored_columns"] == {"id": 1}
    assert found["problems"] == [
        {"file": "f.jsonl", "line": 2, "field": "field0", "kind": "wrong type", "reason": "why"}
    ]


def test_a_row_of_a_million_columns_does_not_make_a_report_of_a_million_names():
    report = ValidationReport()
    report.ignored.update({f"column {number}": 1 for number in range(1000)})
    line = next(line for line in report.render(3).splitlines() if line.startswith("Columns"))
    assert line.endswith("'column 2' (in 1), and 997 more")
