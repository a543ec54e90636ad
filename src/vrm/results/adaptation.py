"""What `vrm adapt` writes: how raters differ, each of them, and what knowing them is worth on held-out votes."""

from __future__ import annotations

from dataclasses import dataclass, field

from vrm.metrics import Interval
from vrm.results.base import Kind, ModelDocument, WithData
from vrm.wire.explanation import CredibleInterval


@dataclass(frozen=True)
class FittedRater:
    """A rater or group, with intervals of 90 % credibility.

    Attributes:
        comparisons: votes that it was fitted to.
        tilts: what is added to the weight of each objective, the largest in size first.
        tie_threshold: c_r; None where the model has seen no ties.
    """

    comparisons: int
    tilts: dict[str, CredibleInterval]
    tie_threshold: CredibleInterval | None = None


@dataclass(frozen=True)
class RecoveredRater(FittedRater):
    """A rater of the built-in corpus, whose tilts are known.

    Attributes:
        true_tilts: by objective, in the same units: what is added to the weights.
        true_tie_threshold: in log-odds.
    """

    true_tilts: dict[str, float] = field(default_factory=dict)
    true_tie_threshold: float = float("nan")


@dataclass(frozen=True)
class HeldOutVotes:
    """How well votes are predicted that were left out, of raters with other votes; by cross-validation over prompts.

    Attributes:
        votes: that were predicted.
        raters: whose they are.
        population: mean negative log-likelihood of a vote in nats, by the model alone.
        together: what one tilt and one threshold for all these raters take off it.
        own: what each rater's own tilt and threshold take off beyond that: the worth of knowing who judges.
    """

    votes: int
    raters: int
    population: float
    together: Interval
    own: Interval


@dataclass(frozen=True, kw_only=True)
class AdaptationDocument(WithData, ModelDocument):
    """Raters of a file as they were fitted.

    Attributes:
        by: the column that named them.
        file: whose rows they judged.
        folder: that holds them, beside the model.
        raters: {name: rater}, those with most comparisons first.
        spread: {objective: standard deviation of the raters' tilts}.
        threshold_spread: standard deviation of log c_r over the raters; None where the model has seen no ties.
        tie_threshold: c of the population; None likewise.
        held_out: what knowing them is worth; None where there is too little to tell.
        unnamed: votes of nobody named, which were left out.
    """

    kind: Kind = Kind.ADAPTATION
    by: str
    file: str
    folder: str
    raters: dict[str, FittedRater] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    threshold_spread: float | None = None
    tie_threshold: float | None = None
    held_out: HeldOutVotes | None = None
    unnamed: int = 0
