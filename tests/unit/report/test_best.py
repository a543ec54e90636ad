"""A model is the best on a file only if the data can tell it from every other one."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest

from vrm.metrics import Interval
from vrm.report import read_inputs
from vrm.report.sections.best import known_best, not_told_apart, paired_differences
from vrm.report.view import Measurement, view_of
from vrm.results import Evaluation


def interval(estimate, low, high):
    return Interval(estimate, low, high, 0.95)


@pytest.fixture(scope="module")
def measurement(make):
    """measurement(model, low, estimate, high): of a file with that accuracy."""
    summary = make.measured().pairs

    def measurement(model, low, estimate, high, pairs=100):
        accuracy = interval(estimate, low, high)
        return Measurement(
            model, 0, "test", Evaluation(pairs=replace(summary, count=pairs, accuracy=accuracy)), "x.json"
        )

    return measurement


def test_intervals_that_do_not_overlap_tell(measurement):
    measured = [measurement("a", 0.5, 0.55, 0.6), measurement("b", 0.61, 0.65, 0.7)]
    assert known_best(measured, {}) == 1
    assert known_best([*measured, measurement("c", 0.58, 0.62, 0.66)], {}) is None
    assert not_told_apart([*measured, measurement("c", 0.58, 0.62, 0.66)], 1, {}) == ["c"]


def test_a_single_model_and_unknown_intervals_are_not_best(measurement):
    assert known_best([measurement("a", 0.5, 0.55, 0.6)], {}) is None
    assert known_best([measurement("a", nan, 0.9, nan), measurement("b", 0.1, 0.2, 0.3)], {}) is None
    assert known_best([measurement("a", nan, nan, nan)] * 2, {}) is None


def test_other_numbers_of_pairs_are_other_data(measurement):
    measured = [measurement("a", 0.5, 0.55, 0.6), measurement("b", 0.61, 0.65, 0.7, pairs=99)]
    assert known_best(measured, {}) is None


@pytest.mark.parametrize(("low", "best"), [(0.01, 1), (-0.01, None)])
def test_a_paired_difference_decides_where_there_is_one(measurement, low, best):
    overlapping = [measurement("a", 0.5, 0.55, 0.6), measurement("b", 0.54, 0.6, 0.65)]
    assert known_best(overlapping, {("test", "b", "a"): interval(0.05, low, 0.1)}) == best
    apart = [measurement("a", 0.5, 0.55, 0.6), measurement("b", 0.61, 0.65, 0.7)]
    assert known_best(apart, {("test", "b", "a"): interval(0.05, low, 0.1)}) == best


def test_comparisons_are_read_both_ways_round(write, make):
    document = make.comparison("runs/a/model", "runs/b/model", "data/test.jsonl", (-0.05, -0.09, -0.01))
    document = replace(document, benchmarks={"rm-bench=data/rm": make.compared_figures((0.2, 0.1, 0.3))})
    found = paired_differences(view_of(read_inputs([write("c.json", document)])))
    assert found["test.jsonl", "a", "b"] == interval(-0.05, -0.09, -0.01)
    assert found["test.jsonl", "b", "a"] == interval(0.05, 0.01, 0.09)
    assert found["rm-bench", "a", "b"] == interval(0.2, 0.1, 0.3)
