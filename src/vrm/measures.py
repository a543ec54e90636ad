"""Measures of a text's style, by rule: what can sway a rater without being quality (equation 14).

A new measure is one member of `StyleMeasure`. The configuration offers it, training can take it as a nuisance, and
style-controlled accuracy takes it into account.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum

_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+\S")
_BOLD = re.compile(r"\*\*(?=\S).+?(?<=\S)\*\*|__(?=\S).+?(?<=\S)__", re.DOTALL)

Measure = Callable[[str, list[str]], float]
"""From a text without outer white space and its lines that are not blank to a finite number of at least 0."""


def _share(marker: re.Pattern[str]) -> Measure:
    """Share of the lines that begin with a marker."""
    return lambda text, lines: sum(marker.match(line) is not None for line in lines) / max(len(lines), 1)


class StyleMeasure(StrEnum):
    """A measure by name. An empty text has zero of every measure.

    - `log_length`: log(1 + characters).
    - `list_density`: share of the lines that are items of a bulleted or numbered list.
    - `heading_density`: share of the lines that are Markdown headings.
    - `bold_density`: spans in bold, per line.
    """

    LOG_LENGTH = "log_length", lambda text, lines: math.log1p(len(text))
    LIST_DENSITY = "list_density", _share(_LIST_ITEM)
    HEADING_DENSITY = "heading_density", _share(_HEADING)
    BOLD_DENSITY = "bold_density", lambda text, lines: len(_BOLD.findall(text)) / max(len(lines), 1)

    _measure: Measure

    def __new__(cls, name: str, measure: Measure) -> StyleMeasure:
        """A member that is its name and carries its function."""
        member = str.__new__(cls, name)
        member._value_, member._measure = name, measure
        return member

    def of(self, text: str) -> float:
        """The measure of a text; outer white space and blank lines do not count."""
        content = text.strip()
        return self._measure(content, [line for line in content.splitlines() if line.strip()])
