"""Linear and rank correlation, for predicted against given ratings."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from vrm.metrics._arrays import Array, same_length, tied_groups, vector


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
    first, second = _points(x, y)
    return _correlation(average_ranks(first), average_ranks(second))


def average_ranks(values: ArrayLike) -> Array:
    """Ranks 1, 2, ... in ascending order, (n,); equal values share the mean of the ranks they take up.

    Raises:
        DataError: `values` has not one dimension, or a value is not finite.
    """
    codes = tied_groups(vector("values", values, allow_empty=True))
    counts = np.bincount(codes)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[codes]


def _points(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    first, second = vector("x", x, allow_empty=True), vector("y", y, allow_empty=True)
    same_length(x=first, y=second)
    return first, second


def _correlation(x: Array, y: Array) -> float:
    if len(x) < 3 or x.min() == x.max() or y.min() == y.max():
        return math.nan
    first, second = _direction(x), _direction(y)
    return float(np.clip(first @ second, -1.0, 1.0))


def _direction(values: Array) -> Array:
    """The centred values as a unit vector, scaled first so that no square overflows or vanishes."""
    scaled = values / abs(values).max()
    centred = scaled - scaled.mean()
    centred /= abs(centred).max()
    return centred / np.linalg.norm(centred)
