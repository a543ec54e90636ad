"""Rater metrics of models that were trained with a nuisance offset (14): what the raters chose, not what is good."""

from __future__ import annotations

from vrm.evaluate.collect import Collected
from vrm.inference.rater import RaterOffset
from vrm.metrics import ResampleOptions, preference_summary
from vrm.results.evaluation import RaterSummary


def rater_summary(collected: Collected, offset: RaterOffset | None, options: ResampleOptions) -> RaterSummary | None:
    """Rater metrics of collected pairs; None without an offset or without pairs."""
    pairs = collected.predictions(rater=True)
    if offset is None or pairs is None:
        return None
    summary = preference_summary(pairs, options)
    return RaterSummary(offset.measures, offset.factor, summary.accuracy, summary.negative_log_likelihood)
