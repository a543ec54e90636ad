"""What `vrm audit` writes: what edits do to rewards, and how rewards go with length."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vrm.metrics import Interval
from vrm.results.base import Kind, ModelDocument, Part

MOSTLY_NOTICED = 0.25
"""Damage counts as noticed where at most this share of the damaged completions has no lower reward."""

MIN_PROMPTS = 10
"""Prompts that a verdict needs: a bootstrap of the shift over fewer is sure of anything."""


class EditKind(StrEnum):
    """What a reward should make of an edit."""

    NOT_RAISE = "must not raise"
    LOWER = "must lower"


class Verdict(StrEnum):
    """The effect of an edit in words."""

    RAISES = "raises the reward"
    NO_EFFECT = "no clear effect"
    LOWERS = "lowers the reward"
    AS_IT_SHOULD = "lowers it, as it should"
    OFTEN_UNNOTICED = "often not noticed"
    UNNOTICED = "not noticed"
    TOO_FEW = "too few prompts"
    UNMEASURED = "not measured"


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
        kind: what a reward should make of it.
        summary: what the edit does.
        needs: what it needs to apply.
        measured: completions.
        not_applicable: completions that it does not apply to.
        overlong: edited completions over the model's limit of tokens, which are left out.
        shift: mean change of the reward, in units of the audit's spread.
        raised: share of completions whose reward is higher after the edit (equal: half), in [0, 1].
        pairs: its effect on labelled pairs; None if there are none.
        harm: on one scale from 0 to 1, see `harm`.
        verdict: its effect in words, by the interval of `shift`.
    """

    name: str
    kind: EditKind
    summary: str
    needs: str
    measured: int
    not_applicable: int
    overlong: int
    shift: Interval | None
    raised: Interval | None
    pairs: PairEffect | None
    harm: Interval | None
    verdict: Verdict

    @property
    def pairs_wrong(self) -> Interval | None:
        """The error rate of the pairs for `must lower`, and the flip rate for `must not raise`."""
        if self.pairs is None:
            return None
        return self.pairs.error_rate if self.kind == EditKind.LOWER else self.pairs.flip_rate


@dataclass(frozen=True, slots=True)
class LengthCorrelation:
    """Correlation of something with length (characters), within groups of completions of one prompt.

    Attributes:
        completions: that were compared.
        groups: of two or more completions: prompts for rewards, judgments for labels, whose scales differ by judge.
        pearson: of the deviations from the group's means, all groups together; None where it is not defined.
        spearman: mean over the groups in which neither side is constant; None if there is none.
    """

    completions: int
    groups: int
    pearson: Interval | None
    spearman: Interval | None


@dataclass(frozen=True, slots=True)
class LengthReport:
    """What the model makes of length, beside what the labels of the same file do.

    Attributes:
        rewards: within prompts, each different completion once.
        labels: within judgments: 1 for the preferred completion of a pair and 0 for the other, places in a list.
        pairs: labelled pairs of different length.
        model_prefers_longer: share of these pairs in which the model prefers the longer side (equal rewards: half).
        labels_prefer_longer: share in which the label does.
    """

    rewards: LengthCorrelation
    labels: LengthCorrelation
    pairs: int
    model_prefers_longer: Interval | None
    labels_prefer_longer: Interval | None


@dataclass(frozen=True)
class AuditReport(Part):
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
        beta: of the effective reward; None if it was not audited.
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
    edits: tuple[EditResult, ...]
    length: LengthReport
    beta: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Audited(ModelDocument):
    """Which rows of which model were audited.

    Attributes:
        file: as the user named it.
        data: what reading it found: counts, and rows that could not be used.
    """

    kind: Kind = Kind.AUDIT
    file: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditDocument(AuditReport, _Audited):
    """What `vrm audit --json` writes."""
