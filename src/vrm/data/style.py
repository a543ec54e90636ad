"""What a prompt or completion says as plain characters, and the measures of its style."""

from __future__ import annotations

import re

from vrm.data.schema import Text
from vrm.measures import StyleMeasure

STYLE_MEASURES = tuple(measure.value for measure in StyleMeasure)
"""Names of the measures, in the order of `style_measures`."""


# White space, and what Unicode keeps out of sight: joiners, directional marks, fillers, variation selectors, tags.
# Control characters are not among them, nor are format characters that do print, as Arabic number signs.
_INVISIBLE = re.compile(
    r"[\s\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]*"
)


def says_nothing(text: str) -> bool:
    """Whether a text is empty, or made of white space and invisible characters alone."""
    return _INVISIBLE.fullmatch(text) is not None


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
    """Every measure of one completion, in the order of `STYLE_MEASURES`."""
    content = plain_text(text)
    return [measure.of(content) for measure in StyleMeasure]


def _content(content: object) -> str:
    """Text of one message's content; of content in parts, that of its text parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
