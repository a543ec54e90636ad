"""Bootstrap intervals of many means at once, as a curve needs them: one set of draws for all of its points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vrm.metrics._arrays import Array, Indices, matrix, whole_number
from vrm.metrics.intervals import Groups, Interval, _codes, _draws, _percentile_interval


def bootstrap_curve(
    values: ArrayLike, groups: Groups = None, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[Interval, ...]:
    """The interval of each column's mean, pointwise; that of `bootstrap_interval` on the column alone, but faster.

    Args:
        values: (rows, columns) finite, such as one row a prompt and one column a point of a curve.
        groups: one label a row; None takes each row as a group.
        confidence: in (0, 1), of each interval alone: a whole curve lies inside less often.
        resamples: at least 1.
        seed: same seed, same draws of groups as in `bootstrap_interval`.

    Returns:
        One interval a column.

    Raises:
        DataError: `values` is not a finite matrix with rows and columns, or `groups` has not one label a row.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    array = matrix("values", values, "columns")
    codes = _codes(groups, len(array))
    counts = np.bincount(codes)
    sums = np.zeros((len(counts), array.shape[1]))
    np.add.at(sums, codes, array)
    draws = _draws(len(counts), whole_number("resamples", resamples, 1), seed)
    means = np.concatenate([_drawn_means(drawn, sums, counts) for drawn in draws])
    return tuple(
        _percentile_interval(float(estimate), column, len(counts), confidence)
        for estimate, column in zip(array.mean(axis=0), means.T, strict=True)
    )


def _drawn_means(drawn: Indices, sums: Array, counts: Indices) -> Array:
    """Mean of each column over each draw of groups, (draws, columns), by how often a draw has each group."""
    size = len(counts)
    flat = (drawn + size * np.arange(len(drawn))[:, None]).reshape(-1)
    times = np.bincount(flat, minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
    means: Array = (times @ sums) / (times @ counts)[:, None]
    return means
