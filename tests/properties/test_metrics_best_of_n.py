"""Properties of best-of-n curves, ties included."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrm.metrics import ORACLE, RANDOM, ResampleOptions, best_of_n_curve, compare_best_of_n

VALUE = st.integers(-3, 3).map(float)  # few values, so that ties are common


@st.composite
def lists(draw, max_size=6):
    """One prompt: rewards and gold values of 1 to `max_size` completions."""
    rows = draw(st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=max_size))
    reward, gold = zip(*rows, strict=True)
    return np.array(reward), np.array(gold)


@given(lists())
def test_curve_is_the_mean_over_all_subsets(prompt):
    reward, gold = prompt
    for n, found in enumerate(best_of_n_curve(reward, gold), start=1):
        picks = []
        for subset in map(list, combinations(range(len(gold)), n)):
            picks.append(gold[subset][reward[subset] == reward[subset].max()].mean())
        assert found == pytest.approx(np.mean(picks), abs=1e-12)


@given(lists(max_size=12), st.randoms(use_true_random=False), st.floats(0.1, 10.0), st.floats(-100.0, 100.0))
def test_only_the_order_of_the_rewards_counts(prompt, random, scale, shift):
    reward, gold = prompt
    order = list(range(len(gold)))
    random.shuffle(order)
    moved = best_of_n_curve((scale * reward + shift)[order], gold[order])
    np.testing.assert_allclose(moved, best_of_n_curve(reward, gold), atol=1e-12)


@given(st.lists(lists(), min_size=1, max_size=8))
def test_every_line_lies_between_the_oracle_and_the_worst_pick(prompts):
    rewards, gold = zip(*prompts, strict=True)
    opposite = [-value for value in gold]
    curves = compare_best_of_n(
        {"reward": rewards, "worst": opposite}, gold, options=ResampleOptions(resamples=5)
    ).curves
    best, worst = curves[ORACLE].gold, curves["worst"].gold
    for curve in curves.values():
        assert curve.gold[0].estimate == pytest.approx(curves[RANDOM].gold[0].estimate, abs=1e-12)
        for low, point, high in zip(worst, curve.gold, best, strict=True):
            assert low.estimate - 1e-12 <= point.estimate <= high.estimate + 1e-12
            assert not point.estimate < point.low
            assert not point.estimate > point.high
        steps = np.diff(curve.proxy)
        assert np.isnan(steps).all() or (steps >= -1e-9).all()
        assert curve.gold[curve.peak - 1].estimate == pytest.approx(max(point.estimate for point in curve.gold))
        assert curve.fall.estimate >= -1e-12
