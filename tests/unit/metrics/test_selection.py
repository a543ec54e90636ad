from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from vrm.errors import ConfigError, DataError
from vrm.metrics import (
    ResampleOptions,
    bootstrap_rows,
    selective_accuracy,
    selective_area_interval,
    thinned,
)


def test_curve_starts_with_the_most_certain_and_ends_with_all():
    result = selective_accuracy([1.0, -1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [4.0, 1.0, 3.0, 2.0])
    np.testing.assert_allclose(result.coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(result.accuracy, [1.0, 1.0, 2.5 / 3, 2.5 / 4])
    assert result.area == pytest.approx((1 + 1 + 2.5 / 3 + 2.5 / 4) / 4)


def test_equal_certainties_average_over_all_their_orders():
    margins, certainty = np.array([1.0, -1.0, 1.0, 1.0, -1.0]), np.array([2.0, 1.0, 1.0, 1.0, 0.0])
    curves = []
    for middle in itertools.permutations([1, 2, 3]):
        hits = (margins > 0)[[0, *middle, 4]]
        curves.append(np.cumsum(hits) / np.arange(1, 6))
    result = selective_accuracy(margins, np.ones(5), certainty)
    np.testing.assert_allclose(result.accuracy, np.mean(curves, axis=0))


def test_row_order_plays_no_role():
    rng = np.random.default_rng(0)
    margins, preference, certainty = rng.normal(size=200), rng.integers(0, 2, 200), rng.integers(0, 5, 200)
    order = rng.permutation(200)
    expected = selective_accuracy(margins, preference, certainty)
    shuffled = selective_accuracy(margins[order], preference[order], certainty[order])
    np.testing.assert_allclose(shuffled.accuracy, expected.accuracy)


def test_ties_are_left_out_before_the_half_is_taken():
    margins, preference = [1.0, 1.0, -1.0, -1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 0.5]
    certainty = [3.0, 2.0, 1.0, 0.0, 9.0]
    assert selective_accuracy(margins, preference, certainty).at(0.5) == 1.0
    result = selective_accuracy(margins, preference, certainty)
    assert (result.count, result.ties) == (4, 1)


@pytest.mark.parametrize(("coverage", "expected"), [(0.01, 1.0), (0.1, 1.0), (0.2, 0.5), (0.21, 1 / 3), (1.0, 0.1)])
def test_coverage_is_rounded_up_to_whole_pairs(coverage, expected):
    margins = [1.0] + [-1.0] * 9
    assert selective_accuracy(margins, [1.0] * 10, np.arange(10, 0, -1)).at(coverage) == pytest.approx(expected)


def test_float_error_does_not_add_a_pair():
    margins = [1.0] * 7 + [-1.0] * 93
    assert math.ceil(0.07 * 100) == 8
    assert selective_accuracy(margins, [1.0] * 100, np.arange(100, 0, -1)).at(0.07) == 1.0


def test_only_ties_give_nan():
    result = selective_accuracy([1.0], [0.5], [1.0])
    assert (result.coverage, result.accuracy, result.count, result.ties) == ((), (), 0, 1)
    assert math.isnan(result.area)
    assert math.isnan(selective_accuracy([1.0], [0.5], [1.0]).at(0.5))


def test_wrong_input_is_named():
    with pytest.raises(DataError, match="'certainty' must be finite, got nan at row 0"):
        selective_accuracy([1.0], [1.0], [math.nan])
    with pytest.raises(DataError, match="'margins' 1, 'certainty' 2"):
        selective_accuracy([1.0], [1.0], [1.0, 2.0])
    for coverage in (0.0, 1.5, math.nan):
        with pytest.raises(ConfigError, match=r"'coverage' must lie in \(0, 1\], got"):
            selective_accuracy([1.0], [1.0], [1.0]).at(coverage)


def test_area_interval_is_that_of_resampled_groups():
    rng = np.random.default_rng(9)
    margins, groups = rng.normal(size=90).round(1), np.arange(90) // 3
    preference = np.where(rng.random(90) < 0.3, 0.0, 1.0)
    preference[:6] = 0.5
    certainty = abs(margins)
    found = selective_area_interval(margins, preference, certainty, groups, ResampleOptions(resamples=200, seed=5))
    kept = np.flatnonzero(preference != 0.5)

    def area(times):
        rows = np.repeat(kept, times)
        return selective_accuracy(margins[rows], preference[rows], certainty[rows]).area

    expected = bootstrap_rows(area, len(kept), groups[kept], options=ResampleOptions(resamples=200, seed=5))
    assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high))
    assert math.isnan(selective_area_interval([1.0], [0.5], [1.0]).estimate)


def test_a_thinned_curve_is_the_same_curve():
    rng = np.random.default_rng(2)
    whole = selective_accuracy(rng.normal(size=1234), rng.integers(0, 2, 1234), rng.random(1234))
    thin = thinned(whole)
    assert len(thin.coverage) == len(thin.accuracy) == 101
    points = dict(zip(whole.coverage, whole.accuracy, strict=True))
    assert all(points[at] == value for at, value in zip(thin.coverage, thin.accuracy, strict=True))
    assert np.diff(thin.coverage).max() < 0.012
    assert (thin.coverage[-1], thin.accuracy[-1]) == (1.0, whole.accuracy[-1])
    assert (thin.area, thin.count) == (whole.area, 1234)
    short = selective_accuracy([1.0, 2.0], [1, 0], [1, 2])
    assert thinned(short) == short
