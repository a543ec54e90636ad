"""The headline of a measurement, and which model is the best on a file, if the data can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vrm.metrics import Interval
from vrm.report.values import known, scaled
from vrm.report.view import Measurement, View
from vrm.results import BenchmarkEntry, ComparisonDocument, FigureResult

Paired = Mapping[tuple[str, str, str], Interval]
"""Accuracy of the first model minus that of the second on a data set, by (data set, first, second)."""


def has_pairs(entry: Measurement) -> bool:
    """Whether it measured judged pairs, as opposed to a benchmark's own figures or lists alone."""
    return entry.file.pairs is not None


def main_figure(entry: Measurement) -> FigureResult | None:
    """The first of a benchmark's figures, which is its main one; None for files of judgments."""
    return next(iter(entry.figures), None)


def accuracy_of(entry: Measurement) -> Interval | None:
    """Its accuracy with the interval; of a benchmark, the main figure."""
    pairs = entry.file.pairs
    return known(main_figure(entry) if pairs is None else pairs.accuracy)


def count_of(entry: Measurement) -> int | None:
    """Pairs, or the examples behind a benchmark's main figure."""
    pairs, figure = entry.file.pairs, main_figure(entry)
    if pairs is not None:
        return pairs.count
    return None if figure is None else figure.examples


def longer_wins_of(entry: Measurement) -> float:
    """What "the longer completion wins" scores on it; NaN if unknown."""
    pairs, figure = entry.file.pairs, main_figure(entry)
    if pairs is not None:
        return pairs.longer_wins.value
    return math.nan if figure is None else figure.longer_wins


def length_controlled_of(entry: Measurement) -> float:
    """The mean of the accuracies where the chosen is the longer and the shorter; NaN if unknown."""
    pairs, figure = entry.file.pairs, main_figure(entry)
    if pairs is not None:
        return pairs.length_controlled.value
    if figure is None or not isinstance(entry.content, BenchmarkEntry):
        return math.nan
    rows = {(row.level, row.row): row.value for row in entry.content.length_controlled}
    return rows.get((figure.level, figure.row), math.nan)


def known_best(measured: Sequence[Measurement], paired: Paired) -> int | None:
    """The place of the model that is better than every other one; None where that cannot be said.

    Better is what the interval of a paired difference says where a comparison has both models, and else what two
    intervals on the same number of pairs say that do not overlap, which is stricter.
    """
    top = highest(measured)
    if len(measured) < 2 or top is None:
        return None
    return top if not_told_apart(measured, top, paired) == [] else None


def highest(measured: Sequence[Measurement]) -> int | None:
    """The place of the highest accuracy; None without accuracies."""
    accuracies = [(accuracy, -place) for place, entry in enumerate(measured) if (accuracy := accuracy_of(entry))]
    return -max((accuracy.estimate, place) for accuracy, place in accuracies)[1] if accuracies else None


def not_told_apart(measured: Sequence[Measurement], top: int, paired: Paired) -> list[str]:
    """Models of which the data cannot say that the one at `top` is better."""
    others = [entry for place, entry in enumerate(measured) if place != top]
    return [entry.model for entry in others if not _is_better(measured[top], entry, paired)]


def _is_better(first: Measurement, second: Measurement, paired: Paired) -> bool:
    difference = paired.get((first.dataset, first.model, second.model))
    if difference is not None:
        return difference.low > 0
    mine, other = accuracy_of(first), accuracy_of(second)
    return mine is not None and other is not None and count_of(first) == count_of(second) and mine.low > other.high


def paired_differences(view: View) -> Paired:
    """Differences of accuracy that the comparisons among the inputs have measured, both ways round."""
    differences: dict[tuple[str, str, str], Interval] = {}
    for entry in view.inputs.of(ComparisonDocument):
        first, second = view.models_of(entry.content)
        files, benchmarks = entry.content.files.items(), entry.content.benchmarks.items()
        measured = [(path, compared.overall.accuracy.difference) for path, compared in files]
        measured += [(path, compared.figures[0].difference) for path, compared in benchmarks if compared.figures]
        for path, difference in measured:
            if known(difference):
                name = view.file(path)
                differences[name, first, second] = difference
                differences[name, second, first] = scaled(difference, -1)
    return differences
