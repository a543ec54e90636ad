"""Does the model know when it is right, and when judges differ? Accuracy by certainty, and area under the ROC curve."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from vrm.errors import DataError
from vrm.metrics._arrays import (
    Array,
    Groups,
    Indices,
    fraction,
    group_codes,
    same_length,
    tied_groups,
    vector,
)
from vrm.metrics.accuracy import pairwise_hits
from vrm.metrics.intervals import DEFAULT_RESAMPLING, Interval, ResampleOptions, bootstrap_rows
from vrm.metrics.shares import widened


@dataclass(frozen=True, slots=True)
class SelectiveAccuracy:
    """Accuracy against coverage.

    Attributes:
        coverage: (count,) 1/count, 2/count, ..., 1: the share of pairs kept, the most certain first.
        accuracy: (count,) accuracy on them; the last entry is the accuracy on all.
        area: mean of `accuracy` over all coverages, in [0, 1]; NaN without a pair to judge.
        count: pairs judged.
        ties: pairs left out because their preference is 0.5.
    """

    coverage: tuple[float, ...]
    accuracy: tuple[float, ...]
    area: float
    count: int
    ties: int

    def at(self, coverage: float) -> float:
        """Accuracy on this share of the pairs, in (0, 1], rounded up to whole pairs; NaN without pairs.

        Raises:
            ConfigError: `coverage` is out of range.
        """
        share = fraction("coverage", coverage, include_one=True)
        # The small term keeps 0.07 * 100 = 7.000000000000001 from being rounded up to 8.
        return self.accuracy[max(1, math.ceil(share * self.count - 1e-9)) - 1] if self.count else math.nan


def selective_accuracy(margins: ArrayLike, preference: ArrayLike, certainty: ArrayLike) -> SelectiveAccuracy:
    """Accuracy on the most certain pairs, for every coverage (El-Yaniv and Wiener 2010).

    Pairs that are equally certain are exchangeable: where a coverage cuts through them, the accuracy is what a random
    choice among them gives on average. So neither the order of rows nor a seed plays a role.

    Args:
        margins: (n,) reward of the first completion minus that of the second.
        preference: (n,) in [0, 1]; ties (0.5) are left out and counted.
        certainty: (n,) any scale, higher is more certain.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    hits, certain = pairwise_hits(margins, preference), vector("certainty", certainty)
    same_length(margins=hits, certainty=certain)
    judged = ~np.isnan(hits)
    count = int(judged.sum())
    curve = _curve(tied_groups(certain[judged]), hits[judged], np.ones(count, dtype=np.intp))
    coverage = np.arange(1, count + 1) / max(count, 1)
    area = float(curve.mean()) if count else math.nan
    return SelectiveAccuracy(tuple(coverage.tolist()), tuple(curve.tolist()), area, count, len(hits) - count)


def selective_area_interval(
    margins: ArrayLike,
    preference: ArrayLike,
    certainty: ArrayLike,
    groups: Groups = None,
    options: ResampleOptions = DEFAULT_RESAMPLING,
) -> Interval:
    """`selective_accuracy(...).area` with its bootstrap interval over groups; NaN without a pair to judge.

    Args:
        margins: (n,) reward of the first completion minus that of the second.
        preference: (n,) in [0, 1]; ties (0.5) are left out.
        certainty: (n,) any scale, higher is more certain.
        groups: n labels, such as prompts; None takes each pair as a group.
        options: of the bootstrap.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    hits, certain = pairwise_hits(margins, preference), vector("certainty", certainty)
    same_length(margins=hits, certainty=certain)
    judged = ~np.isnan(hits)
    if not judged.any():
        return Interval.unknown(options.confidence)
    codes, credit = tied_groups(certain[judged]), hits[judged]
    labels = group_codes(groups, len(hits))[judged]
    area = bootstrap_rows(lambda times: float(_curve(codes, credit, times).mean()), len(credit), labels, options)
    return widened(area, len(np.unique(labels)))


def thinned(selective: SelectiveAccuracy) -> SelectiveAccuracy:
    """The same curve at no more than 101 coverages, evenly spread, the last one kept; `area` and counts stay."""
    if selective.count <= 101:
        return selective
    kept = np.linspace(0, selective.count - 1, 101).round().astype(int)
    coverage, accuracy = (tuple(values[index] for index in kept) for values in (selective.coverage, selective.accuracy))
    return replace(selective, coverage=coverage, accuracy=accuracy)


def _curve(codes: Indices, credit: Array, times: Indices) -> Array:
    """Mean credit of the first 1, 2, ... rows, those of the largest code first, each row standing `times` times."""
    order = np.argsort(-codes, kind="stable")
    totals, counts = np.bincount(codes, weights=credit * times), np.bincount(codes, weights=times)
    rows = np.repeat(order, times[order])
    # Rows of one code are exchangeable: each has the mean of theirs.
    return np.cumsum((totals / np.maximum(counts, 1.0))[codes[rows]]) / np.arange(1, len(rows) + 1)


def auroc(signal: ArrayLike, positive: ArrayLike) -> float:
    """Probability that a positive row has the larger signal than a negative one, equal signals counting 1/2.

    The Mann-Whitney U statistic over the number of positive-negative pairs (Hanley and McNeil 1982).

    Args:
        signal: (n,) any scale; infinities are allowed.
        positive: (n,) 1 or True for positive rows, 0 or False for negative ones.

    Returns:
        in [0, 1], 1/2 for a signal that tells nothing; NaN if one kind of row is absent.

    Raises:
        DataError: shapes differ, there are no rows, or a value is NaN or of another kind.
    """
    codes, kinds = _checked(signal, positive)
    return _weighted_auroc(codes, kinds, np.ones(len(codes), dtype=np.intp))


def auroc_interval(
    signal: ArrayLike,
    positive: ArrayLike,
    groups: Groups = None,
    options: ResampleOptions = DEFAULT_RESAMPLING,
    baseline: ArrayLike | None = None,
) -> Interval:
    """`auroc` with its bootstrap interval over groups; resamples without one of the kinds are left out.

    Where no resample differs, the interval is that of a share of the rarer kind's rows.

    Args:
        signal: (n,) any scale.
        positive: (n,) 1 or 0.
        groups: n labels, such as prompts; None takes each row as a group.
        options: of the bootstrap.
        baseline: (n,) another signal, whose AUROC on the same resamples is taken off.

    Raises:
        DataError: as `auroc`, or `groups` has not one label a row.
    """
    codes, kinds = _checked(signal, positive)
    others = None if baseline is None else _checked(baseline, positive)[0]

    def excess(times: Indices) -> float:
        own = _weighted_auroc(codes, kinds, times)
        return own if others is None else own - _weighted_auroc(others, kinds, times)

    interval = bootstrap_rows(excess, len(codes), groups, options)
    fewest = min(int(kinds.sum()), int((1.0 - kinds).sum()))
    return widened(interval, fewest) if others is None else interval


def _checked(signal: ArrayLike, positive: ArrayLike) -> tuple[Indices, Array]:
    values, kinds = vector("signal", signal, allow_infinite=True), vector("positive", positive)
    same_length(signal=values, positive=kinds)
    odd = np.flatnonzero((kinds != 0.0) & (kinds != 1.0))
    if odd.size:
        raise DataError(f"'positive' must hold 0 and 1 only, got {kinds[odd[0]]} at row {odd[0]}.")
    return tied_groups(values), kinds


def _weighted_auroc(codes: Indices, kinds: Array, times: Indices) -> float:
    """Every row counted `times` times."""
    size = int(codes.max()) + 1
    positives = np.bincount(codes, weights=kinds * times, minlength=size)
    negatives = np.bincount(codes, weights=(1.0 - kinds) * times, minlength=size)
    pairs = float(positives.sum() * negatives.sum())
    if not pairs:
        return math.nan
    below = np.cumsum(negatives) - negatives
    return float(positives @ (below + 0.5 * negatives)) / pairs
