"""Metrics as pure functions on arrays; no text, no files, no torch.

Arrays are one-dimensional, one entry a row, and may be lists, numpy arrays or torch tensors. Results are floats or
small frozen dataclasses. Wrong shapes, NaN and empty input raise `DataError`, wrong settings `ConfigError`.

A name that is imported `as` itself is public, to readers and to type checkers.
"""

from vrm.metrics._arrays import Array as Array
from vrm.metrics._arrays import Groups as Groups
from vrm.metrics._arrays import Indices as Indices
from vrm.metrics._json import field_values as field_values
from vrm.metrics._json import json_ready as json_ready
from vrm.metrics.accuracy import Accuracy as Accuracy
from vrm.metrics.accuracy import LengthControlledAccuracy as LengthControlledAccuracy
from vrm.metrics.accuracy import length_controlled_accuracy as length_controlled_accuracy
from vrm.metrics.accuracy import longer_wins as longer_wins
from vrm.metrics.accuracy import pairwise_accuracy as pairwise_accuracy
from vrm.metrics.accuracy import pairwise_hits as pairwise_hits
from vrm.metrics.accuracy import preferred_sign as preferred_sign
from vrm.metrics.agreement import Agreement as Agreement
from vrm.metrics.agreement import pearson as pearson
from vrm.metrics.agreement import reward_agreement as reward_agreement
from vrm.metrics.agreement import spearman as spearman
from vrm.metrics.agreement import top_k_recall_at_own_k as top_k_recall_at_own_k
from vrm.metrics.agreement import top_k_recall_rows as top_k_recall_rows
from vrm.metrics.agreement import total_variation as total_variation
from vrm.metrics.agreement import total_variation_rows as total_variation_rows
from vrm.metrics.best_of_n import ORACLE as ORACLE
from vrm.metrics.best_of_n import RANDOM as RANDOM
from vrm.metrics.best_of_n import BestOfN as BestOfN
from vrm.metrics.best_of_n import BestOfNCurve as BestOfNCurve
from vrm.metrics.best_of_n import best_of_n_curve as best_of_n_curve
from vrm.metrics.best_of_n import compare_best_of_n as compare_best_of_n
from vrm.metrics.best_of_n import policy_kl as policy_kl
from vrm.metrics.calibration import CalibrationError as CalibrationError
from vrm.metrics.calibration import ReliabilityBin as ReliabilityBin
from vrm.metrics.calibration import brier_score as brier_score
from vrm.metrics.calibration import cross_entropy_rows as cross_entropy_rows
from vrm.metrics.calibration import expected_calibration_error as expected_calibration_error
from vrm.metrics.calibration import negative_log_likelihood as negative_log_likelihood
from vrm.metrics.calibration import reliability_bins as reliability_bins
from vrm.metrics.intervals import DEFAULT_RESAMPLING as DEFAULT_RESAMPLING
from vrm.metrics.intervals import Interval as Interval
from vrm.metrics.intervals import McNemar as McNemar
from vrm.metrics.intervals import ResampleOptions as ResampleOptions
from vrm.metrics.intervals import bootstrap_mean as bootstrap_mean
from vrm.metrics.intervals import bootstrap_means as bootstrap_means
from vrm.metrics.intervals import bootstrap_rows as bootstrap_rows
from vrm.metrics.intervals import bootstrap_totals as bootstrap_totals
from vrm.metrics.intervals import equality_test as equality_test
from vrm.metrics.intervals import holm as holm
from vrm.metrics.intervals import mcnemar as mcnemar
from vrm.metrics.intervals import rows_to_tell as rows_to_tell
from vrm.metrics.intervals import sign_flip_p_value as sign_flip_p_value
from vrm.metrics.selection import SelectiveAccuracy as SelectiveAccuracy
from vrm.metrics.selection import auroc as auroc
from vrm.metrics.selection import auroc_interval as auroc_interval
from vrm.metrics.selection import selective_accuracy as selective_accuracy
from vrm.metrics.selection import selective_area_interval as selective_area_interval
from vrm.metrics.selection import thinned as thinned
from vrm.metrics.shares import share_interval as share_interval
from vrm.metrics.shares import widened as widened
from vrm.metrics.shares import wilson_interval as wilson_interval
from vrm.metrics.style_control import LogisticFit as LogisticFit
from vrm.metrics.style_control import StyleControlledAccuracy as StyleControlledAccuracy
from vrm.metrics.style_control import StyleEffect as StyleEffect
from vrm.metrics.style_control import StyleRegression as StyleRegression
from vrm.metrics.style_control import WeightedAccuracy as WeightedAccuracy
from vrm.metrics.style_control import balanced_mean_interval as balanced_mean_interval
from vrm.metrics.style_control import fit_logistic as fit_logistic
from vrm.metrics.style_control import overlap_weights as overlap_weights
from vrm.metrics.style_control import style_controlled_accuracy as style_controlled_accuracy
from vrm.metrics.style_control import style_log_odds as style_log_odds
from vrm.metrics.style_control import style_regression as style_regression
from vrm.metrics.summary import UNLABELLED as UNLABELLED
from vrm.metrics.summary import PairPredictions as PairPredictions
from vrm.metrics.summary import PreferenceSummary as PreferenceSummary
from vrm.metrics.summary import by_group as by_group
from vrm.metrics.summary import pair_predictions as pair_predictions
from vrm.metrics.summary import preference_summary as preference_summary
