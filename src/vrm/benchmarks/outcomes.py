"""From rewards to what each example adds, and from that to a benchmark's figures with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vrm.metrics import (
    DEFAULT_RESAMPLING,
    Array,
    Indices,
    Interval,
    ResampleOptions,
    bootstrap_mean,
    bootstrap_rows,
    field_values,
    share_interval,
    widened,
)
from vrm.results.benchmarks import FigureResult

ALL = "all"
"""Name of the table's row that takes in the whole benchmark."""


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """The mean of one measure over some examples, with the weight that a figure gives it.

    Attributes:
        measure: name of the measure.
        members: (n,) bool, the examples it is taken over; those where the measure is NaN do not count.
        weight: relative, > 0.
    """

    measure: str
    members: NDArray[np.bool_]
    weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One published number: a weighted mean (or sum) of means.

    Attributes:
        row: what it is about: `all`, or the value of a label.
        column: what is measured, as its authors name it.
        terms: what it is made of.
        total: sum the weighted terms as they are; else divide by the weights of the terms that have examples.
        level: name of the label whose value `row` is; empty for `all`.
    """

    row: str
    column: str
    terms: tuple[Term, ...]
    total: bool = False
    level: str = ""

    @property
    def members(self) -> NDArray[np.bool_]:
        """(n,) bool, the examples that any of the terms is taken over."""
        mask: NDArray[np.bool_] = np.logical_or.reduce([term.members for term in self.terms])
        return mask

    def value(self, credit: Mapping[str, Array], rows: Indices | None = None) -> float:
        """The figure for these examples (all by default; repeats count as often as they stand).

        A term without an example adds nothing. NaN where no term has one.

        Args:
            credit: {measure: (n,)}, as in `Outcomes.credit`.
            rows: positions of examples.
        """
        sums, counts = np.zeros(len(self.terms)), np.zeros(len(self.terms))
        for index, term in enumerate(self.terms):
            values, members = credit[term.measure], term.members
            if rows is not None:
                values, members = values[rows], members[rows]
            taken = values[members & ~np.isnan(values)]
            sums[index], counts[index] = taken.sum(), len(taken)
        return self.combine(sums, counts)

    def combine(self, sums: Array, counts: Array) -> float:
        """The figure from the terms' sums and numbers of examples, both (terms,)."""
        there = counts > 0
        if not there.any():
            return math.nan
        weights = np.array([term.weight for term in self.terms])[there]
        total = float((weights * sums[there] / counts[there]).sum())
        return total if self.total else total / float(weights.sum())

    def worth(self, counts: Array) -> float:
        """How many examples of a plain mean have its variance, from the terms' numbers of examples (terms,)."""
        there = counts > 0
        weights = np.array([term.weight for term in self.terms])[there]
        return float(weights.sum() ** 2 / (weights**2 / counts[there]).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What each example adds to each figure of one model.

    Two models are paired by `ids` and compared by `figure.value(first.credit, rows) - figure.value(second.credit,
    rows)`, or example by example in `credit`.

    Attributes:
        ids: of the n examples.
        groups: of the examples; equal for those of one prompt, which are resampled together.
        credit: {measure: (n,)}, mostly 0 or 1, a fraction where rewards are equal and the benchmark shares the point;
            NaN where the measure is not about the example, or the example got no rewards.
        figures: the published numbers, the main one first.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    credit: dict[str, Array]
    figures: tuple[Figure, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def counted(self, figure: Figure) -> Indices:
        """Positions of the examples that a figure is computed from."""
        known = np.zeros(len(self), dtype=bool)
        for term in figure.terms:
            known |= term.members & ~np.isnan(self.credit[term.measure])
        return np.flatnonzero(known)

    def interval(self, figure: Figure, options: ResampleOptions = DEFAULT_RESAMPLING) -> Interval:
        """A figure with its interval over prompts: that of a share, else by bootstrap."""
        rows = self.counted(figure)
        if not rows.size:
            return Interval.unknown(options.confidence)
        groups = [self.groups[row] for row in rows]
        if len(figure.terms) == 1 and not figure.total:
            values = self.credit[figure.terms[0].measure][rows]
            if values.min() >= 0.0 and values.max() <= 1.0:
                return share_interval(values, groups, options.confidence)
            return bootstrap_mean(values, groups, options)
        sums, counts = self._by_group(figure, rows)
        mean = bootstrap_rows(lambda times: figure.combine(times @ sums, times @ counts), len(sums), None, options)
        return mean if figure.total else widened(mean, figure.worth(counts.sum(0)))

    def _by_group(self, figure: Figure, rows: Indices) -> tuple[Array, Array]:
        """Sums and numbers of examples of each term, (groups, terms) both: what resampling groups needs to know."""
        codes = {group: code for code, group in enumerate(dict.fromkeys(self.groups[row] for row in rows))}
        owner = np.array([codes[self.groups[row]] for row in rows])
        sums, counts = np.zeros((2, len(codes), len(figure.terms)))
        for index, term in enumerate(figure.terms):
            values = self.credit[term.measure][rows]
            taken = term.members[rows] & ~np.isnan(values)
            np.add.at(sums[:, index], owner[taken], values[taken])
            np.add.at(counts[:, index], owner[taken], 1.0)
        return sums, counts

    def result(self, figure: Figure, longer_wins: float, options: ResampleOptions = DEFAULT_RESAMPLING) -> FigureResult:
        """A figure with its interval, its counts, and what "the longer wins" scores."""
        rows = self.counted(figure)
        return FigureResult(
            level=figure.level,
            row=figure.row,
            column=figure.column,
            **field_values(self.interval(figure, options)),
            examples=len(rows),
            prompts=len({self.groups[row] for row in rows}),
            longer_wins=longer_wins,
        )


def mean_figure(row: str, column: str, measure: str, members: NDArray[np.bool_], level: str = "") -> Figure:
    """The plain mean of a measure over some examples."""
    return Figure(row, column, (Term(measure, members),), level=level)


def mean_of(row: str, column: str, figures: Sequence[Figure], level: str = "") -> Figure:
    """The mean of other figures, each with the same say; `total` if one of them is a total."""
    total = any(figure.total for figure in figures)
    terms = []
    for figure in figures:
        whole = 1.0 if figure.total else math.fsum(term.weight for term in figure.terms)
        share = 1.0 / len(figures) if total else 1.0
        terms += [Term(term.measure, term.members, share * term.weight / whole) for term in figure.terms]
    return Figure(row, column, tuple(terms), total, level)
