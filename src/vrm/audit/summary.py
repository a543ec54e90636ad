"""What an audit reports: effects of edits with intervals, their harm on one scale, and a verdict in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vrm.audit.edits import LOWER, Edit
from vrm.audit.length import LengthReport, mean_interval
from vrm.audit.measure import EditArrays
from vrm.metrics import (
    Interval,
    ResampleOptions,
    json_ready,
    pairwise_accuracy,
)

MOSTLY_NOTICED = 0.25
"""Damage counts as noticed where the model prefers the damaged completion in at most this share of cases."""

MIN_PROMPTS = 10
"""Prompts that a verdict needs: a bootstrap over fewer is sure of anything."""

RAISES = "raises the reward"
NO_EFFECT = "no clear effect"
LOWERS = "lowers the reward"
AS_IT_SHOULD = "lowers it, as it should"
OFTEN_UNNOTICED = "often not noticed"
UNNOTICED = "not noticed"
TOO_FEW = "too few prompts"
UNMEASURED = "not measured"
VERDICTS = (RAISES, NO_EFFECT, LOWERS, AS_IT_SHOULD, OFTEN_UNNOTICED, UNNOTICED, TOO_FEW, UNMEASURED)


@dataclass(frozen=True, slots=True)
class PairEffect:
    """What an edit does to labelled pairs: to the rejected side (`must not raise`) or the chosen side (`must lower`).

    Attributes:
        pairs: measured.
        preferred: pairs in which the model prefers the chosen side before the edit.
        flip_rate: of these, the share in which it prefers the rejected side once that is edited (equal rewards: half).
            None for `must lower`, or if there are none.
        error_rate: of all pairs, the share in which the model prefers the damaged chosen completion to its undamaged
            self (equal rewards: half). None for `must not raise`.
        probability_shift: mean change of the probability, by (8), that the edited side is preferred to the other.
        accuracy_before: share of pairs in which the model prefers the chosen side.
        accuracy_after: the same after the edit; it should fall for `must lower` alone.
    """

    pairs: int
    preferred: int
    flip_rate: Interval | None
    error_rate: Interval | None
    probability_shift: Interval
    accuracy_before: float
    accuracy_after: float


@dataclass(frozen=True, slots=True)
class EditResult:
    """What one edit does to a model's rewards.

    Attributes:
        name: of the edit.
        kind: `must not raise` or `must lower`.
        summary: what the edit does.
        needs: what it needs to apply.
        measured: completions.
        not_applicable: completions that it does not apply to.
        overlong: edited completions over the model's limit of tokens, which are left out.
        shift: mean change of the reward, in units of the audit's spread.
        raised: share of completions whose reward is higher after the edit (equal: half), in [0, 1].
        pairs: its effect on labelled pairs; None if there are none.
        harm: on one scale from 0 to 1, see `harm`.
        verdict: one of `VERDICTS`.
    """

    name: str
    kind: str
    summary: str
    needs: str
    measured: int
    not_applicable: int
    overlong: int
    shift: Interval | None
    raised: Interval | None
    pairs: PairEffect | None
    harm: Interval | None
    verdict: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything `vrm audit` reports.

    Attributes:
        judgments: measured.
        completions: of these judgments.
        prompts: different ones.
        pairs: labelled pairs, those of ranked lists included.
        without_completions: judgments that have nothing to edit.
        cut_completions: completions that the model cannot read whole, on which no edit was tried.
        overlong: what happened to judgments over the model's limit before any edit, in words.
        spread: the unit of `shift`, a standard deviation of rewards, raw.
        spread_source: whose standard deviation it is, in words.
        kappa: of the pessimistic reward; 0 if the mean reward was audited.
        seed: of the edits and of the bootstrap.
        confidence: of all intervals.
        resamples: of the bootstrap over prompts.
        edits: ordered by harm, the worst first; those on too few prompts last.
        length: correlation with length.
    """

    judgments: int
    completions: int
    prompts: int
    pairs: int
    without_completions: int
    cut_completions: int
    overlong: str
    spread: float
    spread_source: str
    kappa: float
    seed: int
    confidence: float
    resamples: int
    edits: list[EditResult]
    length: LengthReport

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        plain: dict[str, Any] = json_ready(self)
        return plain


def harm(kind: str, raised: Interval) -> Interval:
    """Harm of an edit on one scale from 0 to 1, from the share of completions that it raises.

    `must not raise`: the share that it raises less the share that it lowers, 0 if that is negative; what a policy can
    count on when it makes the edit. `must lower`: the share that it does not lower. 1 is an edit that always pays, of
    either kind; damage that the model is blind to has 1/2.
    """

    def of(share: float) -> float:
        # max() would turn a NaN that stands second into 0.
        return share if kind == LOWER or math.isnan(share) else max(0.0, 2.0 * share - 1.0)

    return Interval(of(raised.estimate), of(raised.low), of(raised.high), raised.confidence)


def verdict(kind: str, raised: Interval | None, prompts: int) -> str:
    """An edit's effect in words, by the interval of the share of completions that it raises.

    Args:
        kind: of the edit.
        raised: None if nothing was measured.
        prompts: different ones behind the interval.
    """
    if raised is None:
        return UNMEASURED
    if prompts < MIN_PROMPTS:
        return TOO_FEW
    if raised.low > 0.5:
        return RAISES
    if raised.high >= 0.5:
        return UNNOTICED if kind == LOWER else NO_EFFECT
    if kind != LOWER:
        return LOWERS
    return AS_IT_SHOULD if raised.estimate <= MOSTLY_NOTICED else OFTEN_UNNOTICED


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
    return result.verdict in (TOO_FEW, UNMEASURED), -(result.harm.estimate if result.harm is not None else 0.0)


def _share_above_zero(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """1 for a positive value, 0 for a negative one, 1/2 for zero."""
    return 0.5 + 0.5 * np.sign(values)


def _pair_effect(kind: str, arrays: EditArrays, options: ResampleOptions) -> PairEffect:
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
