"""Inferred objective weights against votes, or against known weights, row by row and on average."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vrm.errors import DataError
from vrm.metrics._arrays import ROUNDING, Array, matrix, whole_number


def top_k_recall_rows(weights: ArrayLike, votes: ArrayLike, k: int) -> Array:
    """Share of each row's votes that went to its k objectives of largest weight, (n,) in [0, 1].

    With equal votes for some objectives this is the recall at k. Where more objectives than k have votes, 1 is out of
    reach. Equal weights at the k-th place share what is left of the k.

    Args:
        weights: (n, num_objectives), any scale: only their order counts.
        votes: (n, num_objectives) at least 0, a positive total in each row.
        k: 1 to num_objectives.

    Raises:
        DataError: shapes differ, a value is not finite, or a row has no votes or negative ones.
        ConfigError: `k` is out of range.
    """
    given, shares = _weights_and_shares(weights, votes)
    kept = whole_number("k", k, 1, given.shape[1])
    threshold = -np.partition(-given, kept - 1, axis=1)[:, kept - 1 : kept]
    above, tied = given > threshold, given == threshold
    credit = (kept - above.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
    return (shares * (above + tied * credit)).sum(axis=1)


def top_k_recall_at_own_k(weights: ArrayLike, votes: ArrayLike) -> float:
    """Mean of `top_k_recall_rows`, with k of each row the number of objectives that have votes in it, in [0, 1].

    Here 1 is always in reach: the largest weights are then those of the voted objectives, in every row.

    Args:
        weights: (n, num_objectives), any scale: only their order counts.
        votes: (n, num_objectives) at least 0, a positive total in each row.

    Raises:
        DataError: shapes differ, a value is not finite, or a row has no votes or negative ones.
    """
    given, shares = _weights_and_shares(weights, votes)
    named = (shares > 0.0).sum(axis=1)
    total = 0.0
    for k in np.unique(named):
        rows = named == k
        total += float(top_k_recall_rows(given[rows], shares[rows], int(k)).sum())
    return total / len(shares)


def total_variation(p: ArrayLike, q: ArrayLike) -> float:
    """Mean over rows of 1/2 sum_k |p_k - q_k|, in [0, 1]: the mass that must be moved to turn p into q.

    Args:
        p: (n, num_objectives), each row a distribution.
        q: (n, num_objectives), each row a distribution.

    Raises:
        DataError: shapes differ, a value is not finite, or a row is not a distribution.
    """
    return float(total_variation_rows(p, q).mean())


def total_variation_rows(p: ArrayLike, q: ArrayLike) -> Array:
    """`total_variation` of each row, (n,)."""
    first, second = _distributions("p", matrix("p", p)), _distributions("q", matrix("q", q))
    _same_shape("p", first, "q", second)
    return 0.5 * abs(first - second).sum(axis=1)


def _weights_and_shares(weights: ArrayLike, votes: ArrayLike) -> tuple[Array, Array]:
    given, counted = matrix("weights", weights), matrix("votes", votes)
    _same_shape("weights", given, "votes", counted)
    total = counted.sum(axis=1, keepdims=True)
    bad = np.flatnonzero((counted < 0.0).any(axis=1) | (total[:, 0] <= 0.0))
    if bad.size:
        raise DataError(
            f"'votes' must be at least 0 with a positive total in each row, got {counted[bad[0]].tolist()} at row "
            f"{bad[0]} ({bad.size} such rows). Leave out rows without votes."
        )
    return given, counted / total


def _distributions(name: str, array: Array) -> Array:
    bad = np.flatnonzero((array < -ROUNDING).any(axis=1) | (abs(array.sum(axis=1) - 1.0) > array.shape[1] * ROUNDING))
    if bad.size:
        raise DataError(
            f"Rows of '{name}' must be distributions, at least 0 with a total of 1, got {array[bad[0]].tolist()} with "
            f"total {array[bad[0]].sum():.6g} at row {bad[0]} ({bad.size} such rows)."
        )
    return array


def _same_shape(first_name: str, first: Array, second_name: str, second: Array) -> None:
    if first.shape != second.shape:
        raise DataError(
            f"'{first_name}' and '{second_name}' must have the same shape, got {first.shape} and {second.shape}."
        )
