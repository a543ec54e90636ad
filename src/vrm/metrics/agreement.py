"""How far two arrays agree: correlation of predicted and given ratings, and two models on the same completions."""

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
from vrm.metrics._arrays import Array, same_length, vector


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
