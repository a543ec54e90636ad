"""Small pieces of a model card: front matter, tables, numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

UNKNOWN = "unknown"
NONE = "–"
"""What a cell says that has no value."""


def card(name: str, fields: Mapping[str, Any], sections: Mapping[str, str]) -> str:
    """A card for the Hub: front matter, the model's name, and sections; one without a title comes first."""
    matter = front_matter({"library_name": "transformers", "pipeline_tag": "text-classification", **fields})
    body = "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections.items())
    return f"{matter}\n# {name}\n\n{body}\n"


def front_matter(fields: Mapping[str, Any]) -> str:
    """YAML between two lines of dashes, as the Hub reads it; empty fields are left out."""
    text = yaml.safe_dump({name: value for name, value in fields.items() if value}, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; `|` and line ends in cells are made harmless."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(language: str, text: str) -> str:
    """A fenced block."""
    return f"```{language}\n{text.strip()}\n```"


def names(values: Sequence[str]) -> str:
    """Names as code, or `none`."""
    return ", ".join(f"`{value}`" for value in values) or "none"


def share(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share in per cent with its interval, or a dash; None and NaN are unknown."""
    if value is None or math.isnan(value):
        return NONE
    ends = [end for end in (low, high) if end is not None and not math.isnan(end)]
    interval = f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if len(ends) == 2 else ""
    return f"{100 * value:.1f} %{interval}"


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash; None and NaN are unknown."""
    return NONE if value is None or math.isnan(value) else f"{value:.{digits}f}"
