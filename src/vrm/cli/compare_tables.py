"""Comparisons as tables for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from vrm.evaluate.compare_words import conclusions
from vrm.metrics import Interval
from vrm.results.comparison import BenchmarkComparison, Comparison, PairedComparison, PairedMeasure
from vrm.results.formats import number, percent, points, signed, span

MAX_GROUPS = 20
"""Groups that a table shows; JSON has all."""


def print_comparison(console: Console, comparison: Comparison, title: str) -> None:
    """Print measures, groups and conclusions of one file."""
    console.print(_measures(comparison.overall, title))
    for label, groups in (("source", comparison.by_source), ("category", comparison.by_category)):
        if groups:
            console.print(_groups(label, groups))
    print_sentences(console, conclusions(comparison))


def print_benchmark_comparison(console: Console, comparison: BenchmarkComparison, title: str) -> None:
    """Print the figures and conclusions of one benchmark."""
    table = _table(title, "")
    for column in ("examples", "A", "B", "A - B", "95 % interval", "p", "Holm"):
        table.add_column(column, justify="right", no_wrap=True)
    for figure in comparison.figures:
        table.add_row(
            escape(figure.name),
            str(figure.count),
            (percent if figure.share else number)(figure.first),
            (percent if figure.share else number)(figure.second),
            *_difference(figure.difference, points if figure.share else signed),
            p_cell(figure.p_value),
            p_cell(figure.holm_p_value),
        )
    console.print(table)
    print_sentences(console, comparison.conclusions)


def print_sentences(console: Console, sentences: list[str] | tuple[str, ...]) -> None:
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
    table = _table(title, "")
    table.caption = (
        f"{overall.count} pairs ({overall.ties} ties) of {overall.prompts} prompts; right alone: A "
        f"{overall.mcnemar.only_first}, B {overall.mcnemar.only_second}; intervals by bootstrap over prompts"
    )
    for column in ("A", "B", "A - B", "95 % interval", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    rows: list[tuple[str, PairedMeasure]] = [
        ("accuracy, %", overall.accuracy),
        ("  length-controlled", overall.length_controlled),
        ("  style-controlled", overall.style_controlled),
    ]
    for index, (name, measure) in enumerate(rows):
        cells = (percent(measure.first), percent(measure.second), *_difference(measure.difference, points))
        table.add_row(name, *cells, "" if index else p_cell(overall.p_value))
    loss = overall.negative_log_likelihood
    table.add_row("NLL, nats (low is good)", number(loss.first), number(loss.second), *_difference(loss.difference), "")
    return table


def _groups(label: str, groups: Mapping[str, PairedComparison]) -> Table:
    table = _table("", f"by {label}")
    for column in ("pairs", "A", "B", "A - B", "95 % interval", "p", "Holm"):
        table.add_column(column, justify="right", no_wrap=True)
    largest = sorted(groups.items(), key=lambda entry: -entry[1].count)
    for name, group in largest[:MAX_GROUPS]:
        table.add_row(
            escape(name),
            str(group.count),
            percent(group.accuracy.first),
            percent(group.accuracy.second),
            *_difference(group.accuracy.difference, points),
            p_cell(group.p_value),
            p_cell(group.holm_p_value),
        )
    if len(largest) > MAX_GROUPS:
        table.add_row(f"({len(largest) - MAX_GROUPS} more: --json)", *[""] * 7)
    return table


def _difference(interval: Interval, show: Callable[[float], str] = signed) -> tuple[str, str]:
    return show(interval.estimate), span(interval, show)


def _table(title: str, first_column: str) -> Table:
    table = Table(title=escape(title) or None, title_justify="left", caption_justify="left")
    table.add_column(first_column, overflow="fold")
    return table
