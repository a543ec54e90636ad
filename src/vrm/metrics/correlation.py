"""Linear and rank correlation, for predicted against given ratings."""

from __future__ import annotations

import math
import warnings

import scipy
from numpy.typing import ArrayLike

from vrm.metrics._arrays import Array, same_length, vector


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's correlation, in [-1, 1]; NaN with fewer than three points or where one side is constant.

    Args:
        x: (n,).
        y: (n,).

    Raises:
        DataError: shapes differ, or a value is not finite.
    """
    return _correlation(*_points(x, y))


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation, equal values given their average rank; otherwise as `pearson`.

    Args:
        x: (n,).
        y: (n,).

    Raises:
        DataError: shapes differ, or a value is not finite.
    """
    return _correlation(*(scipy.stats.rankdata(values) for values in _points(x, y)))


def _points(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    first, second = vector("x", x, allow_empty=True), vector("y", y, allow_empty=True)
    same_length(x=first, y=second)
    return first, second


def _correlation(x: Array, y: Array) -> float:
    if len(x) < 3 or x.min() == x.max() or y.min() == y.max():
        return math.nan
    with warnings.catch_warnings():
        # Values that are nearly constant are as precise as they are: nothing a user could do about it.
        warnings.simplefilter("ignore", scipy.stats.NearConstantInputWarning)
        # Scaled, so that the sum of the largest numbers does not overflow.
        return float(scipy.stats.pearsonr(x / abs(x).max(), y / abs(y).max()).statistic)
