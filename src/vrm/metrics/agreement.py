"""How far numbers agree: ratings, the rewards of two models, and objective weights with votes or known weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from vrm.errors import DataError
from vrm.metrics._arrays import ROUNDING, Array, matrix, same_length, vector, whole_number


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of a second model's rewards with a first one's.

    Attributes:
        count: completions.
        pearson: of the rewards, in [-1, 1]; NaN where it is not defined.
        spearman: of their ranks.
        pairs: pairs of completions of one prompt to which the first model gives different rewards.
        pairwise: share of these that the second model orders as the first does, equal rewards counting half; NaN
            without pairs.
        mean_difference: mean of the absolute differences, in units of reward.
        max_difference: the largest of them.
    """

    count: int
    pearson: float
    spearman: float
    pairs: int
    pairwise: float
    mean_difference: float
    max_difference: float


def reward_agreement(first: ArrayLike, second: ArrayLike, groups: Iterable[Hashable]) -> Agreement:
    """Compare rewards of the same completions.

    Args:
        first: (n,) the rewards that are taken as given.
        second: (n,) those compared with them.
        groups: (n,) equal for completions of one prompt, which alone are compared with each other.

    Raises:
        DataError: shapes differ, nothing is given, or a value is not finite.
    """
    given, other, labels = vector("first", first), vector("second", second), list(groups)
    same_length(first=given, second=other)
    if len(labels) != len(given):
        raise DataError(f"'groups' has {len(labels)} entries for {len(given)} completions; one each is needed.")
    members: dict[Hashable, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    hits = [
        _hit(given[i] - given[j], other[i] - other[j])
        for indices in members.values()
        for i, j in combinations(indices, 2)
        if given[i] != given[j]
    ]
    differences = np.abs(given - other)
    return Agreement(
        count=len(given),
        pearson=pearson(given, other),
        spearman=spearman(given, other),
        pairs=len(hits),
        pairwise=float(np.mean(hits)) if hits else float("nan"),
        mean_difference=float(differences.mean()),
        max_difference=float(differences.max()),
    )


def _hit(first: float, second: float) -> float:
    return 0.5 if second == 0 else float((first > 0) == (second > 0))


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
    """Mean over rows of `1/2 sum_k |p_k - q_k|`, in [0, 1]: the mass that must be moved to turn p into q.

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
