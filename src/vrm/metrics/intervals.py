"""How far a figure would move on other data: cluster bootstrap, paired differences, McNemar's test.

Pairs of one prompt are not independent. Whole prompts (groups) are resampled, then, and never single rows of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from vrm.metrics._arrays import Array, Indices, fraction, group_codes, matrix, same_length, vector, whole_number

Groups: TypeAlias = Iterable[Hashable] | ArrayLike | None

_CHUNK = 2_000_000
"""Cluster draws held in memory at once."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its percentile bootstrap interval.

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


def bootstrap_interval(
    values: ArrayLike,
    groups: Groups = None,
    statistic: Callable[[Array], float] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic of `values` (Efron 1979), resampling groups where there are any.

    The mean is resampled as a ratio: the sum of values over the number of rows of the drawn groups. With few groups
    (under 20, say) percentile intervals are too short. An interval whose percentiles miss the estimate, as a skewed
    statistic or few resamples may cause, is widened to hold it.

    Args:
        values: (n,) finite, such as the hits of `pairwise_hits` without ties.
        groups: n labels, such as prompts; None takes each row as a group.
        statistic: of the values of the drawn rows, any number of them; None for the mean, which is much faster.
        confidence: in (0, 1).
        resamples: at least 1.
        seed: same seed, same interval.

    Raises:
        DataError: `values` or `groups` have a wrong shape, no rows, or values that are not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    array = vector("values", values)
    if statistic is not None:
        wanted = statistic
        return bootstrap_statistic(
            lambda rows: wanted(array[rows]), len(array), groups, confidence=confidence, resamples=resamples, seed=seed
        )
    codes = _codes(groups, len(array))
    sums, counts = np.bincount(codes, weights=array), np.bincount(codes)
    draws = _draws(len(counts), whole_number("resamples", resamples, 1), seed)
    means = [sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in draws]
    return _percentile_interval(float(array.mean()), np.concatenate(means), len(counts), confidence)


def bootstrap_statistic(
    statistic: Callable[[Indices], float],
    rows: int,
    groups: Groups = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of any statistic of rows, given as row indices (repeats included).

    Resamples in which the statistic is not finite (a correlation of a constant, say) are left out.

    Args:
        statistic: from an integer array of row indices to a number; also called once with all rows in order.
        rows: number of rows, at least 1.
        groups: one label a row, such as prompts; None takes each row as a group.
        confidence: in (0, 1).
        resamples: at least 1.
        seed: same seed, same draws of groups as in `bootstrap_interval`.

    Raises:
        DataError: `groups` has not one hashable label a row.
        ConfigError: `rows`, `confidence` or `resamples` is out of range.
    """
    codes = _codes(groups, whole_number("rows", rows, 1))
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    draws = _draws(len(members), whole_number("resamples", resamples, 1), seed)
    results = [statistic(np.concatenate([members[group] for group in drawn])) for chunk in draws for drawn in chunk]
    estimate = float(statistic(np.arange(rows)))
    return _percentile_interval(estimate, np.asarray(results, dtype=np.float64), len(members), confidence)


def bootstrap_totals(
    columns: ArrayLike,
    statistic: Callable[[Array], Array],
    groups: Groups = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a function of column totals, such as a ratio of two sums; as fast as the mean's.

    Resamples in which the statistic is not finite (a ratio over nothing, say) are left out.

    Args:
        columns: (n, C) finite.
        statistic: from totals (resamples, C) to one number a resample.
        groups: n labels, such as prompts; None takes each row as a group.
        confidence: in (0, 1).
        resamples: at least 1.
        seed: same seed, same draws of groups as in `bootstrap_interval`.

    Raises:
        DataError: `columns` or `groups` have a wrong shape, no rows, or values that are not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    array = matrix("columns", columns)
    codes = _codes(groups, len(array))
    sums = [np.bincount(codes, weights=column) for column in array.T]
    draws = _draws(len(sums[0]), whole_number("resamples", resamples, 1), seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        results = [statistic(np.stack([part[drawn].sum(axis=1) for part in sums], axis=1)) for drawn in draws]
        estimate = float(statistic(array.sum(axis=0)[None])[0])
    return _percentile_interval(estimate, np.concatenate(results), len(sums[0]), confidence)


def bootstrap_multiplicities(
    statistic: Callable[[Indices], float],
    rows: int,
    groups: Groups = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """As `bootstrap_statistic`, for statistics that take how often each row was drawn; ranks need no sorting then.

    Args:
        statistic: from (rows,) whole numbers, how often each row counts, to a number; also called once with all ones.
        rows: number of rows, at least 1.
        groups: one label a row, such as prompts; None takes each row as a group.
        confidence: in (0, 1).
        resamples: at least 1.
        seed: same seed, same draws of groups as in `bootstrap_interval`.

    Raises:
        DataError: `groups` has not one hashable label a row.
        ConfigError: `rows`, `confidence` or `resamples` is out of range.
    """
    codes = _codes(groups, whole_number("rows", rows, 1))
    size = int(codes.max()) + 1
    draws = _draws(size, whole_number("resamples", resamples, 1), seed)
    results = [statistic(np.bincount(drawn, minlength=size)[codes]) for chunk in draws for drawn in chunk]
    estimate = float(statistic(np.ones(rows, dtype=np.intp)))
    return _percentile_interval(estimate, np.asarray(results, dtype=np.float64), size, confidence)


def paired_difference_interval(
    first: ArrayLike,
    second: ArrayLike,
    groups: Groups = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Interval of mean(first) - mean(second) for two models on the same rows, which are resampled together.

    Args:
        first: (n,) values of the first model, such as its hits.
        second: (n,) values of the second model on the same rows.
        groups: n labels, such as prompts; None takes each row as a group.
        confidence: in (0, 1).
        resamples: at least 1.
        seed: same seed, same interval.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    one, other = vector("first", first), vector("second", second)
    same_length(first=one, second=other)
    return bootstrap_interval(one - other, groups, None, confidence, resamples, seed)


def mcnemar(correct_first: ArrayLike, correct_second: ArrayLike) -> McNemar:
    """Exact McNemar test that two models are right equally often on the same rows (McNemar 1947).

    Rows are taken as independent; where prompts repeat, `paired_difference_interval` with groups is the safer word.
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
    return McNemar(only_first, only_second, _two_sided_binomial(min(only_first, only_second), only_first + only_second))


def _two_sided_binomial(fewer: int, trials: int) -> float:
    """Twice the probability of at most `fewer` heads in `trials` fair tosses, at most 1."""
    log_trials = math.lgamma(trials + 1) - trials * math.log(2.0)
    logs = [log_trials - math.lgamma(heads + 1) - math.lgamma(trials - heads + 1) for heads in range(fewer + 1)]
    return min(1.0, 2.0 * math.fsum(math.exp(log) for log in logs))


def _codes(groups: Groups, rows: int) -> Indices:
    return np.arange(rows, dtype=np.intp) if groups is None else group_codes(groups, rows)


def _draws(num_groups: int, resamples: int, seed: int) -> Iterator[Indices]:
    """Group indices drawn with replacement, in chunks (some, num_groups) that add up to `resamples` rows."""
    generator = np.random.default_rng(seed)
    size = max(1, _CHUNK // num_groups)
    for start in range(0, resamples, size):
        yield generator.integers(num_groups, size=(min(size, resamples - start), num_groups), dtype=np.intp)


def _percentile_interval(estimate: float, results: Array, num_groups: int, confidence: float) -> Interval:
    level = fraction("confidence", confidence)
    known = results[np.isfinite(results)]
    if num_groups < 2 or not known.size or not math.isfinite(estimate):
        return Interval(estimate, math.nan, math.nan, level)
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), level)
