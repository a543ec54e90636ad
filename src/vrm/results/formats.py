"""Numbers as tables and sentences show them, and the words that every comparison of two models shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table

from vrm.metrics import Interval, wilson_interval
from vrm.results.run import SecondStage

Group = TypeVar("Group")

ALPHA = 0.05
"""Level of every test."""

FEW_PROMPTS = 50
"""Prompts under which figures tell little, and bootstrap intervals are too short."""


NAME_WIDTH = 16
"""Characters that a terminal always leaves to the names of a table's rows; longer names are folded."""

WORD_WIDTH = 12
"""Characters that a terminal always leaves to a column of text."""

_UNLIMITED = 10_000


def percent(value: float) -> str:
    """A share as a percentage, one decimal; `-` for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def number(value: float, digits: int = 3) -> str:
    """Fixed decimals; `-` for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int = 3) -> str:
    """As `number`, with its sign, also that of 0."""
    return "-" if math.isnan(value) else f"{value:+.{digits}f}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign; `-` for NaN."""
    return signed(100 * value, 1)


def ends(low: float, high: float, show: Callable[[float], str] = percent) -> str:
    """`[-0.62, -0.25]`, as every interval is written."""
    return f"[{show(low)}, {show(high)}]"


def span(interval: Interval, show: Callable[[float], str] = percent) -> str:
    """Both ends in brackets, escaped for rich's markup."""
    return f"\\{ends(interval.low, interval.high, show)}"


def with_span(interval: Interval, show: Callable[[float], str] = percent) -> str:
    """An estimate and both ends, escaped as in `span`."""
    return f"{show(interval.estimate)} {span(interval, show)}"


def p_words(p_value: float) -> str:
    """`p = 0.012`, `p < 0.001`, or `p unknown`."""
    if math.isnan(p_value):
        return "p unknown"
    return "p < 0.001" if p_value < 0.001 else f"p = {number(p_value, 3 if p_value < 0.1 else 2)}"


def held_out_accuracy(metrics: Mapping[str, float]) -> str:
    """`0.917 [0.646, 0.985] of 12 pairs`, of the metrics of a training run; pairs are taken as independent.

    Runs of before counted no pairs: their accuracy stands alone.
    """
    accuracy, pairs = metrics["accuracy"], int(metrics.get("pairs", 0))
    if not pairs or math.isnan(accuracy):
        return number(accuracy)
    interval = wilson_interval(accuracy, pairs)
    return f"{number(accuracy)} {ends(interval.low, interval.high, number)} of {plural(pairs, 'pair')}"


def few_words(count: int, noun: str = "prompt") -> str:
    """A warning where there are few of what figures rest on; empty where there are enough."""
    if count >= FEW_PROMPTS:
        return ""
    return f"Only {plural(count, noun)}: with so few, figures of other data may be far from these; mind the intervals."


def scale_rows(train: int, held_out: int) -> tuple[str, int]:
    """What a run's reward scale comes from, and how many: its held-out rows, or training rows where there are none."""
    return ("held-out rows", held_out) if held_out else ("training rows", train)


def leaves_out_zero(interval: Interval) -> bool:
    """Whether the interval is known and lies on one side of 0."""
    return interval.low > 0.0 or interval.high < 0.0


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 row`, `2,400 rows`; `nouns` is a plural that is not formed by an s."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def largest(groups: Mapping[str, Group], size: Callable[[Group], int], most: int = 20) -> list[tuple[str, Group]]:
    """The groups that a table has room for, the largest first; JSON has all."""
    return sorted(groups.items(), key=lambda entry: -size(entry[1]))[:most]


class FittingTable(Table):
    """A table that loses nothing where the terminal is narrow.

    It gives up its frame first. Columns of text may wrap, but names keep `NAME_WIDTH` and numbers stay whole. If that
    is still too wide, its lines are longer than the terminal's.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        least = self._least_width(console, options)
        for between in (1, 0):
            if least > options.max_width:
                self.box, self.show_edge, self.pad_edge, self.padding = SIMPLE, False, False, (0, between, 0, 0)
                least = self._least_width(console, options)
        yield from super().__rich_console__(console, options.update_width(max(least, options.max_width)))

    def _least_width(self, console: Console, options: ConsoleOptions) -> int:
        """The width in which all columns can be read; names are given theirs."""
        unlimited = options.update_width(_UNLIMITED)

        def measured(cell: RenderableType) -> Measurement:
            return Measurement.get(console, unlimited, cell)

        widths = []
        for position, column in enumerate(self.columns):
            cells = [measured(cell) for cell in (column.header, *column.cells)]
            whole, word = max(cell.maximum for cell in cells), max(cell.minimum for cell in cells)
            if position == 0:
                column.min_width = min(whole, NAME_WIDTH)
            widths.append(max(whole if column.no_wrap else min(word, WORD_WIDTH), column.min_width or 0))
        _, right, _, left = self.padding
        frame = 0 if self.box is None else len(widths) - 1 + 2 * self.show_edge
        padding = len(widths) * (left + right) - (0 if self.pad_edge else left + right)
        return sum(widths) + padding + frame


def table(title: str, columns: Sequence[str | Column], caption: str = "", *, wrap: bool = False, **look: Any) -> Table:
    """A table for a terminal: one column of names at the left, columns of numbers at the right. Nothing is cut.

    Args:
        title: with rich's markup, as are the caption and the names of columns.
        columns: the first holds the names and folds them. Give a `Column` of rich for one that looks otherwise.
        caption: stands below, at the left.
        wrap: whether columns of numbers may wrap where the terminal is narrow.
        look: further arguments of rich's `Table`.
    """
    built = FittingTable(
        title=title or None, caption=caption or None, title_justify="left", caption_justify="left", **look
    )
    for name in columns:
        if isinstance(name, Column):
            built.columns.append(name if name.no_wrap else replace(name, overflow="fold"))
        elif not built.columns:
            built.add_column(name, overflow="fold")
        else:
            built.add_column(name, justify="right", no_wrap=not wrap)
    return built


def kept_words(stage: SecondStage) -> str:
    """What a second stage has kept, with the constants: `temperature 0.82; feature variance 0.31, by text`."""
    words = []
    for part, value in stage.values.items():
        varies = [other.removeprefix(part).replace("_", " ") for other in stage.kept if other.startswith(f"{part}_by_")]
        words.append(f"{part.replace('_', ' ')} {value:.3g}" + "".join(f",{by}" for by in varies))
    return "; ".join(words) or "the means of the first stage, and nothing else"
