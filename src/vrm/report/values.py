"""Values as text and as cells: what is not known, None or NaN, is a dash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vrm.metrics import Interval
from vrm.report.blocks import Cell

NONE = "–"
"""What a cell says that has no value."""


def known(interval: Interval | None) -> Interval | None:
    """The interval, if there is one and its estimate is known."""
    return None if interval is None or math.isnan(interval.estimate) else interval


def has_ends(interval: Interval) -> bool:
    """Whether both ends are known."""
    return not math.isnan(interval.low) and not math.isnan(interval.high)


def scaled(interval: Interval, factor: float) -> Interval:
    """Multiplied by a number; a negative one swaps the ends."""
    low, high = (factor * end for end in (interval.low, interval.high))
    return Interval(factor * interval.estimate, *((low, high) if factor >= 0 else (high, low)), interval.confidence)


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage, without its sign."""
    return NONE if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def fixed(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """Fixed decimals; what rounds to zero has no sign."""
    if value is None or math.isnan(value):
        return NONE
    written = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return written.lstrip("+-") if float(written) == 0 else written.replace("-", "−")


def whole(value: int | None) -> str:
    """A count with thousands apart."""
    return NONE if value is None else f"{value:,}"


def percent_range(interval: Interval | None, digits: int = 1) -> str:
    """`[77.2, 83.7]`; empty without both ends."""
    if interval is None or not has_ends(interval):
        return ""
    return f"[{percent(interval.low, digits)}, {percent(interval.high, digits)}]"


def fixed_range(interval: Interval | None, digits: int = 3, signed: bool = False) -> str:
    """`[−0.12, +0.31]`; empty without both ends."""
    if interval is None or not has_ends(interval):
        return ""
    return f"[{fixed(interval.low, digits, signed)}, {fixed(interval.high, digits, signed)}]"


def percent_cell(interval: Interval | None, digits: int = 1, strong: bool = False) -> Cell:
    """A share as a percentage beside its interval."""
    shown = known(interval)
    return Cell(percent(shown.estimate if shown else None, digits), percent_range(shown, digits), strong)


def fixed_cell(interval: Interval | None, digits: int = 3, signed: bool = False, strong: bool = False) -> Cell:
    """A number of fixed decimals beside its interval."""
    shown = known(interval)
    return Cell(fixed(shown.estimate if shown else None, digits, signed), fixed_range(shown, digits, signed), strong)


def clip(words: str, length: int) -> str:
    """The first characters of a text, on one line."""
    flat = " ".join(words.split())
    return flat if len(flat) <= length else flat[: length - 1].rstrip() + "…"


def clip_middle(words: str, length: int) -> str:
    """A name with its middle left out: its two ends tell names apart."""
    flat = " ".join(words.split())
    if len(flat) <= length:
        return flat
    head = (length - 1) // 2
    return f"{flat[:head]}…{flat[len(flat) - (length - 1 - head) :]}"


def clip_lines(words: str, length: int) -> tuple[str, int]:
    """The first characters of a text, line ends kept, and how many characters were left out."""
    if len(words) <= length:
        return words, 0
    return words[:length].rstrip() + " …", len(words) - length


def plain(value: Any) -> str:
    """A setting as people write it."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(entry)}" for key, entry in value.items()) or NONE
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(plain, value)) or NONE
    return str(value)
