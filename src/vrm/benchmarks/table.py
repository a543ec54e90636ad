"""A benchmark's figures as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from vrm.benchmarks.base import LoadedBenchmark
from vrm.results.benchmarks import FigureResult, LengthControlledRow
from vrm.results.formats import percent, span, table, with_span

MAX_ROWS = 25
"""Rows of one level that a table shows; JSON has all."""

_INLINE = 2
"""With more measures than this, intervals and what the longer wins stand inside a figure's cell, to save width."""


def figures_table(title: str, figures: Sequence[FigureResult], controlled: Sequence[LengthControlledRow]) -> Table:
    """A line for each row of the figures, a column for each of their columns."""
    columns = list(dict.fromkeys(figure.column for figure in figures))
    rows: dict[tuple[str, str], dict[str, FigureResult]] = {}
    for figure in figures:
        rows.setdefault((figure.level, figure.row), {})[figure.column] = figure
    by_row = {(entry.level, entry.row): entry for entry in controlled}
    built = table(title, ["", "n", *columns, "lc", *_longer_columns(columns)], _caption(figures, len(columns)))
    levels: dict[str, list[tuple[str, str]]] = {}
    for level, row in rows:
        levels.setdefault(level, []).append((level, row))
    for level, keys in levels.items():
        if level:
            built.add_section()
        for key in keys[:MAX_ROWS]:
            built.add_row(*_cells(key[1], rows[key], columns, by_row.get(key)), style="" if level else "bold")
        if len(keys) > MAX_ROWS:
            built.add_row(f"({len(keys) - MAX_ROWS} more by {level}: --json)")
    return built


def reading_lines(loaded: LoadedBenchmark) -> list[str]:
    """What was read, what was unusual about it, and what else there is to say."""
    lines = [f"{loaded.rows} rows read, {len(loaded.examples)} examples."]
    if loaded.unusual.reasons:
        lines[0] += " Unusual:"
        lines += [f"  {line}" for line in loaded.unusual.lines()]
    return [*lines, *loaded.notes]


def _longer_columns(columns: Sequence[str]) -> list[str]:
    if len(columns) > _INLINE:
        return []
    return ["longer"] if len(columns) == 1 else [f"longer: {name}" for name in columns]


def _caption(figures: Sequence[FigureResult], columns: int) -> str:
    confidence = f"{100 * figures[0].confidence:g}" if figures else "95"
    longer = "longer" if columns <= _INLINE else "in parentheses"
    return (
        f"in %, {confidence} % interval by bootstrap over prompts; n: examples; lc: length-controlled, the mean of the "
        f"accuracies on the pairs whose better side is the longer and the shorter; {longer}: what 'the longer wins' "
        "scores"
    )


def _cells(
    name: str,
    figures: Mapping[str, FigureResult],
    columns: Sequence[str],
    controlled: LengthControlledRow | None,
) -> list[str]:
    count = max(figure.examples for figure in figures.values())
    inside = len(columns) > _INLINE
    values = [_value(figures.get(column), inside) for column in columns]
    lengths = "-" if controlled is None else percent(controlled.value)
    longer = [] if inside else [_longer(figures.get(column)) for column in columns]
    return [name.replace("[", r"\["), str(count), *values, lengths, *longer]


def _value(figure: FigureResult | None, inside: bool) -> str:
    if figure is None:
        return ""
    if inside:
        return f"{percent(figure.estimate)} ({_longer(figure)})\n[dim]{span(figure)}[/dim]"
    return with_span(figure)


def _longer(figure: FigureResult | None) -> str:
    return "" if figure is None else percent(figure.longer_wins)
