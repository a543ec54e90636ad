"""Numbers as tables and sentences show them."""

from __future__ import annotations

import math
from collections.abc import Callable

from vrm.metrics import Interval


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
