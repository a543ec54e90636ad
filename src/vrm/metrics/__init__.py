"""Metrics as pure functions on arrays; no text, no files, no torch.

Arrays are one-dimensional, one entry a row, and may be lists, numpy arrays or torch tensors. Results are floats or
small frozen dataclasses. Wrong shapes, NaN and empty input raise `DataError`, wrong settings `ConfigError`.
"""

from vrm.metrics._json import json_ready
from vrm.metrics.accuracy import (
    Accuracy,
    LengthControlledAccuracy,
    length_controlled_accuracy,
    longer_wins,
    pairwise_accuracy,
    pairwise_hits,
)
from vrm.metrics.best_of_n import (
    ORACLE,
    RANDOM,
    BestOfN,
    BestOfNCurve,
    best_of_n_curve,
    compare_best_of_n,
    expected_best_of_n,
    policy_kl,
)
from vrm.metrics.calibration import (
    CalibrationError,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    negative_log_likelihood_from_logs,
)
from vrm.metrics.correlation import average_ranks, pearson, spearman
from vrm.metrics.curve_intervals import bootstrap_curve
from vrm.metrics.intervals import (
    Interval,
    McNemar,
    bootstrap_interval,
    bootstrap_statistic,
    mcnemar,
    paired_difference_interval,
)
from vrm.metrics.selection import SelectiveAccuracy, accuracy_at_coverage, selective_accuracy
from vrm.metrics.summary import (
    UNLABELLED,
    PairPredictions,
    PreferenceSummary,
    by_group,
    pair_predictions,
    preference_summary,
)
from vrm.metrics.temperature import TemperatureFit, fit_temperature
from vrm.metrics.votes import (
    top_k_recall,
    top_k_recall_rows,
    total_variation,
    total_variation_rows,
    vote_cross_entropy,
    vote_cross_entropy_rows,
)

__all__ = [
    "ORACLE",
    "RANDOM",
    "UNLABELLED",
    "Accuracy",
    "BestOfN",
    "BestOfNCurve",
    "CalibrationError",
    "Interval",
    "LengthControlledAccuracy",
    "McNemar",
    "PairPredictions",
    "PreferenceSummary",
    "SelectiveAccuracy",
    "TemperatureFit",
    "accuracy_at_coverage",
    "average_ranks",
    "best_of_n_curve",
    "bootstrap_curve",
    "bootstrap_interval",
    "bootstrap_statistic",
    "brier_score",
    "by_group",
    "compare_best_of_n",
    "expected_best_of_n",
    "expected_calibration_error",
    "fit_temperature",
    "json_ready",
    "length_controlled_accuracy",
    "longer_wins",
    "mcnemar",
    "negative_log_likelihood",
    "negative_log_likelihood_from_logs",
    "pair_predictions",
    "paired_difference_interval",
    "pairwise_accuracy",
    "pairwise_hits",
    "pearson",
    "policy_kl",
    "preference_summary",
    "selective_accuracy",
    "spearman",
    "top_k_recall",
    "top_k_recall_rows",
    "total_variation",
    "total_variation_rows",
    "vote_cross_entropy",
    "vote_cross_entropy_rows",
]
