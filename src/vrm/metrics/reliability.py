"""What a reliability diagram shows: predicted against observed, bin by bin, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from vrm.errors import DataError
from vrm.metrics._arrays import fraction
from vrm.metrics.calibration import CalibrationError
from vrm.metrics.intervals import Interval


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


def wilson_interval(mean: float, count: int, confidence: float = 0.95) -> Interval:
    """Interval of a proportion from `count` trials (Wilson 1927); never empty, also at 0 and 1.

    For values in [0, 1] that are not only 0 and 1, such as soft labels, it is too wide rather than too short, since no
    variable in [0, 1] of this mean varies more than one of zeros and ones.

    Args:
        mean: in [0, 1].
        count: at least 1.
        confidence: in (0, 1).

    Raises:
        DataError: `mean` or `count` is out of range.
        ConfigError: `confidence` is out of range.
    """
    if not 0.0 <= mean <= 1.0 or count < 1:
        raise DataError(f"a proportion needs a mean in [0, 1] and at least one trial, got {mean!r} of {count!r}.")
    z = NormalDist().inv_cdf(0.5 + fraction("confidence", confidence) / 2.0)
    centre = (mean + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    return Interval(mean, max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean)), confidence)
