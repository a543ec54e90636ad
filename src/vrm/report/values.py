"""Values out of documents that may lack them, and values as text.

Documents are read tolerantly: what is absent, or is not of the type that was looked for, is None, and the section that
wanted it says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NONE = "–"
"""What a cell says that has no value."""

_SPECIAL = {"inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True, slots=True)
class Span:
    """An estimate with its interval; the ends are None where they are not known."""

    estimate: float
    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> bool:
        """Whether it has an interval."""
        return self.low is not None and self.high is not None

    @property
    def leaves_out_zero(self) -> bool:
        """Whether the interval is known and lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def scaled(self, factor: float) -> Span:
        """Multiplied by a number; a negative one swaps the ends."""
        ends = [None if end is None else factor * end for end in (self.low, self.high)]
        return Span(factor * self.estimate, *(ends if factor >= 0 else reversed(ends)))


def at(value: Any, *path: str) -> Any:
    """What nested objects hold under these keys; None if one of them is absent."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def number(value: Any, *path: str) -> float | None:
    """A number; "inf" and "-inf" are numbers, NaN is none."""
    found = at(value, *path)
    if isinstance(found, str):
        return _SPECIAL.get(found)
    if isinstance(found, bool) or not isinstance(found, int | float) or math.isnan(found):
        return None
    return float(found)


def count(value: Any, *path: str) -> int | None:
    """A whole number."""
    found = number(value, *path)
    return int(found) if found is not None and math.isfinite(found) else None


def text(value: Any, *path: str) -> str | None:
    """A string that is not empty."""
    found = at(value, *path)
    return found if isinstance(found, str) and found else None


def table(value: Any, *path: str) -> dict[str, Any]:
    """An object; empty if there is none."""
    found = at(value, *path)
    return found if isinstance(found, dict) else {}


def rows(value: Any, *path: str) -> list[Any]:
    """A list; empty if there is none."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def numbers(value: Any, *path: str) -> list[float | None]:
    """A list of numbers, None for those that are no numbers."""
    return [number(entry) for entry in rows(value, *path)]


def span(value: Any, *path: str) -> Span | None:
    """An estimate with its interval, or a bare number."""
    found = at(value, *path)
    if isinstance(found, dict):
        estimate = number(found, "estimate")
        return None if estimate is None else Span(estimate, number(found, "low"), number(found, "high"))
    bare = number(found)
    return None if bare is None else Span(bare)


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage, without its sign."""
    return NONE if value is None else f"{100 * value:.{digits}f}"


def fixed(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """Fixed decimals; what rounds to zero has no sign."""
    if value is None:
        return NONE
    written = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return written.lstrip("+-") if float(written) == 0 else written.replace("-", "−")


def whole(value: int | None) -> str:
    """A count with thousands apart."""
    return NONE if value is None else f"{value:,}"


def percent_range(found: Span | None, digits: int = 1) -> str:
    """`[77.2, 83.7]`; empty without an interval."""
    if found is None or not found.known:
        return ""
    return f"[{percent(found.low, digits)}, {percent(found.high, digits)}]"


def fixed_range(found: Span | None, digits: int = 3, signed: bool = False) -> str:
    """`[−0.12, +0.31]`; empty without an interval."""
    if found is None or not found.known:
        return ""
    return f"[{fixed(found.low, digits, signed)}, {fixed(found.high, digits, signed)}]"


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
