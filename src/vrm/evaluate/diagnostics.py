"""What lies behind an evaluation's headline: certainty, disagreement, weights, spread of rewards, mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.style import STYLE_MEASURES, plain_text
from vrm.evaluate.collect import Collected
from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain
from vrm.inference.rater import RaterOffset
from vrm.metrics import (
    UNLABELLED,
    Array,
    PairPredictions,
    ResampleOptions,
    auroc_interval,
    pairwise_hits,
    preference_summary,
    selective_accuracy,
    selective_area_interval,
    style_controlled_accuracy,
    style_log_odds,
    style_regression,
    thinned,
)
from vrm.results.evaluation import (
    Detection,
    DisagreementReport,
    GroupWeights,
    Mistake,
    RaterSummary,
    RewardSpread,
    SelectiveCurve,
    SignalAuroc,
    StyleReport,
    WeightsByGroup,
)

MAX_CHARACTERS = 600


def style_report(collected: Collected, pairs: PairPredictions, options: ResampleOptions) -> StyleReport:
    """Style-controlled accuracy of these pairs and the regression beside it."""
    log_odds = style_log_odds(collected.style, pairs.preference, pairs.groups, seed=options.seed)
    accuracy = style_controlled_accuracy(pairs.margins, pairs.preference, log_odds, pairs.groups, options)
    regression = style_regression(pairs.margins, pairs.preference, collected.style, STYLE_MEASURES, pairs.groups)
    return StyleReport(accuracy, regression)


def uncertainties(collected: Collected) -> dict[str, Array]:
    """Standard deviations and shares by which pairs may be ranked, higher is less certain; those the head has.

    `weight_share` is the share of Var[u] (11) that is weight uncertainty, `weight_sd` its square root in units of the
    margin, `total_sd` that of all of Var[u]. Heads without uncertainty have none, those with one objective the last.
    """
    variance = np.asarray(collected.variance, dtype=np.float64).reshape(-1, 4)
    weight = variance[:, 1]
    # Sides that are the same to the model have no variance under a head that doubts its parameters alone.
    total = np.maximum(variance.sum(1), np.finfo(np.float64).tiny)
    if not (variance > 0).any():
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
    by = "category" if any(row.category is not None for row in collected.judgments) else "source"
    groups: dict[str, dict[str, list[float]]] = {}
    everything: dict[str, list[float]] = {}
    for row, weights in zip(collected.judgments, collected.row_weights, strict=True):
        label, prompt = getattr(row, by), prompt_key(row)
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
    if not any(collected.rewards):
        return None
    rewards = np.concatenate(collected.rewards)
    keys = [prompt_key(row) for row in collected.judgments for _ in row.completions]
    codes = np.unique(keys, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(codes)
    deviations = rewards - (np.bincount(codes, weights=rewards) / counts)[codes]
    several = (counts > 1)[codes]
    within = float(np.sqrt(np.mean(deviations[several] ** 2))) if several.any() else 0.0
    return RewardSpread(len(rewards), float(rewards.mean()), float(rewards.std()), within, model_std)


def rater_summary(collected: Collected, offset: RaterOffset | None, options: ResampleOptions) -> RaterSummary | None:
    """How well the raters' choices are predicted with the nuisance offset (14); None without it or without pairs."""
    pairs = None if offset is None else collected.predictions(rater=True)
    if offset is None or pairs is None:
        return None
    summary = preference_summary(pairs, options)
    return RaterSummary(offset.measures, offset.factor, summary.accuracy, summary.negative_log_likelihood)


def disagreement_report(collected: Collected, options: ResampleOptions) -> DisagreementReport | None:
    """AUROCs of uncertainty for ties and disagreement; None where every pair is decided, or none is."""
    first_rows, labels = _distinct(collected)
    ties = np.array([all(label == 0.5 for label in given) for given in labels], dtype=np.float64)
    mean = np.array([sum(given) / len(given) for given in labels])
    divided = ((mean > 0.0) & (mean < 1.0)).astype(np.float64)
    signals = {"closeness": -abs(np.asarray(collected.margin)), **uncertainties(collected)}
    kept = {name: values[first_rows] for name, values in signals.items()}
    groups = [collected.prompts[row] for row in first_rows]
    by_tie = detection(kept, ties, groups, options)
    by_label = None if bool((ties == divided).all()) else detection(kept, divided, groups, options)
    if by_tie is None and by_label is None:
        return None
    return DisagreementReport(
        pairs=len(labels),
        judged_repeatedly=sum(len(given) > 1 for given in labels),
        annotators=len({name for row, *_ in collected.pairs for name in row.annotators} - {None}),
        ties=by_tie,
        disagreement=by_label,
    )


def _distinct(collected: Collected) -> tuple[list[int], list[list[float]]]:
    """The first row of every distinct pair, and all labels of it, for the completion that sorts first."""
    first_rows: dict[tuple[str, str, str], int] = {}
    labels: dict[tuple[str, str, str], list[float]] = {}
    for index, (row, a, b, label) in enumerate(collected.pairs):
        one, other = plain_text(row.completions[a]), plain_text(row.completions[b])
        key = (collected.prompts[index], *sorted((one, other)))
        first_rows.setdefault(key, index)
        given = [judgment.preference for judgment in row.judgments] if row.judgments else [label]
        labels.setdefault(key, []).extend(value if one <= other else 1.0 - value for value in given)
    return list(first_rows.values()), list(labels.values())


def detection(
    signals: Mapping[str, Array], positive: Array, groups: list[str], options: ResampleOptions
) -> Detection | None:
    """How well each signal, `closeness` among them, tells positives, 1 in (n,), from negatives; None without either."""
    positives = int(positive.sum())
    if not 0 < positives < len(positive):
        return None
    closeness = signals["closeness"]
    aurocs = {}
    for name, values in signals.items():
        over = None if name == "closeness" else auroc_interval(values, positive, groups, options, closeness)
        aurocs[name] = SignalAuroc(auroc_interval(values, positive, groups, options), over)
    return Detection(positives, len(positive) - positives, aurocs)


def confident_mistakes(engine: RewardEngine, collected: Collected, count: int = 10) -> tuple[Mistake, ...]:
    """Pairs whose margin has the wrong sign, the least probable labels first; a pair that occurs again is shown once.

    The engine judges these rows again, and counts them in its report on overlong rows.

    Args:
        engine: which judged them.
        collected: its judgments.
        count: how many at most.
    """
    if not collected.pairs or not count:
        return ()
    wrong = np.flatnonzero(pairwise_hits(collected.margin, collected.preference) == 0.0)
    log_preferred = [_log_preferred(collected, int(row)) for row in wrong]
    mistakes: list[Mistake] = []
    seen = set()
    for position in np.argsort(log_preferred, kind="stable"):
        index = int(wrong[position])
        pair = _preferred_first(collected, index)
        key = (collected.prompts[index], *(plain_text(text) for text in pair.completions))
        if key not in seen:
            seen.add(key)
            mistakes.append(_explained(engine, collected, index, pair))
        if len(mistakes) == count:
            break
    return tuple(mistakes)


def _log_preferred(collected: Collected, index: int) -> float:
    return collected.log_first[index] if collected.preference[index] > 0.5 else collected.log_second[index]


def _preferred_first(collected: Collected, index: int) -> Judgment:
    row, a, b, label = collected.pairs[index]
    sides = (a, b) if label > 0.5 else (b, a)
    return replace(
        row,
        completions=[row.completions[side] for side in sides],
        preference=max(label, 1.0 - label),
        scores=None,
        ratings=None,
        objective_votes=None,
        judgments=None,
    )


def _explained(engine: RewardEngine, collected: Collected, index: int, pair: Judgment) -> Mistake:
    explanation = explain(engine, pair)
    return Mistake(
        file=pair.file,
        line=pair.line,
        source=pair.source,
        category=pair.category,
        preference=float(pair.preference or 0.0),
        probability=float(np.exp(_log_preferred(collected, index))),
        margin=-abs(collected.margin[index]),
        prompt=_clipped(explanation.prompt),
        chosen=_clipped(plain_text(pair.completions[0])),
        rejected=_clipped(plain_text(pair.completions[1])),
        explanation=explanation,
    )


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"
