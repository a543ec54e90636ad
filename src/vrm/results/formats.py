"""Numbers as tables and sentences show them, and the words that every comparison of two models shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from rich.table import Column, Table

from vrm.metrics import Interval

Group = TypeVar("Group")

ALPHA = 0.05
"""Level of every test."""

FEW_PROMPTS = 50
"""Prompts under which bootstrap intervals are too short."""


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


def span(interval: Interval, show: Callable[[float], str] = percent) -> str:
    """Both ends in brackets, escaped for rich's markup."""
    return rf"\[{show(interval.low)}, {show(interval.high)}]"


def with_span(interval: Interval, show: Callable[[float], str] = percent) -> str:
    """An estimate and both ends, escaped as in `span`."""
    return f"{show(interval.estimate)} {span(interval, show)}"


def p_words(p_value: float) -> str:
    """`p = 0.012`, `p < 0.001`, or `p unknown`."""
    if math.isnan(p_value):
        return "p unknown"
    return "p < 0.001" if p_value < 0.001 else f"p = {number(p_value, 3 if p_value < 0.1 else 2)}"


def leaves_out_zero(interval: Interval) -> bool:
    """Whether the interval is known and lies on one side of 0."""
    return interval.low > 0.0 or interval.high < 0.0


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 row`, `2,400 rows`; `nouns` is a plural that is not formed by an s."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def largest(groups: Mapping[str, Group], size: Callable[[Group], int], most: int = 20) -> list[tuple[str, Group]]:
    """The groups that a table has room for, the largest first; JSON has all."""
    return sorted(groups.items(), key=lambda entry: -size(entry[1]))[:most]


def table(title: str, columns: Sequence[str | Column], caption: str = "", *, wrap: bool = False, **look: Any) -> Table:
    """A table for a terminal: one column of names at the left, columns of numbers at the right.

    Args:
        title: with rich's markup, as are the caption and the names of columns.
        columns: the first holds the names and folds them. Give a `Column` of rich for one that looks otherwise.
        caption: stands below, at the left.
        wrap: whether columns of numbers may wrap where the terminal is narrow.
        look: further arguments of rich's `Table`.
    """
    built = Table(title=title or None, caption=caption or None, title_justify="left", caption_justify="left", **look)
    for name in columns:
        if isinstance(name, Column):
            built.columns.append(name)
        elif not built.columns:
            built.add_column(name, overflow="fold")
        else:
            built.add_column(name, justify="right", no_wrap=not wrap)
    return built
