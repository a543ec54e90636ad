from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vrm.errors import ConfigError, DataError
from vrm.metrics import (
    ResampleOptions,
    bootstrap_mean,
    bootstrap_means,
    bootstrap_rows,
    bootstrap_totals,
    intervals,
    mcnemar,
)

FEW = ResampleOptions(resamples=200, seed=7)


@pytest.fixture
def clustered():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    return rng.normal(size=40)[groups] + rng.normal(size=len(groups)), groups


def test_rows_give_what_the_mean_gives(clustered):
    values, groups = clustered
    mean = bootstrap_mean(values, groups, FEW)
    assert mean.estimate == pytest.approx(values.mean())
    for statistic in (
        lambda times: np.average(values, weights=times),
        lambda times: np.repeat(values, times).mean(),
    ):
        rows = bootstrap_rows(statistic, len(values), groups, FEW)
        np.testing.assert_allclose((rows.estimate, rows.low, rows.high), (mean.estimate, mean.low, mean.high))


def test_groups_are_drawn_as_numpy_draws_them_with_this_seed(clustered):
    values, groups = clustered
    members = [values[groups == group] for group in range(40)]
    drawn = np.random.default_rng(7).integers(40, size=(200, 40))
    means = [np.concatenate([members[group] for group in row]).mean() for row in drawn]
    found = bootstrap_mean(values, groups, FEW)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), rel=1e-12)


def test_interval_of_rows_agrees_with_scipy():
    values = np.random.default_rng(2).exponential(size=300)
    ours = bootstrap_mean(values, options=ResampleOptions(confidence=0.9, resamples=20_000))
    scipy_interval = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", confidence_level=0.9, rng=3
    ).confidence_interval
    width = scipy_interval.high - scipy_interval.low
    assert ours.low == pytest.approx(scipy_interval.low, abs=0.03 * width)
    assert ours.high == pytest.approx(scipy_interval.high, abs=0.03 * width)


def test_groups_widen_the_interval_of_repeated_rows():
    values = np.repeat(np.random.default_rng(4).integers(0, 2, 50), 20)
    rows = bootstrap_mean(values)
    prompts = bootstrap_mean(values, np.repeat(np.arange(50), 20))
    assert prompts.high - prompts.low > 3 * (rows.high - rows.low)


def test_group_labels_may_be_anything_hashable(clustered):
    values, groups = clustered
    expected = bootstrap_mean(values, groups)
    assert bootstrap_mean(values, [f"prompt {group}" for group in groups]) == expected
    assert bootstrap_mean(values, [(group, None) for group in groups.tolist()]) == expected


def test_same_seed_same_interval_and_chunks_change_nothing(clustered, monkeypatch):
    values, groups = clustered
    expected = bootstrap_mean(values, groups, ResampleOptions(resamples=101, seed=3))
    assert bootstrap_mean(values, groups, ResampleOptions(resamples=101, seed=3)) == expected
    assert bootstrap_mean(values, groups, ResampleOptions(resamples=101, seed=4)) != expected
    monkeypatch.setattr(intervals, "_CHUNK", 300)
    assert bootstrap_mean(values, groups, ResampleOptions(resamples=101, seed=3)) == expected


def test_more_confidence_is_wider(clustered):
    half, most = (bootstrap_mean(*clustered, ResampleOptions(level)) for level in (0.5, 0.99))
    assert most.low < half.low < half.high < most.high
    assert most.confidence == 0.99


def test_interval_is_unknown_with_fewer_than_two_groups():
    for interval in (bootstrap_mean([1.0]), bootstrap_mean([1.0, 0.0, 1.0], ["a", "a", "a"])):
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
    assert interval.estimate == pytest.approx(2 / 3)


def test_resamples_without_a_finite_statistic_are_left_out():
    calls = iter([math.nan, 1.0, 3.0, math.nan, 2.0])
    interval = bootstrap_rows(lambda times: next(calls), 3, options=ResampleOptions(0.5, 4))
    assert (interval.estimate, interval.low, interval.high) == (2.0, 1.5, 2.5)


def test_paired_difference_removes_what_both_share():
    rng = np.random.default_rng(5)
    shared = rng.normal(size=300) * 10
    first, second = shared + 0.5, shared + rng.normal(size=300) * 0.1
    interval = bootstrap_mean(first - second, np.arange(300) // 2)
    assert interval.estimate == pytest.approx((first - second).mean())
    assert 0.45 < interval.low < 0.5 < interval.high < 0.55
    flipped = bootstrap_mean(second - first, np.arange(300) // 2)
    assert (flipped.low, flipped.high) == pytest.approx((-interval.high, -interval.low))


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"values": []}, DataError, "'values' is empty"),
        ({"values": [1.0, math.nan]}, DataError, "got nan at row 1"),
        ({"groups": ["a"]}, DataError, "1 labels for 2 rows"),
        ({"groups": [["a"], ["b"]]}, DataError, "hashable"),
    ],
)
def test_wrong_input_is_named(keywords, error, message):
    with pytest.raises(error, match=message):
        bootstrap_mean(**{"values": [1.0, 2.0], **keywords})


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"confidence": 1.0}, r"'confidence' must lie in \(0, 1\), got 1.0"),
        ({"resamples": 0}, "'resamples' must be a whole number, at least 1, got 0"),
        ({"resamples": 10.5}, "got 10.5"),
    ],
)
def test_wrong_options_are_named(keywords, message):
    with pytest.raises(ConfigError, match=message):
        ResampleOptions(**keywords)


def test_wrong_rows_are_an_error():
    with pytest.raises(ConfigError, match="'rows' must be a whole number, at least 1, got 0"):
        bootstrap_rows(lambda times: 0.0, 0)


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


def test_totals_give_what_rows_give(clustered):
    values, groups = clustered
    weights = np.random.default_rng(5).random(len(values))
    fast = bootstrap_totals(np.stack([values * weights, weights], axis=1), lambda t: t[:, :1] / t[:, 1:], groups, FEW)[
        0
    ]
    generic = bootstrap_rows(lambda times: np.average(values, weights=weights * times), len(values), groups, FEW)
    assert (fast.estimate, fast.low, fast.high) == pytest.approx((generic.estimate, generic.low, generic.high))
    # A ratio over nothing is left out of the resamples, and is NaN as an estimate.
    lost = bootstrap_totals([[1.0, 0.0], [2.0, 0.0]], lambda t: t[:, :1] / t[:, 1:])[0]
    assert math.isnan(lost.low)


@pytest.mark.parametrize("groups", [None, [0, 0, 1, 2, 2, 2, 3, 4, 5, 5]])
def test_each_column_has_the_interval_it_would_have_alone(groups):
    values = np.random.default_rng(1).normal(size=(10, 4)) * [1.0, 10.0, 0.1, 0.0]
    options = ResampleOptions(0.9, 300, 5)
    together = bootstrap_means(values, groups, options)
    assert len(together) == 4
    for column, interval in zip(values.T, together, strict=True):
        alone = bootstrap_mean(column, groups, options)
        assert interval.confidence == 0.9
        assert (interval.low, interval.estimate, interval.high) == pytest.approx(
            (alone.low, alone.estimate, alone.high)
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], r"must have shape \(rows, columns\), none of them 0, got \(2,\)"),
        (np.zeros((0, 3)), r"got \(0, 3\)"),
        ([[1.0, np.inf]], "must be finite"),
    ],
)
def test_wrong_columns_are_named(values, message):
    with pytest.raises(DataError, match=message):
        bootstrap_means(values)
