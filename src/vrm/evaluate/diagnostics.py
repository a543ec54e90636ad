"""What lies behind an evaluation's headline: which uncertainty ranks best, disagreement, weights, rewards' spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vrm.data.style import STYLE_MEASURES
from vrm.evaluate.collect import Collected
from vrm.metrics import (
    UNLABELLED,
    Array,
    PairPredictions,
    ResampleOptions,
    selective_accuracy,
    selective_area_interval,
    style_controlled_accuracy,
    style_log_odds,
    style_regression,
    thinned,
)
from vrm.results.evaluation import GroupWeights, RewardSpread, SelectiveCurve, StyleReport, WeightsByGroup


def style_report(collected: Collected, pairs: PairPredictions, options: ResampleOptions) -> StyleReport:
    """Style-controlled accuracy of these pairs and the regression beside it."""
    log_odds = style_log_odds(collected.style, pairs.preference, pairs.groups, seed=options.seed)
    accuracy = style_controlled_accuracy(
        pairs.margins,
        pairs.preference,
        log_odds,
        pairs.groups,
        options,
    )
    regression = style_regression(pairs.margins, pairs.preference, collected.style, STYLE_MEASURES, pairs.groups)
    return StyleReport(accuracy, regression)


def uncertainties(collected: Collected) -> dict[str, Array]:
    """Standard deviations and shares by which pairs may be ranked, higher is less certain; those the head has.

    `weight_share` is the share of Var[u] (11) that is weight uncertainty, `weight_sd` its square root in units of the
    margin, `total_sd` that of all of Var[u]. Heads without uncertainty have none, those with one objective the last.
    """
    variance = np.asarray(collected.variance, dtype=np.float64).reshape(-1, 3)
    total, weight = variance.sum(1), variance[:, 1]
    if not total.size or not (total > 0).all():
        return {}
    signals = {"total_sd": np.sqrt(total)}
    if (weight > 0).any():
        signals = {"weight_share": weight / total, "weight_sd": np.sqrt(weight), **signals}
    return signals


def selective_curves(
    collected: Collected, pairs: PairPredictions, options: ResampleOptions
) -> dict[str, SelectiveCurve]:
    """Curves by ranking: `probability` of the predicted side, `margin` |E[u]|, `margin_over_sd` |E[u]| / sqrt(Var[u]),
    `weight_sd` and `weight_share` (small first). Rankings that the head does not have are left out."""
    signals, size = uncertainties(collected), abs(pairs.margins)
    rankings = {"probability": pairs.certainty, "margin": size}
    if "total_sd" in signals:
        rankings["margin_over_sd"] = size / signals["total_sd"]
    rankings |= {name: -signals[name] for name in ("weight_sd", "weight_share") if name in signals}
    return {name: _curve(pairs, certainty, options) for name, certainty in rankings.items()}


def _curve(pairs: PairPredictions, certainty: Array, options: ResampleOptions) -> SelectiveCurve:
    curve = thinned(selective_accuracy(pairs.margins, pairs.preference, certainty))
    area = selective_area_interval(pairs.margins, pairs.preference, certainty, pairs.groups, options)
    return SelectiveCurve(curve.coverage, curve.accuracy, area, curve.count, curve.ties)


def weights_by_group(collected: Collected, objectives: Sequence[str]) -> WeightsByGroup | None:
    """Mean weights by category, or by source where no row has a category; None for heads without objectives."""
    if not collected.row_weights:
        return None
    by = "category" if any(name is not None for name in collected.row_categories) else "source"
    labels = collected.row_categories if by == "category" else collected.row_sources
    groups: dict[str, dict[str, list[float]]] = {}
    everything: dict[str, list[float]] = {}
    for label, prompt, weights in zip(labels, collected.row_prompts, collected.row_weights, strict=True):
        groups.setdefault(UNLABELLED if label is None else label, {})[prompt] = weights
        everything[prompt] = weights
    return WeightsByGroup(
        by,
        tuple(objectives),
        _group_weights(everything),
        {name: _group_weights(groups[name]) for name in sorted(groups)},
    )


def _group_weights(by_prompt: Mapping[str, list[float]]) -> GroupWeights:
    weights = np.asarray(list(by_prompt.values()))
    return GroupWeights(len(weights), tuple(weights.mean(0).tolist()), tuple(weights.std(0).tolist()))


def reward_spread(collected: Collected, model_std: float) -> RewardSpread | None:
    """Spread of the rewards of all completions; None without one."""
    if not collected.rewards:
        return None
    rewards = np.asarray(collected.rewards)
    codes = np.unique(collected.reward_prompts, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(codes)
    deviations = rewards - (np.bincount(codes, weights=rewards) / counts)[codes]
    several = (counts > 1)[codes]
    within = float(np.sqrt(np.mean(deviations[several] ** 2))) if several.any() else 0.0
    return RewardSpread(len(rewards), float(rewards.mean()), float(rewards.std()), within, model_std)
