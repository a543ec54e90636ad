"""Rater metrics of models that were trained with a nuisance offset (14): what the raters chose, not what is good."""

from __future__ import annotations

from vrm.evaluate.collect import Collected
from vrm.inference.rater import RaterOffset
from vrm.metrics import ResampleOptions, pair_predictions, preference_summary
from vrm.results.evaluation import RaterSummary


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
    summary = preference_summary(pairs, options)
    return RaterSummary(offset.measures, offset.factor, summary.accuracy, summary.negative_log_likelihood)
