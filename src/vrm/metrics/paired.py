"""Is one model better than another on the same rows? Tests beside McNemar's, adjustment for many, rows needed."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vrm.errors import DataError
from vrm.metrics._arrays import Array, Groups, fraction, group_codes, vector, whole_number
from vrm.metrics.intervals import mcnemar

_CHUNK = 2_000_000
"""Random signs held in memory at once."""


def sign_flip_p_value(differences: ArrayLike, groups: Groups = None, draws: int = 9_999, seed: int = 0) -> float:
    """Two-sided p value of the sign-flip test that differences are symmetric about 0, whole groups flipped together.

    With one row a group and differences of -1, 0 and 1 it tests what `mcnemar` tests; with several rows of one prompt
    it stays valid, where McNemar's test does not. The smallest value is 1 / (draws + 1) (Phipson and Smyth 2010).

    Args:
        differences: (n,) of two models on the same rows, such as of their hits.
        groups: n labels, such as prompts; None takes each row as a group.
        draws: random assignments of signs, at least 1.
        seed: same seed, same value.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite.
        ConfigError: `draws` is out of range.
    """
    values = vector("differences", differences)
    sums = np.bincount(group_codes(groups, len(values)), weights=values)
    sums = sums[sums != 0.0]
    count = whole_number("draws", draws, 1)
    if not len(sums):
        return 1.0
    generator = np.random.default_rng(seed)
    # Sums of half credits are exact in floating point, so equality with the observed total is not left to rounding.
    observed, extreme, step = abs(float(sums.sum())) - 1e-12, 0, max(1, _CHUNK // len(sums))
    for start in range(0, count, step):
        signs = generator.integers(0, 2, size=(min(step, count - start), len(sums)), dtype=np.int8) * 2 - 1
        extreme += int((abs(signs @ sums) >= observed).sum())
    return (extreme + 1) / (count + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number, in the order given (Holm 1979): each at most alpha keeps all errors at alpha.

    Args:
        p_values: each in [0, 1]; none is fine.

    Raises:
        DataError: a value is out of range or NaN.
    """
    bad = [value for value in p_values if not 0.0 <= value <= 1.0]
    if bad:
        raise DataError(f"'p_values' must lie in [0, 1], got {bad[0]!r}.")
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def rows_to_tell(
    differences: ArrayLike,
    difference: float,
    groups: Groups = None,
    *,
    confidence: float = 0.95,
    power: float = 0.8,
) -> float:
    """Rows like these that would be needed to find a mean difference of a given size; infinite for a size of 0.

    (z_{(1 + confidence) / 2} + z_power)^2 n Var[mean] / difference^2, the variance of the mean taken over groups: rows
    that share a prompt tell less than rows of their own.

    Args:
        differences: (n,) of two models on the same rows.
        difference: to be found, in the unit of `differences`.
        groups: n labels, such as prompts; None takes each row as a group.
        confidence: of the two-sided interval that is to leave out 0, in (0, 1).
        power: probability that it does, in (0, 1).

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite.
        ConfigError: `confidence` or `power` is out of range.
    """
    values = vector("differences", differences)
    centred: Array = values - values.mean()
    sums = np.bincount(group_codes(groups, len(values)), weights=centred)
    spread = float(sums @ sums) / len(values)
    normal = NormalDist()
    z = normal.inv_cdf(0.5 + fraction("confidence", confidence) / 2.0) + normal.inv_cdf(fraction("power", power))
    return z * z * spread / difference**2 if difference else math.inf


def equality_test(
    differences: Array, groups: Sequence[Hashable] | NDArray[np.intp], seed: int = 0
) -> tuple[float, str]:
    """P value of equal accuracy and the test it is of: exact McNemar, or sign flips over groups where it does not fit.

    McNemar's test takes rows as independent and asks only who is right more often: where groups repeat it is too sure,
    and it would take a third of a point for a whole one.

    Args:
        differences: (n,) hits, or shares of a point, of A minus those of B.
        groups: n labels, such as prompts.
        seed: of the sign flips.

    Raises:
        DataError: there are no rows.
    """
    labels = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    whole = bool(np.isin(differences, (-1.0, 0.0, 1.0)).all())
    if whole and len(set(labels)) == len(labels):
        return mcnemar(differences, np.zeros(len(differences))).p_value, "mcnemar"
    return sign_flip_p_value(differences, labels, seed=seed), "sign_flip"
