"""Style of a text, measured by rule: what can sway a rater without being quality (equation 14)."""

from __future__ import annotations

import math
import re

from vrm.choices import StyleMeasure
from vrm.data.schema import Text

_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+\S")
_BOLD = re.compile(r"\*\*(?=\S).+?(?<=\S)\*\*|__(?=\S).+?(?<=\S)__", re.DOTALL)

STYLE_MEASURES = tuple(measure.value for measure in StyleMeasure)
"""Names of the measures, in the order of `style_measures`."""


def plain_text(text: Text) -> str:
    """The characters of a completion or prompt: the text itself, or its messages' contents joined by blank lines."""
    if isinstance(text, str):
        return text
    return "\n\n".join(_content(message.get("content")) for message in text)


def text_length(text: Text) -> int:
    """Characters of a completion or prompt, all its messages together and nothing between them."""
    if isinstance(text, str):
        return len(text)
    return sum(len(_content(message.get("content"))) for message in text)


def style_measures(text: Text) -> list[float]:
    """Measures of one completion, in the order of `STYLE_MEASURES`; all are finite and at least 0.

    - `log_length`: log(1 + characters), without outer white space.
    - `list_density`: share of the lines that are items of a bulleted or numbered list.
    - `heading_density`: share of the lines that are Markdown headings.
    - `bold_density`: spans in bold, per line.

    Blank lines do not count as lines; an empty text has zero of everything.
    """
    content = plain_text(text).strip()
    lines = [line for line in content.splitlines() if line.strip()]
    count = max(len(lines), 1)
    return [
        math.log1p(len(content)),
        sum(_LIST_ITEM.match(line) is not None for line in lines) / count,
        sum(_HEADING.match(line) is not None for line in lines) / count,
        len(_BOLD.findall(content)) / count,
    ]


def _content(content: object) -> str:
    """Text of one message's content; of content in parts, that of its text parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
