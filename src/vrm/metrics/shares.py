"""Intervals of shares, which stay honest where all rows are right, all are wrong, or there are few of them."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from vrm.errors import DataError
from vrm.metrics._arrays import Array, Groups, fraction, group_codes, probabilities
from vrm.metrics.intervals import Interval


def wilson_interval(mean: float, count: float, confidence: float = 0.95) -> Interval:
    """Interval of a proportion from `count` trials (Wilson 1927); never empty, also at 0 and 1.

    For values in [0, 1] that are not only 0 and 1, such as soft labels, it is too wide rather than too short, since no
    variable in [0, 1] of this mean varies more than one of zeros and ones.

    Args:
        mean: in [0, 1].
        count: above 0; what rows that depend on each other are worth need not be whole.
        confidence: in (0, 1).

    Raises:
        DataError: `mean` or `count` is out of range.
        ConfigError: `confidence` is out of range.
    """
    if not 0.0 <= mean <= 1.0 or count <= 0:
        raise DataError(f"a proportion needs a mean in [0, 1] and at least one trial, got {mean!r} of {count!r}.")
    z = NormalDist().inv_cdf(0.5 + fraction("confidence", confidence) / 2.0)
    centre = (mean + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    return Interval(mean, max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean)), confidence)


def share_interval(values: ArrayLike, groups: Groups = None, confidence: float = 0.95) -> Interval:
    """Interval of a share that is honest at its edges: 12 of 12 are [75.8, 100.0] %, where a bootstrap is sure of 100.

    Wilson's score interval (1927) of as many independent rows as the n rows are worth. Rows that depend on each other
    are worth less, by their design effect, and few groups tell it badly, which a ratio of Student's t quantiles allows
    for (Korn and Graubard 1998). The design effect is at least that of single rows and takes in one more group whose
    rows are all alike: where no row differs, the data cannot tell it.

    Args:
        values: (n,) in [0, 1], such as the hits of `pairwise_hits` without ties; halves and other parts are fine.
        groups: n labels, such as prompts; None takes each row as a group.
        confidence: nominal coverage, in (0, 1).

    Raises:
        DataError: `values` or `groups` have a wrong shape, no rows, or values that are out of range.
        ConfigError: `confidence` is out of range.
    """
    hits = probabilities("values", values)
    codes = group_codes(groups, len(hits))
    share, rows, size = float(hits.mean()), len(hits), int(codes.max()) + 1
    if size < 2:
        return Interval(share, math.nan, math.nan, confidence)
    residuals = hits - share
    by_group = np.bincount(codes, weights=residuals).astype(np.float64)
    effect = max(_design_effect(part, share, rows) for part in (residuals, by_group))
    level = (1.0 + fraction("confidence", confidence)) / 2.0
    ratio = stdtrit(rows - 1, level) / stdtrit(size - 1, level)
    return wilson_interval(share, rows / effect * float(ratio) ** 2, confidence)


def widened(interval: Interval, rows: float) -> Interval:
    """The interval itself, or Wilson's for a share of so many independent rows where no resample differs from another.

    For figures in [0, 1] that are no plain share, such as areas and means of means: resampling rows that are all right
    finds nothing but 1.

    Args:
        interval: of a bootstrap; one without ends, or of a figure out of [0, 1], stays as it is.
        rows: >= 0.
    """
    if interval.low < interval.high or math.isnan(interval.low) or not 0.0 <= interval.estimate <= 1.0 or rows <= 0.0:
        return interval
    return wilson_interval(interval.estimate, rows, interval.confidence)


def _design_effect(residuals: Array, share: float, rows: int) -> float:
    """Variance of the mean by sums of residuals, one a unit, over that of independent zeros and ones."""
    largest, units = share * (1.0 - share), len(residuals)
    squares = float(residuals @ residuals) / largest if largest > 0.0 else rows
    return (squares + (rows / units) ** 2) / rows * units / (units + 1)
