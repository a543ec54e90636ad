"""A text in units: sentences, list items, headings, blocks of code, which audits edit and explanations leave out.

The units of a text joined again are the text, character by character, so an edit changes what it means to change and
nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SENTENCE = "sentence"
BULLET = "bullet"
STEP = "step"
CODE = "code"
OPEN_CODE = "open_code"
FIXED = "fixed"

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_BULLET = re.compile(r"\s*[-*+•]\s+(?=\S)")
_STEP = re.compile(r"\s*\d{1,3}[.)]\s+(?=\S)")
_FIXED = re.compile(r"\s{0,3}(?:#{1,6}\s|\||>|(?:[-*_]\s*){3,}$)")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*(?=\s)|[。！？]+[”’）」』]*(?=\S)")
_ABBREVIATION = re.compile(r"(?:^|[\s(\"“])(?:[^\W\d_]|Dr|Mr|Mrs|Ms|Prof|St|vs|e\.g|i\.e|cf|approx|Fig)\.$")
_TERMINAL = re.compile(r"[.!?…:。！？][\"'”’)\]*_」』）]*$")


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a text.

    Attributes:
        kind: `SENTENCE`, `BULLET` or `STEP` (an item of a bulleted or numbered list), `CODE` (a closed block between
            fences), `OPEN_CODE` (a block whose fence is never closed), or `FIXED` (heading, table row, quote, rule).
        prefix: indent and list marker.
        body: the text itself, without outer white space.
        suffix: white space up to the next unit.
    """

    kind: str
    prefix: str
    body: str
    suffix: str

    def __str__(self) -> str:
        return self.prefix + self.body + self.suffix


def split_units(text: str) -> list[Unit]:
    """The units of a text; `join_units` of them is the text. A text of white space alone has none."""
    units: list[Unit] = []
    pending = ""
    for kind, prefix, content in _pieces(_LINE.findall(text)):
        if not content.strip():
            if units:
                last = units[-1]
                units[-1] = Unit(last.kind, last.prefix, last.body, last.suffix + content)
            else:
                pending += content
            continue
        body = content.rstrip()
        start = len(body) - len(body.lstrip())
        units.append(Unit(kind, pending + prefix + body[:start], body[start:], content[len(body) :]))
        pending = ""
    return units


def join_units(units: Sequence[Unit]) -> str:
    """The text that the units make up."""
    return "".join(str(unit) for unit in units)


def paragraphs(units: Sequence[Unit]) -> list[list[Unit]]:
    """Units in paragraphs, which end at blank lines; a block of code is one of its own."""
    groups: list[list[Unit]] = []
    ended = True
    for unit in units:
        is_code = unit.kind in (CODE, OPEN_CODE)
        if ended or is_code:
            groups.append([])
        groups[-1].append(unit)
        ended = is_code or unit.suffix.count("\n") > 1
    return groups


def _pieces(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """Kind, marker and content (with the white space after it) of each piece, in order; blank lines are contents."""
    position = 0
    while position < len(lines):
        line = lines[position]
        fence = _FENCE.match(line)
        if fence:
            end, closed = _fence_end(lines, position, fence[1])
            yield CODE if closed else OPEN_CODE, "", "".join(lines[position:end])
            position = end
            continue
        position += 1
        kind, marker = _line_kind(line)
        if kind == SENTENCE and line.strip():
            while position < len(lines) and _continues(line, lines[position]):
                line += lines[position]
                position += 1
            yield from ((SENTENCE, "", sentence) for sentence in _sentences(line))
        else:
            yield kind, line[:marker], line[marker:]


def _line_kind(line: str) -> tuple[str, int]:
    """Kind of a line outside of code, and where its content starts."""
    if _FIXED.match(line):
        return FIXED, 0
    for kind, pattern in ((BULLET, _BULLET), (STEP, _STEP)):
        marker = pattern.match(line)
        if marker:
            return kind, marker.end()
    return SENTENCE, 0


def _fence_end(lines: list[str], start: int, fence: str) -> tuple[int, bool]:
    for position in range(start + 1, len(lines)):
        closing = lines[position].strip()
        if len(closing) >= len(fence) and set(closing) == {fence[0]}:
            return position + 1, True
    return len(lines), False


def _continues(line: str, following: str) -> bool:
    """Whether a sentence runs on over the end of the line, as in text wrapped by hand."""
    if _FENCE.match(following) or _line_kind(following)[0] != SENTENCE or _TERMINAL.search(line.rstrip()):
        return False
    return following.lstrip(" \t")[:1].islower()


def _sentences(text: str) -> Iterator[str]:
    """Sentences, each with the white space after it. Not split: abbreviations, inline code, before a small letter."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        body, rest = text[start : match.end()], text[match.end() :]
        following = rest.lstrip()
        if not following or following[0].islower() or body.count("`") % 2 or _ABBREVIATION.search(body):
            continue
        end = len(text) - len(following)
        yield text[start:end]
        start = end
    yield text[start:]
