"""How far a figure would move on other data, and whether one model is better than another on the same rows.

Pairs of one prompt are not independent. Whole prompts (groups) are resampled, then, and never single rows of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from vrm.errors import DataError
from vrm.metrics._arrays import (
    Array,
    Groups,
    Indices,
    fraction,
    group_codes,
    matrix,
    same_length,
    vector,
    whole_number,
)

_CHUNK = 2_000_000
"""Draws of groups, or of signs, held in memory at once."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its interval.

    Attributes:
        estimate: the statistic of the data as they are.
        low: lower end, at most `estimate`; NaN where it cannot be known, that is with fewer than two groups.
        high: upper end, at least `estimate`; NaN likewise.
        confidence: nominal coverage, in (0, 1).
    """

    estimate: float
    low: float
    high: float
    confidence: float

    @classmethod
    def unknown(cls, confidence: float) -> Interval:
        """The interval of a statistic that the data do not have: all NaN."""
        return cls(math.nan, math.nan, math.nan, confidence)

    def __neg__(self) -> Interval:
        """The interval of the statistic with the other sign."""
        return Interval(-self.estimate, -self.high, -self.low, self.confidence)


@dataclass(frozen=True, slots=True)
class ResampleOptions:
    """Settings of every bootstrap.

    Attributes:
        confidence: nominal coverage, in (0, 1).
        resamples: at least 1.
        seed: of the draws; the same seed and the same number of groups give the same draws of groups.

    Raises:
        ConfigError: `confidence` or `resamples` is out of range.
    """

    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        fraction("confidence", self.confidence)
        whole_number("resamples", self.resamples, 1)


DEFAULT_RESAMPLING = ResampleOptions()


@dataclass(frozen=True, slots=True)
class McNemar:
    """Result of `mcnemar`.

    Attributes:
        only_first: rows that the first model has right and the second wrong.
        only_second: rows that the second has right and the first wrong.
        p_value: two-sided, exact, in [0, 1]; 1 where the models never differ.
    """

    only_first: int
    only_second: int
    p_value: float


def bootstrap_mean(values: ArrayLike, groups: Groups = None, options: ResampleOptions = DEFAULT_RESAMPLING) -> Interval:
    """Percentile bootstrap interval of a mean (Efron 1979), resampling groups where there are any.

    The mean is resampled as a ratio: the sum of values over the number of rows of the drawn groups. With few groups
    (under 20, say) percentile intervals are too short. An interval whose percentiles miss the estimate, as few
    resamples may cause, is widened to hold it.

    Args:
        values: (n,) finite, such as the hits of `pairwise_hits` without ties, or differences of two models' hits.
        groups: n labels, such as prompts; None takes each row as a group.
        options: of the bootstrap.

    Raises:
        DataError: `values` or `groups` have a wrong shape, no rows, or values that are not finite.
    """
    return bootstrap_means(vector("values", values)[:, None], groups, options)[0]


def bootstrap_means(
    values: ArrayLike, groups: Groups = None, options: ResampleOptions = DEFAULT_RESAMPLING
) -> tuple[Interval, ...]:
    """The interval of each column's mean, that of `bootstrap_mean`, from one set of draws.

    Args:
        values: (rows, columns) finite, such as one row a prompt and one column a point of a curve.
        groups: one label a row; None takes each row as a group.
        options: of the bootstrap; a whole curve lies inside less often than `confidence`.

    Returns:
        One interval a column.

    Raises:
        DataError: `values` is not a finite matrix with rows and columns, or `groups` has not one label a row.
    """
    array = matrix("values", values, "columns")
    counted = np.concatenate([array, np.ones((len(array), 1))], axis=1)
    return bootstrap_totals(counted, lambda totals: totals[:, :-1] / totals[:, -1:], groups, options)


def bootstrap_totals(
    columns: ArrayLike,
    statistic: Callable[[Array], Array],
    groups: Groups = None,
    options: ResampleOptions = DEFAULT_RESAMPLING,
) -> tuple[Interval, ...]:
    """Percentile bootstrap intervals of functions of column totals, such as ratios of two sums; as fast as the mean's.

    Resamples in which the statistic is not finite (a ratio over nothing, say) are left out.

    Args:
        columns: (n, C) finite.
        statistic: from totals (resamples, C) to statistics (resamples, S), each of which gets an interval.
        groups: n labels, such as prompts; None takes each row as a group.
        options: of the bootstrap.

    Raises:
        DataError: `columns` or `groups` have a wrong shape, no rows, or values that are not finite.
    """
    array = matrix("columns", columns)
    codes = group_codes(groups, len(array))
    sums = np.stack([np.bincount(codes, weights=column) for column in array.T], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _bootstrap(lambda times: statistic(np.asarray(times @ sums, dtype=np.float64)), len(sums), options)


def bootstrap_rows(
    statistic: Callable[[Indices], float],
    rows: int,
    groups: Groups = None,
    options: ResampleOptions = DEFAULT_RESAMPLING,
) -> Interval:
    """Percentile bootstrap interval of any statistic of rows, given as how often each row was drawn.

    Resamples in which the statistic is not finite (a correlation of a constant, say) are left out.

    Args:
        statistic: from (rows,) whole numbers, how often each row counts, to a number; also called once with all ones.
        rows: number of rows, at least 1.
        groups: one label a row, such as prompts; None takes each row as a group.
        options: of the bootstrap.

    Raises:
        DataError: `groups` has not one hashable label a row.
        ConfigError: `rows` is below 1.
    """
    codes = group_codes(groups, whole_number("rows", rows, 1))

    def of_draws(times: Indices) -> Array:
        return np.asarray([[statistic(drawn[codes])] for drawn in times], dtype=np.float64)

    return _bootstrap(of_draws, int(codes.max()) + 1, options)[0]


def mcnemar(correct_first: ArrayLike, correct_second: ArrayLike) -> McNemar:
    """Exact McNemar test that two models are right equally often on the same rows (McNemar 1947).

    Rows are taken as independent; where prompts repeat, `bootstrap_mean` of the differences is the safer word.
    Half credits (zero margins) are compared as numbers, which makes it the sign test.

    Args:
        correct_first: (n,) 1 where the first model is right, 0 where wrong.
        correct_second: (n,) the same of the second model.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite.
    """
    one, other = vector("correct_first", correct_first), vector("correct_second", correct_second)
    same_length(correct_first=one, correct_second=other)
    only_first, only_second = int((one > other).sum()), int((one < other).sum())
    differing = only_first + only_second
    p_value = float(scipy.stats.binomtest(only_first, differing).pvalue) if differing else 1.0
    return McNemar(only_first, only_second, p_value)


def _bootstrap(statistic: Callable[[Indices], Array], size: int, options: ResampleOptions) -> tuple[Interval, ...]:
    """The bootstrap behind all others: `size` groups drawn with replacement, one interval for each statistic.

    Args:
        statistic: from (draws, size), how often each draw has each group, to (draws, statistics).
        size: number of groups.
        options: of the bootstrap.
    """
    generator = np.random.default_rng(options.seed)
    chunk = max(1, _CHUNK // size)
    results = []
    for start in range(0, options.resamples, chunk):
        draws = min(chunk, options.resamples - start)
        drawn = generator.integers(size, size=(draws, size), dtype=np.intp)
        places = (drawn + size * np.arange(draws)[:, None]).reshape(-1)
        results.append(statistic(np.bincount(places, minlength=drawn.size).reshape(drawn.shape)))
    estimates = statistic(np.ones((1, size), dtype=np.intp))[0]
    columns = np.concatenate(results).T
    return tuple(
        _percentile_interval(float(estimate), column, size, options.confidence)
        for estimate, column in zip(estimates, columns, strict=True)
    )


def _percentile_interval(estimate: float, results: Array, num_groups: int, confidence: float) -> Interval:
    known = results[np.isfinite(results)]
    if num_groups < 2 or not known.size or not math.isfinite(estimate):
        return Interval(estimate, math.nan, math.nan, confidence)
    low, high = np.quantile(known, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), confidence)


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
) -> float:
    """Rows like these that would be needed to find a mean difference of a given size; infinite for a size of 0.

    Found is a difference whose two-sided interval of 95 % leaves out 0, with probability 0.8: (z_0.975 + z_0.8)^2 n
    Var[mean] / difference^2. The variance of the mean is taken over groups: rows that share a prompt tell less than
    rows of their own.

    Args:
        differences: (n,) of two models on the same rows.
        difference: to be found, in the unit of `differences`.
        groups: n labels, such as prompts; None takes each row as a group.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite.
    """
    values = vector("differences", differences)
    centred: Array = values - values.mean()
    sums = np.bincount(group_codes(groups, len(values)), weights=centred)
    spread = float(sums @ sums) / len(values)
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
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
