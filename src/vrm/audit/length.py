"""How rewards, and the labels of the same file, go with the length of a completion."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import partial

import numpy as np

from vrm.audit.measure import AuditArrays
from vrm.metrics import Array, Interval, ResampleOptions, bootstrap_mean, bootstrap_rows, pearson, spearman
from vrm.results.audit import LengthCorrelation, LengthReport


def mean_interval(
    values: Sequence[float] | Array, prompts: Sequence[Hashable], options: ResampleOptions
) -> Interval | None:
    """Interval of a mean, bootstrapped over prompts; None without values."""
    return bootstrap_mean(values, prompts, options) if len(values) else None


def length_report(arrays: AuditArrays, options: ResampleOptions) -> LengthReport:
    """Correlations and preferences with length of the completions as they are, nothing edited."""
    lengths = np.array([len(text) for text in arrays.texts], dtype=np.float64)
    rewards = np.array(arrays.rewards)
    correlation = partial(_correlation, lengths=lengths, prompts=arrays.prompts, options=options)
    shares, prompts = _longer_preferred(arrays, rewards, lengths)
    return LengthReport(
        rewards=correlation(rewards, groups=_distinct_by_prompt(arrays)),
        labels=correlation(_label_scores(arrays), groups=_labelled_by_row(arrays)),
        pairs=len(prompts),
        model_prefers_longer=mean_interval(shares[0], prompts, options),
        labels_prefer_longer=mean_interval(shares[1], prompts, options),
    )


def _distinct_by_prompt(arrays: AuditArrays) -> list[list[int]]:
    groups: dict[str, dict[str, int]] = {}
    for index, (prompt, text) in enumerate(zip(arrays.prompts, arrays.texts, strict=True)):
        groups.setdefault(prompt, {}).setdefault(text, index)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _labelled_by_row(arrays: AuditArrays) -> list[list[int]]:
    groups: dict[int, set[int]] = {}
    for pair in arrays.labels:
        groups.setdefault(arrays.rows[pair[0]], set()).update(pair)
    return [sorted(group) for group in groups.values()]


def _label_scores(arrays: AuditArrays) -> Array:
    """Completions of the same judgment that each is labelled better than: orders a list, and is 1 or 0 in a pair."""
    scores = np.zeros(len(arrays.texts))
    for chosen, _ in arrays.labels:
        scores[chosen] += 1.0
    return scores


def _correlation(
    values: Array, *, groups: list[list[int]], lengths: Array, prompts: Sequence[str], options: ResampleOptions
) -> LengthCorrelation:
    members = [np.array(group) for group in groups]
    centred = [np.concatenate([x[group] - x[group].mean() for group in members] or [[]]) for x in (values, lengths)]
    owners = [prompts[index] for group in groups for index in group]
    ranked = [(_rank_correlation(values[group], lengths[group]), prompts[group[0]]) for group in members]
    known = [(value, prompt) for value, prompt in ranked if not math.isnan(value)]
    return LengthCorrelation(
        completions=len(owners),
        groups=len(groups),
        pearson=_pearson_interval(*centred, owners, options),
        spearman=mean_interval([value for value, _ in known], [prompt for _, prompt in known], options),
    )


def _pearson_interval(x: Array, y: Array, prompts: Sequence[str], options: ResampleOptions) -> Interval | None:
    """Interval of Pearson's correlation, bootstrapped over prompts; None where it is not defined."""
    if math.isnan(pearson(x, y)):
        return None
    return bootstrap_rows(lambda times: pearson(np.repeat(x, times), np.repeat(y, times)), len(x), prompts, options)


def _rank_correlation(x: Array, y: Array) -> float:
    """Spearman's correlation of two points (the sign of agreement) or more; NaN where a side is constant."""
    if len(x) > 2:
        return spearman(x, y)
    sign = float(np.sign((x[0] - x[1]) * (y[0] - y[1])))
    return sign if sign else math.nan


def _longer_preferred(
    arrays: AuditArrays, rewards: Array, lengths: Array
) -> tuple[tuple[list[float], list[float]], list[str]]:
    """For each labelled pair of different length: does the model, does the label prefer the longer side; its prompt."""
    model, labels, prompts = [], [], []
    for chosen, rejected in arrays.labels:
        excess = lengths[chosen] - lengths[rejected]
        if excess:
            model.append(float(0.5 + 0.5 * np.sign((rewards[chosen] - rewards[rejected]) * excess)))
            labels.append(float(excess > 0))
            prompts.append(arrays.prompts[chosen])
    return (model, labels), prompts
