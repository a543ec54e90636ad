"""How well a number tells two kinds of rows apart: area under the ROC curve, by ranks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from vrm.errors import DataError
from vrm.metrics._arrays import Array, Groups, Indices, same_length, tied_groups, vector
from vrm.metrics.intervals import DEFAULT_RESAMPLING, Interval, ResampleOptions, bootstrap_rows


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

    return bootstrap_rows(excess, len(codes), groups, options)


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
