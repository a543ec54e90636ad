from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from vrm.errors import DataError
from vrm.metrics import (
    ResampleOptions,
    balanced_mean_interval,
    bootstrap_rows,
    length_controlled_accuracy,
    overlap_weights,
    pairwise_accuracy,
    style_controlled_accuracy,
    style_log_odds,
    style_regression,
)


def make(rows, seed=0, quality=1.0):
    """Style differences, the reward of a model that sees quality and style, and labels that follow both."""
    rng = np.random.default_rng(seed)
    style = rng.normal(size=(rows, 2)) * [1.0, 0.2]
    merit = rng.normal(size=rows)
    chance = 1 / (1 + np.exp(-(quality * merit + style @ [1.2, 2.0])))
    return style, merit, (rng.random(rows) < chance) * 1.0


@pytest.fixture
def rows():
    style, merit, preference = make(240)
    preference[:12] = 0.5
    style[20] = 0.0
    return style, merit + 0.8 * style[:, 0], preference, np.arange(240) // 2


def test_each_pair_is_judged_by_a_model_of_other_prompts(rows):
    style, _, preference, groups = rows
    found = style_log_odds(style, preference, groups, seed=4)
    order = np.random.default_rng(4).permutation(120)
    for pair in (15, 100, 201):
        fold = order[groups[pair]] % 5
        others = (order[groups] % 5 != fold) & (preference != 0.5)
        scale = np.sqrt((style[others] ** 2).mean(0))
        model = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10)
        model.fit(style[others] / scale, preference[others] > 0.5)
        assert found[pair] == pytest.approx(model.decision_function(style[[pair]] / scale)[0], abs=1e-4)
    changed = preference.copy()
    changed[100:102] = 1 - changed[100:102]
    again = style_log_odds(style, changed, groups, seed=4)
    assert again[100] == found[100]
    assert not np.allclose(again, found)


def test_accuracy_by_brute_force(rows):
    style, margins, preference, groups = rows
    log_odds = style_log_odds(style, preference, groups)
    found = style_controlled_accuracy(margins, preference, log_odds, groups, ResampleOptions(resamples=50))
    sides = {"right": [], "wrong": [], "equal": [], "tie": []}
    for margin, label, odds in zip(margins, preference, log_odds, strict=True):
        chance = 1 / (1 + math.exp(-odds))
        if label == 0.5:
            sides["tie"].append(odds)
        elif odds == 0.0:
            sides["equal"].append(odds)
        else:
            chosen_chance = chance if label == 1.0 else 1 - chance
            side = "right" if chosen_chance > 0.5 else "wrong"
            sides[side].append((float((margin > 0) == (label == 1.0)), 1 - chosen_chance))
    means = {
        side: sum(hit * weight for hit, weight in sides[side]) / sum(weight for _, weight in sides[side])
        for side in ("right", "wrong")
    }
    assert (found.style_right.value, found.style_wrong.value) == pytest.approx((means["right"], means["wrong"]))
    assert found.accuracy.estimate == pytest.approx((means["right"] + means["wrong"]) / 2)
    assert found.style_right.weight == pytest.approx(sum(weight for _, weight in sides["right"]))
    counts = (found.style_right.count, found.style_wrong.count, found.equal_style, found.ties)
    assert counts == (len(sides["right"]), len(sides["wrong"]), 1, 12)
    assert found.style_wins.value == pytest.approx((len(sides["right"]) + 0.5) / 228)
    assert found.reason is None


def test_swapping_sides_changes_nothing(rows):
    style, margins, preference, groups = rows
    sign = np.where(np.arange(240) % 3 == 0, -1.0, 1.0)

    def measure(sign):
        label = np.where(sign > 0, preference, 1 - preference)
        log_odds = style_log_odds(style * sign[:, None], label, groups)
        return style_controlled_accuracy(margins * sign, label, log_odds, groups, ResampleOptions(resamples=100))

    one, other = measure(np.ones(240)), measure(sign)
    assert one.accuracy.estimate == pytest.approx(other.accuracy.estimate, abs=1e-12)
    assert one.accuracy.low == pytest.approx(other.accuracy.low, abs=1e-12)
    assert one.style_right.count == other.style_right.count


def test_the_style_only_model_scores_one_half(rows):
    style, _, preference, groups = rows
    log_odds = style_log_odds(style, preference, groups)
    found = style_controlled_accuracy(log_odds, preference, log_odds, groups)
    assert found.style_wins.value > 0.65
    assert found.style_right.value == pytest.approx(1.0)
    assert found.style_wrong.value == 0.0
    assert found.accuracy.estimate == pytest.approx(0.5)


def test_any_rule_that_reads_style_alone_scores_one_half():
    style, merit, preference = make(20_000)
    log_odds = style_log_odds(style, preference)
    rules = {
        "length": style[:, 0],
        "second": style[:, 1],
        "only where it is sure": np.where(abs(style[:, 0]) > 1, style[:, 0], 0.0),
        "short": -(style[:, 0] ** 3),
    }
    for name, rule in rules.items():
        plain = pairwise_accuracy(rule, preference).value
        found = style_controlled_accuracy(
            rule, preference, log_odds, options=ResampleOptions(resamples=1)
        ).accuracy.estimate
        assert abs(plain - 0.5) > 0.04, name
        assert found == pytest.approx(0.5, abs=0.012), name
    # What is not style is not taken away, and adding style to it does not help as it does in plain accuracy.
    judge = style_controlled_accuracy(
        merit, preference, log_odds, options=ResampleOptions(resamples=1)
    ).accuracy.estimate
    swayed = merit + 1.2 * style[:, 0]
    assert judge > 0.6
    assert pairwise_accuracy(swayed, preference).value > pairwise_accuracy(merit, preference).value + 0.05
    assert (
        style_controlled_accuracy(swayed, preference, log_odds, options=ResampleOptions(resamples=1)).accuracy.estimate
        < judge
    )


def test_weights_balance_style():
    style, _, preference = make(20_000, seed=1)
    weights = overlap_weights(style_log_odds(style, preference), preference)
    sign = np.where(preference == 1.0, 1.0, -1.0)
    assert abs((sign @ style) / 20_000).max() > 0.02
    assert abs((sign * weights) @ style / weights.sum()).max() < 0.004
    assert overlap_weights([2.0, -800.0], [0.5, 0.0]).tolist() == [0.5, 0.0]


def test_with_length_alone_and_no_weights_it_is_length_controlled_accuracy(rows):
    style, margins, preference, groups = rows
    longer = np.sign(preference - 0.5) * np.sign(style[:, 0])
    hits = np.where(preference == 0.5, 0.0, (margins > 0) == (preference > 0.5))
    found = balanced_mean_interval(hits, longer, None, groups, ResampleOptions(resamples=100, seed=1))
    lengths = np.maximum(style[:, 0], 0), np.maximum(-style[:, 0], 0)
    assert found.estimate == pytest.approx(length_controlled_accuracy(margins, preference, *lengths).value)

    def mean(times):
        drawn = np.repeat(np.arange(240), times)
        return np.mean([hits[drawn][longer[drawn] == side].mean() for side in (1, -1)])

    generic = bootstrap_rows(mean, 240, groups, ResampleOptions(resamples=100, seed=1))
    assert (found.low, found.high) == pytest.approx((generic.low, generic.high))


def test_what_cannot_be_known_is_said():
    alone = style_log_odds([[1.0], [2.0]], [1.0, 0.0], ["p", "p"])
    assert alone.tolist() == [0.0, 0.0]
    found = style_controlled_accuracy([1.0, 1.0], [1.0, 0.0], alone)
    assert math.isnan(found.accuracy.estimate)
    assert found.reason == "no pair where style alone is right or wrong"
    assert found.equal_style == 2
    assert style_controlled_accuracy([1.0], [1.0], [0.4]).reason == "no pair where style alone is wrong"


def test_regression_parts_reward_and_style():
    style, merit, preference = make(8_000, seed=3)
    names = ["length", "bold", "never"]
    differences = np.column_stack([style, np.zeros(8_000)])
    fair = style_regression(merit, preference, differences, names)
    assert fair.margin == pytest.approx(1.0, abs=4 * fair.margin_error)
    assert [effect.name for effect in fair.effects] == ["length", "bold"]
    length, bold = fair.effects
    # Per typical difference: 1.2 x 1.0 and 2.0 x 0.2; none of it is in this reward.
    assert length.beside_margin == pytest.approx(1.2, abs=4 * length.beside_margin_error)
    assert bold.beside_margin == pytest.approx(0.4, abs=4 * bold.beside_margin_error)
    assert 0 < length.alone < length.beside_margin
    hacked = style_regression(merit + 2.4 * style[:, 0], preference, differences, names)
    assert hacked.effects[0].beside_margin == pytest.approx(-1.2, abs=4 * hacked.effects[0].beside_margin_error)
    assert hacked.count == 8_000
    assert style_regression([1.0], [0.5], [[1.0]], ["length"]) is None


def test_what_is_not_allowed():
    with pytest.raises(DataError, match="same number of rows"):
        style_controlled_accuracy([1.0, 2.0], [1.0, 0.0], [0.5])
    with pytest.raises(DataError, match="names"):
        style_regression([1.0], [1.0], [[1.0, 2.0]], ["length"])
