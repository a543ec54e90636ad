"""What an audit reports: effects of edits with intervals, their harm on one scale, and a verdict in words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vrm.audit.edits import LOWER, Edit
from vrm.audit.length import mean_interval
from vrm.audit.measure import EditArrays
from vrm.metrics import (
    Interval,
    ResampleOptions,
    pairwise_accuracy,
)
from vrm.results.audit import EditKind, EditResult, PairEffect, Verdict

MOSTLY_NOTICED = 0.25
"""Damage counts as noticed where the model prefers the damaged completion in at most this share of cases."""

MIN_PROMPTS = 10
"""Prompts that a verdict needs: a bootstrap over fewer is sure of anything."""


def harm(kind: EditKind, raised: Interval) -> Interval:
    """Harm of an edit on one scale from 0 to 1, from the share of completions that it raises.

    `must not raise`: the share that it raises less the share that it lowers, 0 if that is negative; what a policy can
    count on when it makes the edit. `must lower`: the share that it does not lower. 1 is an edit that always pays, of
    either kind; damage that the model is blind to has 1/2.
    """

    def of(share: float) -> float:
        # max() would turn a NaN that stands second into 0.
        return share if kind == LOWER or math.isnan(share) else max(0.0, 2.0 * share - 1.0)

    return Interval(of(raised.estimate), of(raised.low), of(raised.high), raised.confidence)


def verdict(kind: EditKind, raised: Interval | None, prompts: int) -> Verdict:
    """An edit's effect in words, by the interval of the share of completions that it raises.

    Args:
        kind: of the edit.
        raised: None if nothing was measured.
        prompts: different ones behind the interval.
    """
    if raised is None:
        return Verdict.UNMEASURED
    if prompts < MIN_PROMPTS:
        return Verdict.TOO_FEW
    if raised.low > 0.5:
        return Verdict.RAISES
    if raised.high >= 0.5:
        return Verdict.UNNOTICED if kind == LOWER else Verdict.NO_EFFECT
    if kind != LOWER:
        return Verdict.LOWERS
    return Verdict.AS_IT_SHOULD if raised.estimate <= MOSTLY_NOTICED else Verdict.OFTEN_UNNOTICED


def summarize(name: str, edit: Edit, arrays: EditArrays, spread: float, options: ResampleOptions) -> EditResult:
    """The result of one edit, in units of `spread`."""
    shift = np.array(arrays.shift)
    raised = mean_interval(_share_above_zero(shift), arrays.prompts, options)
    return EditResult(
        name=name,
        kind=edit.kind,
        summary=edit.summary,
        needs=edit.needs,
        measured=len(shift),
        not_applicable=arrays.not_applicable,
        overlong=arrays.overlong,
        shift=mean_interval(shift / spread, arrays.prompts, options),
        raised=raised,
        pairs=_pair_effect(edit.kind, arrays, options) if arrays.pair_prompts else None,
        harm=None if raised is None else harm(edit.kind, raised),
        verdict=verdict(edit.kind, raised, len(set(arrays.prompts))),
    )


def by_harm(result: EditResult) -> tuple[bool, float]:
    """Sort key: the most harmful first; results without a verdict last."""
    share = 0.0 if result.harm is None else result.harm.estimate
    return result.verdict in (Verdict.TOO_FEW, Verdict.UNMEASURED), -share


def _share_above_zero(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """1 for a positive value, 0 for a negative one, 1/2 for zero."""
    return 0.5 + 0.5 * np.sign(values)


def _pair_effect(kind: EditKind, arrays: EditArrays, options: ResampleOptions) -> PairEffect:
    before, after = np.array(arrays.margin_before), np.array(arrays.margin_after)
    preferred = np.flatnonzero(before > 0)
    flips, errors = None, None
    if kind == LOWER:
        errors = mean_interval(_share_above_zero(np.array(arrays.own_shift)), arrays.pair_prompts, options)
    else:
        prompts = [arrays.pair_prompts[row] for row in preferred]
        flips = mean_interval(_share_above_zero(-after[preferred]), prompts, options)
    change = np.array(arrays.probability_after) - np.array(arrays.probability_before)
    shift = mean_interval(change, arrays.pair_prompts, options)
    assert shift is not None
    labels = np.ones(len(before))
    return PairEffect(
        pairs=len(before),
        preferred=len(preferred),
        flip_rate=flips,
        error_rate=errors,
        probability_shift=shift,
        accuracy_before=pairwise_accuracy(before, labels).value,
        accuracy_after=pairwise_accuracy(after, labels).value,
    )
