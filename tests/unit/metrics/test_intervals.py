from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vrm.errors import ConfigError, DataError
from vrm.metrics import (
    bootstrap_interval,
    bootstrap_multiplicities,
    bootstrap_statistic,
    bootstrap_totals,
    intervals,
    mcnemar,
    paired_difference_interval,
)


@pytest.fixture
def clustered():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    return rng.normal(size=40)[groups] + rng.normal(size=len(groups)), groups


def test_fast_path_gives_what_the_generic_path_gives(clustered):
    values, groups = clustered
    fast = bootstrap_interval(values, groups, resamples=200, seed=7)
    generic = bootstrap_interval(values, groups, np.mean, resamples=200, seed=7)
    rows = bootstrap_statistic(lambda rows: values[rows].mean(), len(values), groups, resamples=200, seed=7)
    np.testing.assert_allclose((generic.low, generic.high), (fast.low, fast.high), rtol=1e-12)
    assert rows == generic
    assert fast.estimate == pytest.approx(values.mean())


def test_interval_of_rows_agrees_with_scipy():
    values = np.random.default_rng(2).exponential(size=300)
    ours = bootstrap_interval(values, resamples=20_000, confidence=0.9)
    scipy_interval = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", confidence_level=0.9, rng=3
    ).confidence_interval
    width = scipy_interval.high - scipy_interval.low
    assert ours.low == pytest.approx(scipy_interval.low, abs=0.03 * width)
    assert ours.high == pytest.approx(scipy_interval.high, abs=0.03 * width)


def test_groups_widen_the_interval_of_repeated_rows():
    values = np.repeat(np.random.default_rng(4).integers(0, 2, 50), 20)
    rows = bootstrap_interval(values)
    prompts = bootstrap_interval(values, np.repeat(np.arange(50), 20))
    assert prompts.high - prompts.low > 3 * (rows.high - rows.low)


def test_group_labels_may_be_anything_hashable(clustered):
    values, groups = clustered
    expected = bootstrap_interval(values, groups)
    assert bootstrap_interval(values, [f"prompt {group}" for group in groups]) == expected
    assert bootstrap_interval(values, [(group, None) for group in groups.tolist()]) == expected


def test_same_seed_same_interval_and_chunks_change_nothing(clustered, monkeypatch):
    values, groups = clustered
    expected = bootstrap_interval(values, groups, resamples=101, seed=3)
    assert bootstrap_interval(values, groups, resamples=101, seed=3) == expected
    assert bootstrap_interval(values, groups, resamples=101, seed=4) != expected
    monkeypatch.setattr(intervals, "_CHUNK", 300)
    assert bootstrap_interval(values, groups, resamples=101, seed=3) == expected


def test_more_confidence_is_wider(clustered):
    half, most = (bootstrap_interval(*clustered, confidence=level) for level in (0.5, 0.99))
    assert most.low < half.low < half.high < most.high
    assert most.confidence == 0.99


def test_interval_is_unknown_with_fewer_than_two_groups():
    for interval in (bootstrap_interval([1.0]), bootstrap_interval([1.0, 0.0, 1.0], ["a", "a", "a"])):
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
    assert interval.estimate == pytest.approx(2 / 3)


def test_resamples_without_a_finite_statistic_are_left_out():
    calls = iter([math.nan, 1.0, 3.0, math.nan, 2.0])
    interval = bootstrap_statistic(lambda rows: next(calls), 3, resamples=4, confidence=0.5)
    assert (interval.estimate, interval.low, interval.high) == (2.0, 1.5, 2.5)


def test_paired_difference_removes_what_both_share():
    rng = np.random.default_rng(5)
    shared = rng.normal(size=300) * 10
    first, second = shared + 0.5, shared + rng.normal(size=300) * 0.1
    interval = paired_difference_interval(first, second, np.arange(300) // 2)
    assert interval.estimate == pytest.approx((first - second).mean())
    assert 0.45 < interval.low < 0.5 < interval.high < 0.55
    flipped = paired_difference_interval(second, first, np.arange(300) // 2)
    assert (flipped.low, flipped.high) == pytest.approx((-interval.high, -interval.low))


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"values": []}, DataError, "'values' is empty"),
        ({"values": [1.0, math.nan]}, DataError, "got nan at row 1"),
        ({"groups": ["a"]}, DataError, "1 labels for 2 rows"),
        ({"groups": [["a"], ["b"]]}, DataError, "hashable"),
        ({"confidence": 1.0}, ConfigError, r"'confidence' must lie in \(0, 1\), got 1.0"),
        ({"resamples": 0}, ConfigError, "'resamples' must be a whole number, at least 1, got 0"),
        ({"resamples": 10.5}, ConfigError, "got 10.5"),
    ],
)
def test_wrong_input_is_named(keywords, error, message):
    with pytest.raises(error, match=message):
        bootstrap_interval(**{"values": [1.0, 2.0], **keywords})


def test_wrong_rows_are_an_error():
    with pytest.raises(ConfigError, match="'rows' must be a whole number, at least 1, got 0"):
        bootstrap_statistic(lambda rows: 0.0, 0)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 3), (2, 9), (40, 61), (900, 1100), (30_000, 30_500)])
def test_mcnemar_agrees_with_scipy(first, second):
    ours = mcnemar([1] * first + [0] * second + [1, 0], [0] * first + [1] * second + [1, 0])
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert (ours.only_first, ours.only_second) == (first, second)
    assert ours.p_value == pytest.approx(expected, rel=1e-8)


def test_mcnemar_takes_half_credits_as_the_sign_test():
    assert mcnemar([0.5, 1.0, 0.0], [0.0, 0.5, 0.0]).only_first == 2


def test_mcnemar_refuses_unequal_lengths():
    with pytest.raises(DataError, match="'correct_first' 2, 'correct_second' 1"):
        mcnemar([1, 0], [1])


def test_totals_give_what_the_generic_path_gives(clustered):
    values, groups = clustered
    weights = np.random.default_rng(5).random(len(values))
    fast = bootstrap_totals(
        np.stack([values * weights, weights], axis=1), lambda t: t[:, 0] / t[:, 1], groups, resamples=200, seed=7
    )
    generic = bootstrap_statistic(
        lambda rows: np.average(values[rows], weights=weights[rows]), len(values), groups, resamples=200, seed=7
    )
    assert (fast.estimate, fast.low, fast.high) == pytest.approx((generic.estimate, generic.low, generic.high))
    # A ratio over nothing is left out of the resamples, and is NaN as an estimate.
    lost = bootstrap_totals([[1.0, 0.0], [2.0, 0.0]], lambda t: t[:, 0] / t[:, 1])
    assert math.isnan(lost.low)


def test_multiplicities_give_what_rows_give(clustered):
    values, groups = clustered
    found = bootstrap_multiplicities(
        lambda times: np.average(values, weights=times), len(values), groups, resamples=200, seed=7
    )
    expected = bootstrap_interval(values, groups, resamples=200, seed=7)
    assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high))
