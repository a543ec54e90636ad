"""Metrics as pure functions on arrays; no text, no files, no torch.

Arrays are one-dimensional, one entry a row, and may be lists, numpy arrays or torch tensors. Results are floats or
small frozen dataclasses. Wrong shapes, NaN and empty input raise `DataError`, wrong settings `ConfigError`.
"""

from vrm.metrics._arrays import Array, Groups, Indices
from vrm.metrics._json import field_values, json_ready
from vrm.metrics.accuracy import (
    Accuracy,
    LengthControlledAccuracy,
    length_controlled_accuracy,
    longer_wins,
    pairwise_accuracy,
    pairwise_hits,
    preferred_sign,
)
from vrm.metrics.agreement import Agreement, reward_agreement
from vrm.metrics.auroc import auroc, auroc_interval
from vrm.metrics.best_of_n import (
    ORACLE,
    RANDOM,
    BestOfN,
    BestOfNCurve,
    best_of_n_curve,
    compare_best_of_n,
    policy_kl,
)
from vrm.metrics.calibration import (
    CalibrationError,
    brier_score,
    cross_entropy_rows,
    expected_calibration_error,
    negative_log_likelihood,
    negative_log_likelihood_from_logs,
)
from vrm.metrics.correlation import pearson, spearman
from vrm.metrics.intervals import (
    DEFAULT_RESAMPLING,
    Interval,
    McNemar,
    ResampleOptions,
    bootstrap_mean,
    bootstrap_means,
    bootstrap_rows,
    bootstrap_totals,
    mcnemar,
)
from vrm.metrics.logistic import LogisticFit, fit_logistic
from vrm.metrics.paired import equality_test, holm, rows_to_tell, sign_flip_p_value
from vrm.metrics.reliability import ReliabilityBin, reliability_bins, wilson_interval
from vrm.metrics.selection import (
    SelectiveAccuracy,
    selective_accuracy,
    selective_area_interval,
    thinned,
)
from vrm.metrics.style_control import (
    StyleControlledAccuracy,
    StyleEffect,
    StyleRegression,
    WeightedAccuracy,
    balanced_mean_interval,
    overlap_weights,
    style_controlled_accuracy,
    style_log_odds,
    style_regression,
)
from vrm.metrics.summary import (
    UNLABELLED,
    PairPredictions,
    PreferenceSummary,
    by_group,
    pair_predictions,
    preference_summary,
)
from vrm.metrics.votes import (
    top_k_recall_at_own_k,
    top_k_recall_rows,
    total_variation,
    total_variation_rows,
)

__all__ = [
    "DEFAULT_RESAMPLING",
    "ORACLE",
    "RANDOM",
    "UNLABELLED",
    "Accuracy",
    "Agreement",
    "Array",
    "BestOfN",
    "BestOfNCurve",
    "CalibrationError",
    "Groups",
    "Indices",
    "Interval",
    "LengthControlledAccuracy",
    "LogisticFit",
    "McNemar",
    "PairPredictions",
    "PreferenceSummary",
    "ReliabilityBin",
    "ResampleOptions",
    "SelectiveAccuracy",
    "StyleControlledAccuracy",
    "StyleEffect",
    "StyleRegression",
    "WeightedAccuracy",
    "auroc",
    "auroc_interval",
    "balanced_mean_interval",
    "best_of_n_curve",
    "bootstrap_mean",
    "bootstrap_means",
    "bootstrap_rows",
    "bootstrap_totals",
    "brier_score",
    "by_group",
    "compare_best_of_n",
    "cross_entropy_rows",
    "equality_test",
    "expected_calibration_error",
    "field_values",
    "fit_logistic",
    "holm",
    "json_ready",
    "length_controlled_accuracy",
    "longer_wins",
    "mcnemar",
    "negative_log_likelihood",
    "negative_log_likelihood_from_logs",
    "overlap_weights",
    "pair_predictions",
    "pairwise_accuracy",
    "pairwise_hits",
    "pearson",
    "policy_kl",
    "preference_summary",
    "preferred_sign",
    "reliability_bins",
    "reward_agreement",
    "rows_to_tell",
    "selective_accuracy",
    "selective_area_interval",
    "sign_flip_p_value",
    "spearman",
    "style_controlled_accuracy",
    "style_log_odds",
    "style_regression",
    "thinned",
    "top_k_recall_at_own_k",
    "top_k_recall_rows",
    "total_variation",
    "total_variation_rows",
    "wilson_interval",
]
