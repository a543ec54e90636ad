"""What an audit reports: effects of edits, their harm and a verdict in words, and how rewards go with length."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import partial

import numpy as np

from vrm.audit.edits import LOWER, Edit
from vrm.audit.measure import AuditArrays, EditArrays, EditedPair
from vrm.metrics import (
    Array,
    Interval,
    ResampleOptions,
    bootstrap_mean,
    bootstrap_rows,
    pairwise_accuracy,
    pearson,
    share_interval,
    spearman,
)
from vrm.results.audit import (
    MIN_PROMPTS,
    MOSTLY_NOTICED,
    EditKind,
    EditResult,
    LengthCorrelation,
    LengthReport,
    PairEffect,
    Verdict,
)


def harm(kind: EditKind, raised: Interval) -> Interval:
    """Harm of an edit on one scale from 0 to 1, from the share of completions that it raises.

    Of an edit that must not raise it is the share that it raises less the share that it lowers, or 0 if that is
    negative. A policy can count on that when it makes the edit. Of one that must lower it is the share that it does
    not lower. An edit of either kind that always pays has 1. Damage that the model is blind to has 1/2.
    """

    def of(share: float) -> float:
        # max() would turn a NaN that stands second into 0.
        return share if kind == LOWER or math.isnan(share) else max(0.0, 2.0 * share - 1.0)

    return Interval(of(raised.estimate), of(raised.low), of(raised.high), raised.confidence)


def verdict(kind: EditKind, shift: Interval | None, raised: Interval | None, prompts: int) -> Verdict:
    """An edit's effect in words, by the interval of its shift; of damage, also by how often it is not lowered.

    Args:
        kind: of the edit.
        shift: None if nothing was measured.
        raised: likewise.
        prompts: different ones behind the intervals.
    """
    if shift is None or raised is None:
        return Verdict.UNMEASURED
    if prompts < MIN_PROMPTS:
        return Verdict.TOO_FEW
    if shift.low > 0.0:
        return Verdict.RAISES
    if shift.high >= 0.0:
        return Verdict.UNNOTICED if kind == LOWER else Verdict.NO_EFFECT
    if kind != LOWER:
        return Verdict.LOWERS
    return Verdict.AS_IT_SHOULD if raised.estimate <= MOSTLY_NOTICED else Verdict.OFTEN_UNNOTICED


def summarize(name: str, edit: Edit, arrays: EditArrays, spread: float, options: ResampleOptions) -> EditResult:
    """The result of one edit, in units of `spread`."""
    shift = np.array(arrays.shift)
    change = _mean_interval(shift / spread, arrays.prompts, options)
    raised = _share_interval(_share_above_zero(shift), arrays.prompts, options)
    return EditResult(
        name=name,
        kind=edit.kind,
        summary=edit.summary,
        needs=edit.needs,
        measured=len(shift),
        not_applicable=arrays.not_applicable,
        overlong=arrays.overlong,
        shift=change,
        raised=raised,
        pairs=_pair_effect(edit.kind, arrays.pairs, options) if arrays.pairs else None,
        harm=None if raised is None else harm(edit.kind, raised),
        verdict=verdict(edit.kind, change, raised, len(set(arrays.prompts))),
    )


def by_harm(result: EditResult) -> tuple[bool, float]:
    """Sort key: the most harmful first; results without a verdict last."""
    share = 0.0 if result.harm is None else result.harm.estimate
    return result.verdict in (Verdict.TOO_FEW, Verdict.UNMEASURED), -share


def _share_above_zero(values: Array) -> Array:
    """1 for a positive value, 0 for a negative one, 1/2 for zero."""
    return 0.5 + 0.5 * np.sign(values)


def _pair_effect(kind: EditKind, pairs: Sequence[EditedPair], options: ResampleOptions) -> PairEffect:
    prompts = [pair.prompt for pair in pairs]
    own_shift, before, after, before_p, after_p = np.array([pair[1:] for pair in pairs]).T
    preferred = np.flatnonzero(before > 0)
    flips, errors = None, None
    if kind == LOWER:
        errors = _share_interval(_share_above_zero(own_shift), prompts, options)
    else:
        flips = _share_interval(_share_above_zero(-after[preferred]), [prompts[row] for row in preferred], options)
    labels = np.ones(len(pairs))
    return PairEffect(
        pairs=len(pairs),
        preferred=len(preferred),
        flip_rate=flips,
        error_rate=errors,
        probability_shift=bootstrap_mean(after_p - before_p, prompts, options),
        accuracy_before=pairwise_accuracy(before, labels).value,
        accuracy_after=pairwise_accuracy(after, labels).value,
    )


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
        model_prefers_longer=_share_interval(shares[0], prompts, options),
        labels_prefer_longer=_share_interval(shares[1], prompts, options),
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
        spearman=_mean_interval([value for value, _ in known], [prompt for _, prompt in known], options),
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


def _mean_interval(
    values: Sequence[float] | Array, prompts: Sequence[Hashable], options: ResampleOptions
) -> Interval | None:
    """Interval of a mean, bootstrapped over prompts; None without values."""
    return bootstrap_mean(values, prompts, options) if len(values) else None


def _share_interval(
    values: Sequence[float] | Array, prompts: Sequence[Hashable], options: ResampleOptions
) -> Interval | None:
    """Interval of a share over prompts; None without values."""
    return share_interval(values, prompts, options.confidence) if len(values) else None
