"""The headline of a measurement, and which model is the best on a file, if the data can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vrm.report.values import Span, at, count, number, rows, span, table, text
from vrm.report.view import Measurement, View

Paired = Mapping[tuple[str, str, str], Span]
"""Accuracy of the first model minus that of the second on a data set, by (data set, first, second)."""


def has_pairs(entry: Measurement) -> bool:
    """Whether it measured judged pairs, as opposed to a benchmark's own figures or lists alone."""
    return bool(table(entry.content, "pairs"))


def main_figure(entry: Measurement) -> dict[str, Any]:
    """The first of a benchmark's figures, which is its main one; empty for files of judgments."""
    found = rows(entry.content, "figures")
    return found[0] if found and isinstance(found[0], dict) else {}


def accuracy_of(entry: Measurement) -> Span | None:
    """Its accuracy with the interval; of a benchmark, the main figure."""
    return span(entry.content, "pairs", "accuracy") if has_pairs(entry) else span(main_figure(entry))


def count_of(entry: Measurement) -> int | None:
    """Pairs, or the examples behind a benchmark's main figure."""
    return count(entry.content, "pairs", "count") if has_pairs(entry) else count(main_figure(entry), "examples")


def longer_wins_of(entry: Measurement) -> float | None:
    """What "the longer completion wins" scores on it."""
    if has_pairs(entry):
        return number(entry.content, "pairs", "longer_wins", "value")
    return number(main_figure(entry), "longer_wins")


def length_controlled_of(entry: Measurement) -> float | None:
    """The mean of the accuracies where the chosen is the longer and the shorter."""
    if has_pairs(entry):
        return number(entry.content, "pairs", "length_controlled", "value")
    figure = main_figure(entry)
    for found in rows(entry.content, "length_controlled"):
        if (at(found, "level"), at(found, "row")) == (at(figure, "level"), at(figure, "row")):
            return number(found, "value")
    return None


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
    spans = [accuracy_of(entry) for entry in measured]
    known = [(found.estimate, -place) for place, found in enumerate(spans) if found is not None]
    return -max(known)[1] if known else None


def not_told_apart(measured: Sequence[Measurement], top: int, paired: Paired) -> list[str]:
    """Models of which the data cannot say that the one at `top` is better."""
    others = [entry for place, entry in enumerate(measured) if place != top]
    return [entry.model for entry in others if not _is_better(measured[top], entry, paired)]


def _is_better(first: Measurement, second: Measurement, paired: Paired) -> bool:
    found = paired.get((first.dataset, first.model, second.model))
    if found is not None:
        return found.low is not None and found.low > 0
    mine, other = accuracy_of(first), accuracy_of(second)
    if mine is None or other is None or mine.low is None or other.high is None:
        return False
    return count_of(first) == count_of(second) and mine.low > other.high


def paired_differences(view: View) -> Paired:
    """Differences of accuracy that the comparisons among the inputs have measured, both ways round."""
    found: dict[tuple[str, str, str], Span] = {}
    for document in view.inputs.of_kind("comparison"):
        first, second = (view.model(text(document.content, key) or "") for key in ("model", "model_b"))
        targets = table(document.content, "files") | table(document.content, "benchmarks")
        for path, content in targets.items():
            figures = rows(content, "figures")
            difference = span(content, "overall", "accuracy", "difference")
            if difference is None and figures:
                difference = span(figures[0], "difference")
            if difference is not None:
                name = view.file(path)
                found[name, first, second] = difference
                found[name, second, first] = difference.scaled(-1)
    return found
