"""Properties of intervals, best-of-n, correlation and votes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats  # loads slowly: before hypothesis looks at the clock
from hypothesis import given
from hypothesis import strategies as st

from vrm import metrics

VALUE = st.floats(-1e6, 1e6)
LEVEL = st.integers(-3, 3).map(float)


@given(
    st.lists(st.tuples(VALUE, st.integers(0, 5)), min_size=1, max_size=30),
    st.integers(1, 30),
    st.floats(0.05, 0.99),
    st.integers(0, 3),
)
def test_intervals_contain_the_estimate(rows, resamples, confidence, seed):
    values, groups = zip(*rows)
    options = metrics.ResampleOptions(confidence, resamples, seed)
    for interval in (
        metrics.bootstrap_mean(values, groups, options),
        metrics.bootstrap_rows(lambda times: np.median(np.repeat(values, times)), len(values), groups, options),
    ):
        if len(set(groups)) > 1:
            assert interval.low <= interval.estimate <= interval.high
            spread = 1e-9 * (1 + max(map(abs, values)))
            assert min(values) - spread <= interval.low
            assert interval.high <= max(values) + spread
        else:
            assert math.isnan(interval.low)
            assert math.isnan(interval.high)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_symmetric_and_a_probability(rows):
    first, second = zip(*rows)
    one, other = metrics.mcnemar(first, second), metrics.mcnemar(second, first)
    assert (one.only_first, one.only_second) == (other.only_second, other.only_first)
    assert 0.0 < one.p_value == other.p_value <= 1.0


def _brute_force(rewards, gold, n):
    picks = []
    for subset in itertools.combinations(range(len(rewards)), n):
        best = max(rewards[index] for index in subset)
        picks.append(np.mean([gold[index] for index in subset if rewards[index] == best]))
    return np.mean(picks)


@given(st.lists(st.tuples(LEVEL | VALUE, VALUE), min_size=1, max_size=8), st.data())
def test_best_of_n_equals_brute_force_over_all_subsets(completions, choice):
    rewards, gold = zip(*completions)
    n = choice.draw(st.integers(1, len(rewards)))
    expected = _brute_force(rewards, gold, n)
    assert metrics.best_of_n_curve(rewards, gold, n)[-1] == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(st.lists(st.tuples(LEVEL, VALUE), min_size=1, max_size=40))
def test_best_of_one_is_the_mean_and_best_of_all_the_gold_of_the_top(completions):
    rewards, gold = (np.array(column) for column in zip(*completions))
    assert metrics.best_of_n_curve(rewards, gold, 1)[-1] == pytest.approx(gold.mean(), abs=1e-6)
    top = gold[rewards == rewards.max()].mean()
    assert metrics.best_of_n_curve(rewards, gold, len(gold))[-1] == pytest.approx(top, abs=1e-6)


@given(st.lists(VALUE, min_size=1, max_size=40))
def test_best_of_n_of_the_gold_itself_grows_with_n(gold):
    curve = [metrics.best_of_n_curve(gold, gold, n)[-1] for n in range(1, len(gold) + 1)]
    assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(curve))


@given(st.lists(st.tuples(LEVEL, LEVEL), max_size=30))
def test_correlations_are_symmetric_bounded_and_odd(points):
    x, y = (np.array(column) for column in zip(*points)) if points else (np.array([]), np.array([]))
    for correlation in (metrics.pearson, metrics.spearman):
        value = correlation(x, y)
        if math.isnan(value):
            assert len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1
        else:
            assert -1.0 <= value <= 1.0
        assert correlation(y, x) == pytest.approx(value, nan_ok=True)
        assert correlation(x, -y) == pytest.approx(-value, nan_ok=True)


@st.composite
def weights_and_votes(draw):
    num_objectives = draw(st.integers(1, 6))
    row = st.lists(st.integers(0, 4), min_size=num_objectives, max_size=num_objectives).filter(any)
    rows = draw(st.lists(st.tuples(row, row), min_size=1, max_size=8))
    weights, votes = (np.array(column, dtype=float) for column in zip(*rows))
    return weights / weights.sum(1, keepdims=True), votes


@given(weights_and_votes())
def test_recall_grows_with_k_to_one(data):
    weights, votes = data
    rows = np.array([metrics.top_k_recall_rows(weights, votes, k) for k in range(1, weights.shape[1] + 1)])
    assert (np.diff(rows, axis=0) >= -1e-12).all()
    np.testing.assert_allclose(rows[-1], 1.0)
    assert (rows >= -1e-12).all()


@given(weights_and_votes())
def test_total_variation_is_bounded_by_the_divergence(data):
    weights, votes = data
    shares = votes / votes.sum(1, keepdims=True)
    divergence = scipy.special.rel_entr(shares, weights).sum(axis=1)
    distance = metrics.total_variation_rows(weights, shares)
    assert ((distance >= 0) & (distance <= 1 + 1e-12)).all()
    # Pinsker's inequality.
    assert (distance <= np.sqrt(np.maximum(divergence, 0) / 2) + 1e-6).all()
