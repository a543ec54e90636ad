"""How far probabilities can be trusted: log loss, Brier score, calibration error, reliability diagram.

Labels are soft: a preference of 0.8 says that four in five judges prefer the first completion, one of 0.5 is a tie.
Ties stay in these metrics, since a sure prediction on a tie is wrong by a known amount. No probability is clipped: a
prediction of 0 for what did happen has an infinite log loss. Where probabilities may saturate, pass their logs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vrm.choices import Binning
from vrm.errors import DataError, check_choice
from vrm.metrics._arrays import Array, Indices, log_probabilities, probabilities, same_length, whole_number
from vrm.metrics.intervals import Interval
from vrm.metrics.shares import wilson_interval


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """Expected calibration error and the reliability table that it sums up.

    Attributes:
        value: sum over bins of `count / n * |accuracy - confidence|`, in [0, 1].
        binning: `equal_mass` or `equal_width`.
        edges: (bins + 1,) from 0.5 to 1; a bin holds its lower edge, the last one its upper edge too.
        confidence: (bins,) mean probability of the predicted side; NaN in an empty bin.
        accuracy: (bins,) mean preference for the predicted side; NaN in an empty bin.
        count: (bins,) rows.
    """

    value: float
    binning: str
    edges: tuple[float, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]


def negative_log_likelihood(probability: ArrayLike, preference: ArrayLike) -> float:
    """Mean cross entropy between preferences and predicted probabilities, in nats; infinite for a sure miss.

    Args:
        probability: (n,) in [0, 1], predicted probability that the first completion is preferred.
        preference: (n,) in [0, 1], soft labels.

    Raises:
        DataError: shapes differ, there are no rows, or a value is NaN or out of range.
    """
    predicted = probabilities("probability", probability)
    with np.errstate(divide="ignore"):  # log 0 is minus infinity, and meant
        logs = np.log(predicted), np.log1p(-predicted)
    return float(cross_entropy_rows(logs[0], preference, logs[1]).mean())


def cross_entropy_rows(log_probability: ArrayLike, preference: ArrayLike, log_complement: ArrayLike) -> Array:
    """What each pair adds to `negative_log_likelihood`, (n,) in nats: from logs, finite however sure the prediction.

    Args:
        log_probability: (n,) in nats, at most 0: log of the probability that the first completion is preferred.
        preference: (n,) in [0, 1], soft labels.
        log_complement: (n,) log of one minus that probability.

    Raises:
        DataError: shapes differ, there are no rows, a value is NaN or out of range, or the two do not add up to 1.
    """
    log_first, log_second = log_pair(log_probability, log_complement)
    wanted = probabilities("preference", preference)
    same_length(probability=log_first, preference=wanted)
    return -(_weighted(wanted, log_first) + _weighted(1.0 - wanted, log_second))


def log_pair(log_probability: ArrayLike, log_complement: ArrayLike) -> tuple[Array, Array]:
    """log p and log (1 - p), each (n,).

    Raises:
        DataError: shapes differ, there are no rows, a value is NaN or above 0, or p and 1 - p do not add up to 1.
    """
    first = log_probabilities("log_probability", log_probability)
    second = log_probabilities("log_complement", log_complement)
    same_length(log_probability=first, log_complement=second)
    total = np.exp(first) + np.exp(second)
    if (abs(total - 1.0) > 1e-3).any():
        row = int(abs(total - 1.0).argmax())
        raise DataError(
            f"'log_probability' and 'log_complement' must be logs of p and 1 - p; at row {row} they add up to "
            f"{total[row]:.6g}. Compute both from the margin."
        )
    return first, second


def brier_score(probability: ArrayLike, preference: ArrayLike) -> float:
    """Mean squared difference between probability and preference, in [0, 1] (Brier 1950, for one of two outcomes).

    Args:
        probability: (n,) in [0, 1].
        preference: (n,) in [0, 1], soft labels.

    Raises:
        DataError: shapes differ, there are no rows, or a value is NaN or out of range.
    """
    predicted, wanted = _pair_of_probabilities(probability, preference)
    return float(np.mean((predicted - wanted) ** 2))


def expected_calibration_error(
    probability: ArrayLike, preference: ArrayLike, bins: int = 15, binning: str = Binning.EQUAL_MASS
) -> CalibrationError:
    """Expected calibration error of the predicted side, with its reliability table (Naeini et al. 2015).

    Which completion comes first is arbitrary, so probabilities are folded: the confidence is max(p, 1 - p), in
    [0.5, 1], and the accuracy is the preference for that side (1/2 where p = 0.5).

    Args:
        probability: (n,) in [0, 1].
        preference: (n,) in [0, 1], soft labels.
        bins: at least 1.
        binning: `equal_mass`: as many rows in each bin as can be without parting equal confidences, so that the order
            of rows plays no role (fewer bins than asked for if there are many such); `equal_width`: equal parts of
            [0.5, 1], some of which may be empty.

    Raises:
        DataError: shapes differ, there are no rows, or a value is NaN or out of range.
        ConfigError: `bins` or `binning` is not allowed.
    """
    predicted, wanted = _pair_of_probabilities(probability, preference)
    confidence = np.maximum(predicted, 1.0 - predicted)
    agreement = np.select([predicted > 0.5, predicted < 0.5], [wanted, 1.0 - wanted], 0.5)
    edges = _edges(confidence, whole_number("bins", bins, 1), binning)
    codes: Indices = np.searchsorted(edges[1:-1], confidence, side="right")
    return _calibration_error(codes, confidence, agreement, edges, binning)


def _calibration_error(
    codes: Indices, confidence: Array, agreement: Array, edges: Array, binning: str
) -> CalibrationError:
    size = len(edges) - 1
    count = np.bincount(codes, minlength=size)
    sums = (np.bincount(codes, weights=values, minlength=size) for values in (confidence, agreement))
    # An empty bin has no mean; its gap is left out of the sum.
    mean_confidence, accuracy = (np.where(count > 0, total / np.maximum(count, 1), np.nan) for total in sums)
    value = float(np.nansum(count * abs(accuracy - mean_confidence)) / len(codes))
    return CalibrationError(
        value,
        binning,
        tuple(edges.tolist()),
        tuple(mean_confidence.tolist()),
        tuple(accuracy.tolist()),
        tuple(count.tolist()),
    )


def _edges(confidence: Array, bins: int, binning: str) -> Array:
    check_choice("binning", binning, Binning)
    if binning == Binning.EQUAL_WIDTH:
        return np.linspace(0.5, 1.0, bins + 1)
    ordered = np.sort(confidence)
    starts = np.arange(1, bins) * len(ordered) // bins
    inner = np.unique(ordered[starts])
    return np.concatenate([[0.5], inner[inner > ordered[0]], [1.0]])


def _pair_of_probabilities(probability: ArrayLike, preference: ArrayLike) -> tuple[Array, Array]:
    predicted, wanted = probabilities("probability", probability), probabilities("preference", preference)
    same_length(probability=predicted, preference=wanted)
    return predicted, wanted


def _weighted(weight: Array, log: Array) -> Array:
    # 0 times minus infinity is 0 here: what never happens costs nothing.
    return np.where(weight > 0.0, weight * np.where(weight > 0.0, log, 0.0), 0.0)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs of about the same confidence.

    Attributes:
        low: lower edge of the confidences, in [0.5, 1].
        high: upper edge.
        predicted: their mean confidence, the probability of the predicted side.
        observed: mean preference for the predicted side, with its Wilson interval.
        count: pairs, above 0.
    """

    low: float
    high: float
    predicted: float
    observed: Interval
    count: int


def reliability_bins(calibration: CalibrationError, confidence: float = 0.95) -> tuple[ReliabilityBin, ...]:
    """The bins of a calibration table that hold pairs, in order, each with a Wilson interval.

    The intervals take pairs as independent; where prompts repeat they are somewhat short.

    Args:
        calibration: from `expected_calibration_error`.
        confidence: of the intervals, in (0, 1).

    Raises:
        ConfigError: `confidence` is out of range.
    """
    edges = calibration.edges
    return tuple(
        ReliabilityBin(
            edges[index],
            edges[index + 1],
            calibration.confidence[index],
            wilson_interval(calibration.accuracy[index], count, confidence),
            count,
        )
        for index, count in enumerate(calibration.count)
        if count
    )
