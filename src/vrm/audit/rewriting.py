"""Edits that work inside a completion: text in, text out, None if not applicable. Blocks of code stay as they are."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from vrm.audit.context import EditContext
from vrm.audit.units import (
    BULLET,
    CODE,
    OPEN_CODE,
    SENTENCE,
    STEP,
    Unit,
    join_units,
    paragraphs,
    split_units,
)
from vrm.audit.wording import EMOJI, HEADINGS
from vrm.measures import StyleMeasure

MIN_SHUFFLED = 4
"""Sentences that a shuffle needs: of fewer, another order is often as good."""

MIN_CUT = 3
"""Sentences (or other units) that a text needs to have a middle."""

_WORDS = (SENTENCE, BULLET, STEP)
_BOLDABLE = re.compile(r"(?<!\S)([\"'(“]*)([^\W\d_]{4,}(?:['’-][^\W\d_]+)*)(?=[.,;:!?)\"'”]*(?!\S))")
_VERBATIM = re.compile(r"`[^`]+`|\$[^$]+\$")
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")


def headings(text: str, context: EditContext) -> str | None:
    """Put a Markdown heading before the first, the middle and the last paragraph; not where there are headings."""
    groups = paragraphs(split_units(text))
    eligible = [index for index, group in enumerate(groups) if group[0].kind == SENTENCE]
    if not eligible or _has(StyleMeasure.HEADING_DENSITY, text):
        return None
    chosen = sorted({eligible[0], eligible[len(eligible) // 2], eligible[-1]})
    titles = {index: HEADINGS[min(rank, len(HEADINGS) - 1)] for rank, index in enumerate(chosen)}
    result = ""
    for index, group in enumerate(groups):
        if index in titles:
            result += _up_to_blank_line(result) + f"## {titles[index]}\n\n"
        result += join_units(group)
    return result


def bold(text: str, context: EditContext) -> str | None:
    """Set a tenth of the words of four letters or more in bold; not where there is bold, nor in code or formulas."""
    units = split_units(text)
    if _has(StyleMeasure.BOLD_DENSITY, text):
        return None
    places = [
        (index, match.span(2))
        for index, unit in enumerate(units)
        if unit.kind in _WORDS
        for match in _BOLDABLE.finditer(unit.body)
        if not any(code.start() < match.end() and match.start() < code.end() for code in _VERBATIM.finditer(unit.body))
    ]
    if not places:
        return None
    for index, (start, end) in sorted(context.random.sample(places, max(1, len(places) // 10)), reverse=True):
        body = units[index].body
        units[index] = replace(units[index], body=f"{body[:start]}**{body[start:end]}**{body[end:]}")
    return join_units(units)


def bullets(text: str, context: EditContext) -> str | None:
    """Make every sentence an item of a bulleted list; needs two sentences, and not where there is a list."""
    units = split_units(text)
    if sum(unit.kind == SENTENCE for unit in units) < 2 or any(unit.kind in (BULLET, STEP) for unit in units):
        return None
    for index, unit in enumerate(units):
        if unit.kind == SENTENCE:
            gap = unit.suffix if "\n" in unit.suffix or index == len(units) - 1 else "\n"
            units[index] = Unit(BULLET, "", "- " + " ".join(unit.body.split("\n")), gap)
    return join_units(units)


def emoji(text: str, context: EditContext) -> str | None:
    """Put emoji after one sentence in three and after the last; not where there are emoji."""
    units = split_units(text)
    places = [index for index, unit in enumerate(units) if unit.kind in _WORDS]
    if not places or _EMOJI.search(text):
        return None
    chosen = {places[-1], *context.random.sample(places, max(1, len(places) // 3))}
    for index in sorted(chosen):
        units[index] = replace(units[index], body=f"{units[index].body} {context.random.choice(EMOJI)}")
        if not units[index].suffix and index + 1 < len(units):
            units[index] = replace(units[index], suffix=" ")
    return join_units(units)


def shuffled(text: str, context: EditContext) -> str | None:
    """Put every sentence (or numbered step) in the place of another; needs four. Bullets, code and headings stay."""
    units = split_units(text)
    places = [index for index, unit in enumerate(units) if unit.kind in (SENTENCE, STEP)]
    if len(places) < MIN_SHUFFLED:
        return None
    bodies = [units[index].body for index in places]
    for index, source in zip(places, _cycle(len(places), context.random), strict=True):
        units[index] = replace(units[index], body=bodies[source])
    return join_units(units)


def middle_cut(text: str, context: EditContext) -> str | None:
    """Take out the middle third of the sentences, items and blocks of code; needs three of them."""
    units = split_units(text)
    if len(units) < MIN_CUT:
        return None
    removed = max(1, round(len(units) / 3))
    start = (len(units) - removed) // 2
    # What follows must stand in a line of its own if it did: a fence or a list item in the middle of one is none.
    gap = max((unit.suffix for unit in units[start - 1 : start + removed]), key=lambda suffix: suffix.count("\n"))
    before = [*units[: start - 1], replace(units[start - 1], suffix=gap)]
    return join_units([*before, *units[start + removed :]])


def _has(measure: StyleMeasure, text: str) -> bool:
    """Whether a style measure of the text, its blocks of code apart, is above zero."""
    prose = join_units([unit for unit in split_units(text) if unit.kind not in (CODE, OPEN_CODE)])
    return measure.of(prose) > 0


def _cycle(count: int, random: Random) -> list[int]:
    """A permutation without a fixed point: one cycle through all (Sattolo 1986)."""
    order = list(range(count))
    for index in range(count - 1, 0, -1):
        other = random.randrange(index)
        order[index], order[other] = order[other], order[index]
    return order


def _up_to_blank_line(text: str) -> str:
    """Line ends that are missing between the text and a new paragraph."""
    return "\n" * max(0, 2 - (len(text) - len(text.rstrip("\n")))) if text.strip() else ""
