"""Rater metrics of models that were trained with a nuisance offset (14): what the raters chose, not what is good."""

from __future__ import annotations

from dataclasses import dataclass

from vrm.evaluate.collect import Collected
from vrm.inference.rater import RaterOffset
from vrm.metrics import Interval, pair_predictions, preference_summary
from vrm.metrics.resampling import ResampleOptions


@dataclass(frozen=True, slots=True)
class RaterSummary:
    """How well labels are predicted by reward and nuisance offset together.

    With raters that are biased it is better than the quality metrics, which is no reason to prefer the offset.

    Attributes:
        measures: names of the nuisances.
        factor: of the offset, in [0, 1].
        accuracy: of the margin with the offset; ties left out, its interval by bootstrap over prompts.
        negative_log_likelihood: of all pairs in nats, probabilities by (8) with the offset.
    """

    measures: tuple[str, ...]
    factor: float
    accuracy: Interval
    negative_log_likelihood: float


def rater_summary(found: Collected, offset: RaterOffset | None, options: ResampleOptions) -> RaterSummary | None:
    """Rater metrics of collected pairs; None without an offset or without pairs."""
    if offset is None or not found.rater_margin:
        return None
    pairs = pair_predictions(
        found.rater_margin,
        found.preference,
        (found.lengths_first, found.lengths_second),
        log_probability=found.rater_log_first,
        log_complement=found.rater_log_second,
        groups=found.prompts,
    )
    summary = preference_summary(pairs, confidence=options.confidence, resamples=options.resamples, seed=options.seed)
    return RaterSummary(offset.measures, offset.factor, summary.accuracy, summary.negative_log_likelihood)
