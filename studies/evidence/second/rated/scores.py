"""Kept predictions as figures with intervals over prompts, pooled over splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from studies.evidence.folds import Fold
from studies.evidence.second.rated.models import label

from vrm.metrics import (
    Interval,
    balanced_mean_interval,
    bootstrap_mean,
    pairwise_hits,
    pearson,
)
from vrm.metrics.accuracy import preferred_sign

METRICS = ("accuracy", "length-controlled", "nll")


@dataclass(frozen=True)
class Labels:
    """What a test fold's figures need beside predictions.

    Attributes:
        preference: (n,) shares.
        excess: (n,) log length of the first completion minus that of the second.
        groups: prompts.
    """

    preference: np.ndarray
    excess: np.ndarray
    groups: list[str]

    @classmethod
    def of(cls, fold: Fold) -> Labels:
        """Of a fold."""
        return cls(label(fold), fold.longer_first, fold.groups)


@dataclass(frozen=True)
class Scored:
    """One model's rows on one test fold, all splits one after the other; ties are NaN in `hits`."""

    hits: np.ndarray
    nll: np.ndarray
    longer: np.ndarray
    groups: list[str]
    split: np.ndarray
    correlation: list[float]

    @classmethod
    def of(cls, predicted: Iterable[tuple[np.ndarray, np.ndarray]], labels: Sequence[Labels]) -> Scored:
        """From (margin, log-probabilities) and labels of each split."""
        columns: dict[str, list[Any]] = {name: [] for name in ("hits", "nll", "longer", "split")}
        groups, correlation = [], []
        for number, ((margin, logs), known) in enumerate(zip(predicted, labels, strict=True)):
            wanted = known.preference
            columns["hits"].append(pairwise_hits(margin, wanted))
            columns["nll"].append(-(wanted * logs[:, 0] + (1 - wanted) * logs[:, 1]))
            columns["longer"].append(preferred_sign(wanted, known.excess))
            columns["split"].append(np.full(len(wanted), number))
            groups += known.groups
            correlation.append(float(pearson(margin, known.excess)))
        joined = {name: np.concatenate(values) for name, values in columns.items()}
        return cls(**joined, groups=groups, correlation=correlation)

    def first(self, splits: int) -> Scored:
        """The rows of the first splits."""
        rows = self.split < splits
        groups = [group for group, ok in zip(self.groups, rows, strict=True) if ok]
        columns = {name: getattr(self, name)[rows] for name in ("hits", "nll", "longer", "split")}
        return Scored(**columns, groups=groups, correlation=self.correlation[:splits])

    def interval(self, metric: str, other: Scored | None = None) -> Interval:
        """A metric, or its difference to another model's on the same rows."""
        rows = np.ones(len(self.nll), dtype=bool) if metric == "nll" else ~np.isnan(self.hits)
        return self._interval(metric, other, rows)

    def by_split(self, metric: str, other: Scored | None = None) -> list[float]:
        """The same for each split."""
        values = []
        for number in np.unique(self.split):
            rows = (self.split == number) & ((metric == "nll") | ~np.isnan(self.hits))
            values.append(self._value(metric, other, rows))
        return values

    def _difference(self, metric: str, other: Scored | None) -> np.ndarray:
        name = "nll" if metric == "nll" else "hits"
        mine = getattr(self, name)
        return mine if other is None else mine - getattr(other, name)

    def _value(self, metric: str, other: Scored | None, rows: np.ndarray) -> float:
        values = self._difference(metric, other)[rows]
        if metric in ("nll", "accuracy"):
            return float(values.mean())
        sides = self.longer[rows]
        return float(np.mean([values[of].mean() if of.any() else np.nan for of in (sides > 0, sides < 0)]))

    def _interval(self, metric: str, other: Scored | None, rows: np.ndarray) -> Interval:
        values = self._difference(metric, other)[rows]
        groups = [group for group, ok in zip(self.groups, rows, strict=True) if ok]
        if metric in ("nll", "accuracy"):
            return bootstrap_mean(values, groups)
        return balanced_mean_interval(values, self.longer[rows], None, groups)


def with_correlation(margin: np.ndarray, excess: np.ndarray, wanted: float) -> np.ndarray:
    """Margins whose part along the length difference is scaled until their correlation with it is the wanted one."""
    centred, along = margin - margin.mean(), excess - excess.mean()
    slope = float(centred @ along / (along @ along))
    rest = (centred - slope * along).std()
    kept = wanted * rest / (along.std() * np.sqrt(1.0 - wanted**2))
    return margin + (kept - slope) * excess


def figures(mine: Scored, other: Scored | None = None) -> dict[str, Any]:
    """Estimate, low and high of every metric, and values by split; of a difference, too, how many splits agree."""
    found: dict[str, Any] = {}
    for metric in METRICS:
        interval, each = mine.interval(metric, other), mine.by_split(metric, other)
        found[metric] = [round(float(value), 5) for value in (interval.estimate, interval.low, interval.high)]
        found[f"{metric}, splits"] = [round(value, 4) for value in each]
    correlation = np.array(mine.correlation) - (np.array(other.correlation) if other else 0.0)
    found["correlation, splits"] = correlation.round(4).tolist()
    return found


def agree(figure: dict[str, Any], metric: str) -> str:
    """Of a difference, how many splits have the sign of the mean."""
    each = np.array(figure[f"{metric}, splits"])
    return f"{int((np.sign(each) == np.sign(figure[metric][0])).sum())}/{len(each)}"
