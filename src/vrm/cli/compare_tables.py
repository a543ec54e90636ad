"""Comparisons as tables for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from vrm.evaluate.compare_words import conclusions
from vrm.metrics import Interval
from vrm.results.comparison import BenchmarkComparison, Comparison, PairedComparison, PairedMeasure
from vrm.results.formats import largest, number, percent, points, signed, span, table


def print_comparison(console: Console, comparison: Comparison, title: str) -> None:
    """Print measures, groups and conclusions of one file."""
    console.print(_measures(comparison.overall, title))
    for label, groups in (("source", comparison.by_source), ("category", comparison.by_category)):
        if groups:
            console.print(_groups(label, groups))
    print_sentences(console, conclusions(comparison))


def print_benchmark_comparison(console: Console, comparison: BenchmarkComparison, title: str) -> None:
    """Print the figures and conclusions of one benchmark."""
    columns = ["", "examples", "A", "B", "A - B", "95 % interval", "p", "Holm"]
    figures = table(escape(title), columns)
    for figure in comparison.figures:
        show = percent if figure.share else number
        figures.add_row(
            escape(figure.name),
            str(figure.count),
            show(figure.first),
            show(figure.second),
            *_difference(figure.difference, points if figure.share else signed),
            p_cell(figure.p_value),
            p_cell(figure.holm_p_value),
        )
    console.print(figures)
    print_sentences(console, comparison.conclusions)


def print_sentences(console: Console, sentences: Sequence[str]) -> None:
    """A bulleted list, each sentence wrapped behind its bullet."""
    for sentence in sentences:
        grid = Table.grid(padding=(0, 1))
        grid.add_row("-", escape(sentence))
        console.print(Padding(grid, (0, 0, 0, 1)))


def p_cell(value: float | None) -> str:
    """A p value in a table; `-` where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return "<.001" if value < 0.001 else number(value, 3)


def _measures(overall: PairedComparison, title: str) -> Table:
    caption = (
        f"{overall.count} pairs ({overall.ties} ties) of {overall.prompts} prompts; right alone: A "
        f"{overall.mcnemar.only_first}, B {overall.mcnemar.only_second}; intervals by bootstrap over prompts"
    )
    measures = table(escape(title), ["", "A", "B", "A - B", "95 % interval", "p"], caption)
    rows: list[tuple[str, PairedMeasure]] = [
        ("accuracy, %", overall.accuracy),
        ("  length-controlled", overall.length_controlled),
        ("  style-controlled", overall.style_controlled),
    ]
    for index, (name, measure) in enumerate(rows):
        cells = (percent(measure.first), percent(measure.second), *_difference(measure.difference, points))
        measures.add_row(name, *cells, "" if index else p_cell(overall.p_value))
    loss = overall.negative_log_likelihood
    measures.add_row("NLL, nats (low is good)", number(loss.first), number(loss.second), *_difference(loss.difference))
    return measures


def _groups(label: str, groups: Mapping[str, PairedComparison]) -> Table:
    measures = table("", [f"by {label}", "pairs", "A", "B", "A - B", "95 % interval", "p", "Holm"])
    shown = largest(groups, lambda group: group.count)
    for name, group in shown:
        measures.add_row(
            escape(name),
            str(group.count),
            percent(group.accuracy.first),
            percent(group.accuracy.second),
            *_difference(group.accuracy.difference, points),
            p_cell(group.p_value),
            p_cell(group.holm_p_value),
        )
    if len(groups) > len(shown):
        measures.add_row(f"({len(groups) - len(shown)} more: --json)")
    return measures


def _difference(interval: Interval, show: Callable[[float], str] = signed) -> tuple[str, str]:
    return show(interval.estimate), span(interval, show)
