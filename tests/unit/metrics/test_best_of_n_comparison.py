"""Curves of several prompts against brute force over all subsets."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from vrm.errors import ConfigError, DataError
from vrm.metrics import (
    ORACLE,
    RANDOM,
    ResampleOptions,
    best_of_n_curve,
    compare_best_of_n,
    policy_kl,
)

RNG = np.random.default_rng(3)
# Rewards and gold values with ties, of 3 to 6 completions.
SIZES = [4, 6, 3, 5, 4, 3]
GOLD = [RNG.integers(-2, 3, size).astype(float) for size in SIZES]
PROXY = [RNG.integers(0, 3, size).astype(float) for size in SIZES]
OTHER = [RNG.normal(size=size) for size in SIZES]
FAST = {"options": ResampleOptions(resamples=200)}


def _brute_force(rewards, gold, n):
    """Mean over subsets of n of the mean gold among those of the highest reward."""
    picked = []
    for subset in combinations(range(len(gold)), n):
        top = max(rewards[i] for i in subset)
        picked.append(np.mean([gold[i] for i in subset if rewards[i] == top]))
    return float(np.mean(picked))


@pytest.mark.parametrize("row", range(len(SIZES)))
def test_a_prompts_curve_is_the_mean_over_all_subsets(row):
    expected = [_brute_force(PROXY[row], GOLD[row], n) for n in range(1, SIZES[row] + 1)]
    np.testing.assert_allclose(best_of_n_curve(PROXY[row], GOLD[row]), expected, atol=1e-12)
    np.testing.assert_allclose(best_of_n_curve(PROXY[row], GOLD[row], 2), expected[:2], atol=1e-12)


def test_the_curve_is_the_mean_over_prompts_and_ends_where_the_shortest_list_does():
    result = compare_best_of_n({"proxy": PROXY}, GOLD, **FAST)
    assert result.n == (1, 2, 3)
    assert (result.rows, result.left_out, result.sizes) == (6, 0, {3: 2, 4: 2, 5: 1, 6: 1})
    assert result.policy_kl == tuple(policy_kl(n) for n in (1, 2, 3))
    expected = [np.mean([_brute_force(p, g, n) for p, g in zip(PROXY, GOLD, strict=True)]) for n in (1, 2, 3)]
    assert [point.estimate for point in result.curves["proxy"].gold] == pytest.approx(expected)
    everything = np.mean([_brute_force(p, g, len(g)) for p, g in zip(PROXY, GOLD, strict=True)])
    assert result.curves["proxy"].all_completions.estimate == pytest.approx(everything)


def test_asked_for_more_it_keeps_the_prompts_that_reach_it_all_along():
    result = compare_best_of_n({"proxy": PROXY}, GOLD, max_n=5, **FAST)
    assert (result.n[-1], result.rows, result.left_out, result.sizes) == (5, 2, 4, {5: 1, 6: 1})
    long = [row for row, size in enumerate(SIZES) if size >= 5]
    for n, point in enumerate(result.curves["proxy"].gold, start=1):
        assert point.estimate == pytest.approx(np.mean([_brute_force(PROXY[row], GOLD[row], n) for row in long]))


def test_oracle_is_the_best_line_and_random_the_mean():
    result = compare_best_of_n({"proxy": PROXY, "other": OTHER}, GOLD, **FAST)
    oracle, mean = result.curves[ORACLE], np.mean([gold.mean() for gold in GOLD])
    for curve in result.curves.values():
        for best, point in zip(oracle.gold, curve.gold, strict=True):
            assert point.estimate <= best.estimate + 1e-12
        assert curve.gold[0].estimate == pytest.approx(mean)  # the best of one is any one
        assert curve.regret.estimate == pytest.approx(oracle.gold[-1].estimate - curve.gold[-1].estimate)
        assert curve.regret.low >= -1e-12
    assert [point.estimate for point in result.curves[RANDOM].gold] == pytest.approx([mean] * 3)
    assert oracle.regret.estimate == 0.0
    assert oracle.all_completions.estimate == pytest.approx(np.mean([gold.max() for gold in GOLD]))


def test_of_one_best_among_n_random_finds_one_nth_and_the_reward_its_top_one_accuracy():
    gold = [np.eye(4)[row % 4] for row in range(20)]
    rewards = [RNG.normal(size=4) for _ in gold]
    result = compare_best_of_n({"proxy": rewards}, gold, **FAST)
    hits = np.mean([gold[row][rewards[row].argmax()] for row in range(20)])
    assert result.curves["proxy"].gold[-1].estimate == pytest.approx(hits)
    assert result.curves[RANDOM].gold[-1].estimate == pytest.approx(0.25)
    assert result.curves[ORACLE].gold[-1].estimate == pytest.approx(1.0)


def test_order_of_completions_and_a_constant_a_prompt_change_nothing():
    orders = [np.random.default_rng(row).permutation(size) for row, size in enumerate(SIZES)]
    shifted = [reward[order] + 10.0 * row for row, (reward, order) in enumerate(zip(PROXY, orders, strict=True))]
    gold = [value[order] for value, order in zip(GOLD, orders, strict=True)]
    first = compare_best_of_n({"a": PROXY}, GOLD, **FAST).curves["a"]
    second = compare_best_of_n({"a": shifted}, gold, **FAST).curves["a"]
    for one, other in zip(first.gold, second.gold, strict=True):
        assert (one.low, one.estimate, one.high) == pytest.approx((other.low, other.estimate, other.high))
    assert first.proxy == pytest.approx(second.proxy)
    assert first.peak == second.peak


def test_intervals_hold_the_estimate_and_narrow_with_more_prompts():
    def widths(prompts):
        rng = np.random.default_rng(0)
        gold = [rng.normal(size=5) for _ in range(prompts)]
        proxy = [value + rng.normal(size=5) for value in gold]
        points = compare_best_of_n({"proxy": proxy}, gold).curves["proxy"].gold
        assert all(point.low < point.estimate < point.high for point in points)
        return np.array([point.high - point.low for point in points])

    # 16 times the prompts: a quarter of the width.
    np.testing.assert_allclose(widths(800) / widths(50), 0.25, rtol=0.35)


def test_differences_are_paired():
    better = [0.5 * gold + noise for gold, noise in zip(GOLD, OTHER, strict=True)]
    result = compare_best_of_n({"base": OTHER, "better": better}, GOLD, baseline="base", **FAST)
    base, curve = result.curves["base"], result.curves["better"]
    for n in range(3):
        assert curve.difference[n].estimate == pytest.approx(curve.gold[n].estimate - base.gold[n].estimate)
    assert base.difference == ()
    same = compare_best_of_n({"base": OTHER, "same": OTHER}, GOLD, baseline="base", **FAST).curves["same"]
    # Unpaired, this interval would have the width of the curve's own.
    assert (same.difference[-1].low, same.difference[-1].high) == (0.0, 0.0)


def test_lists_of_one_prompt_are_drawn_together():
    gold, proxy = GOLD * 4, OTHER * 4
    labels = list(range(6)) * 4
    alone = compare_best_of_n({"a": OTHER}, GOLD).curves["a"].gold[-1]
    together = compare_best_of_n({"a": proxy}, gold, groups=labels).curves["a"].gold[-1]
    apart = compare_best_of_n({"a": proxy}, gold).curves["a"].gold[-1]
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert apart.high - apart.low < 0.7 * (together.high - together.low)


def test_over_optimization_shows_as_a_peak_before_the_end():
    # The proxy agrees with gold except on one completion that it loves and that is worthless.
    gold = [np.array([0.0, 1.0, 2.0, 3.0, -10.0]) + row for row in range(30)]
    proxy = [np.array([0.0, 1.0, 2.0, 3.0, 4.0]) for _ in gold]
    curve = compare_best_of_n({"proxy": proxy}, gold, **FAST).curves["proxy"]
    by_hand = [_brute_force(proxy[0], gold[0], n) for n in range(1, 6)]
    assert curve.peak == 1 + int(np.argmax(by_hand)) < 5
    assert curve.fall.estimate == pytest.approx(max(by_hand) - by_hand[-1])
    assert list(curve.proxy) == sorted(curve.proxy)
    # The top of 0, 1, 2, 3, 4 is 2 above their mean, whose spread is sqrt(2).
    assert curve.proxy[-1] == pytest.approx(2.0 / math.sqrt(2.0))


def test_the_oracle_peaks_at_the_end_and_what_does_not_move_peaks_at_one():
    curves = compare_best_of_n({"flat": [[0.1] * 4] * 3}, [[0.1, 0.7, 0.3, 0.9]] * 3, **FAST).curves
    assert (curves[ORACLE].peak, curves[ORACLE].fall.estimate) == (4, 0.0)
    assert (curves[RANDOM].peak, curves["flat"].peak) == (1, 1)
    assert all(math.isnan(value) for value in curves["flat"].proxy)


def test_spread_is_within_prompts():
    result = compare_best_of_n({"a": [[0.0, 1.0]] * 2}, [[0.0, 2.0], [100.0, 104.0]], **FAST)
    assert result.gold_spread == pytest.approx(math.sqrt((1.0 + 4.0) / 2))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (({}, []), DataError, "'gold' is empty"),
        (({"a": [[1.0]]}, [[1.0], [2.0]]), DataError, r"'rewards\[a\]' has 1 prompts, 'gold' has 2"),
        (({"a": [[1.0, 2.0]]}, [[1.0]]), DataError, r"'rewards\[a\]\[0\]' 2, 'gold\[0\]' 1"),
        (({"a": [[1.0]]}, [[math.nan]]), DataError, r"'gold\[0\]' must be finite"),
        (({"oracle": [[1.0]]}, [[1.0]]), ConfigError, "may not be named 'oracle'"),
    ],
)
def test_wrong_input_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        compare_best_of_n(*arguments)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"baseline": "b"}, ConfigError, "'baseline' must be one of 'a'"),
        ({"max_n": 3}, DataError, "No prompt has the 3 completions that 'max_n' asks for; the most is 2"),
        ({"max_n": 0}, ConfigError, "'max_n' must be a whole number"),
        ({"groups": ["x", "y"]}, DataError, "got 2 labels for 1 prompts"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        compare_best_of_n({"a": [[1.0, 2.0]]}, [[1.0, 2.0]], **settings)
