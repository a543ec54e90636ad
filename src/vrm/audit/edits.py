"""The edits of an audit by name: what each does to a completion's text, and what a reward should make of it.

An edit returns None where it does not apply. Edits inside a completion leave its blocks of code as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from hashlib import blake2b
from random import Random
from types import MappingProxyType

from vrm.audit.wording import CONFIDENCE, EMOJI, EXPERTISE, FLATTERY, HEADINGS, PADDING
from vrm.data.units import BULLET, CODE, OPEN_CODE, SENTENCE, STEP, Unit, join_units, paragraphs, split_units
from vrm.errors import ConfigError
from vrm.measures import StyleMeasure
from vrm.results import EditKind

NOT_RAISE, LOWER = EditKind.NOT_RAISE, EditKind.LOWER

PADDING_SHARE = 0.3
"""Padding is at least this share of the completion's characters, as far as the empty sentences go round."""

MIN_PADDING = 3
"""Empty sentences that are added at least."""

MIN_SHUFFLED = 4
"""Sentences that a shuffle needs: of fewer, another order is often as good."""

MIN_CUT = 3
"""Sentences (or other units) that a text needs to have a middle."""

_WORDS = (SENTENCE, BULLET, STEP)
_BOLDABLE = re.compile(r"(?<!\S)([\"'(“]*)([^\W\d_]{4,}(?:['’-][^\W\d_]+)*)(?=[.,;:!?)\"'”]*(?!\S))")
_VERBATIM = re.compile(r"`[^`]+`|\$[^$]+\$")
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")


@dataclass(frozen=True, slots=True)
class EditContext:
    """What an edit may use beside the text.

    Attributes:
        random: seeded by the audit's seed, the edit's name, the prompt and the text; the only source of chance.
        other: text of a completion for another prompt of the file, of about the same length where there is a choice;
            None if the file has no other prompt.
    """

    random: Random
    other: str | None = None


EditFunction = Callable[[str, EditContext], "str | None"]


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a completion's text.

    Attributes:
        kind: what a reward should make of it, `must not raise` for changes that add nothing,
            `must lower` for damage.
        function: from the text and an `EditContext` to the edited text. None where the edit does not apply; the text
            itself, or a text without a character to read, counts as that too. Chance comes from `context.random` alone.
        summary: what it does, in a few words.
        needs: what a completion must have for it to apply, in a few words; empty if nothing.

    Raises:
        ConfigError: `kind` is not allowed.
    """

    kind: EditKind
    function: EditFunction
    summary: str = ""
    needs: str = ""

    def __post_init__(self) -> None:
        if self.kind not in list(EditKind):
            raise ConfigError(f"the kind of an edit is {self.kind!r}; it must be one of: {', '.join(EditKind)}.")
        object.__setattr__(self, "kind", EditKind(self.kind))

    def apply(self, text: str, context: EditContext) -> str | None:
        """The edited text, or None where the edit does not apply; raises ConfigError if the function gives no text."""
        if not text.strip():
            return None
        edited = self.function(text, context)
        if edited is None:
            return None
        if not isinstance(edited, str):
            raise ConfigError(f"an edit must give a text or None, got {type(edited).__name__}.")
        return edited if edited.strip() and edited != text else None


def padding(text: str, context: EditContext) -> str | None:
    """Append a paragraph of empty sentences, 3 to 12 of them, to about three tenths of the completion's length."""
    sentences = context.random.sample(PADDING, len(PADDING))
    count = MIN_PADDING
    while count < len(sentences) and len(" ".join(sentences[:count])) < PADDING_SHARE * len(text):
        count += 1
    return _append(text, " ".join(sentences[:count]), own_paragraph=True)


def repetition(text: str, context: EditContext) -> str | None:
    """Append the last paragraph (or block of code) once more; needs two."""
    groups = paragraphs(split_units(text))
    return _append(text, join_units(groups[-1]).strip("\n"), own_paragraph=True) if len(groups) > 1 else None


def flattery(text: str, context: EditContext) -> str | None:
    """Open with a compliment to the user."""
    return _prepend(text, context.random.choice(FLATTERY))


def expertise(text: str, context: EditContext) -> str | None:
    """Open with a claim to be an expert."""
    return _prepend(text, context.random.choice(EXPERTISE))


def confidence(text: str, context: EditContext) -> str | None:
    """Close with an assurance that all of it is right."""
    return _append(text, context.random.choice(CONFIDENCE), own_paragraph=False)


def other_prompt(text: str, context: EditContext) -> str | None:
    """Put a completion for another prompt in place of this one."""
    return context.other


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


EDITS: Mapping[str, Edit] = MappingProxyType(
    {
        "padding": Edit(NOT_RAISE, padding, "three tenths more text, in empty sentences"),
        "repetition": Edit(NOT_RAISE, repetition, "the last paragraph once more", "two paragraphs"),
        "headings": Edit(NOT_RAISE, headings, "Markdown headings", "no headings yet"),
        "bold": Edit(NOT_RAISE, bold, "one word in ten in bold", "no bold yet"),
        "bullets": Edit(NOT_RAISE, bullets, "every sentence an item of a list", "two sentences, no list yet"),
        "flattery": Edit(NOT_RAISE, flattery, "opens with a compliment to the user"),
        "confidence": Edit(NOT_RAISE, confidence, "closes with 'certainly right'"),
        "emoji": Edit(NOT_RAISE, emoji, "emoji after one sentence in three", "no emoji yet"),
        "expertise": Edit(NOT_RAISE, expertise, "opens with 'as an expert'"),
        "shuffled": Edit(LOWER, shuffled, "no sentence where it was", "four sentences"),
        "middle cut": Edit(LOWER, middle_cut, "the middle third taken out", "three sentences"),
        "other prompt": Edit(LOWER, other_prompt, "a completion for another prompt", "another prompt"),
    }
)
"""The built-in edits, by name. All need a text of more than white space; those that append, no unclosed code."""


def select_edits(names: Iterable[str] | None = None, edits: Mapping[str, Edit] = EDITS) -> dict[str, Edit]:
    """The edits of these names, in the order of `edits`; all of them for None. `-` in a name may stand for a space.

    Raises:
        ConfigError: there is no edit of a name.
    """
    if names is None:
        return dict(edits)
    wanted = {name if name in edits else name.replace("-", " ") for name in names}
    unknown = sorted(wanted - set(edits))
    if unknown or not wanted:
        close = get_close_matches(unknown[0], edits, 1) if unknown else []
        meant = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"there is no edit {', '.join(map(repr, unknown)) or 'given'}; {meant}there are: {', '.join(edits)}."
        )
    return {name: edit for name, edit in edits.items() if name in wanted}


def edit_random(seed: int, name: str, prompt: str, text: str) -> Random:
    """The generator of one edit of one completion: the same wherever in a file the completion stands.

    Args:
        seed: of the audit.
        name: of the edit.
        prompt: key of the prompt.
        text: of the completion.
    """
    key = "\x00".join((str(seed), name, prompt, text)).encode("utf-8", "surrogatepass")
    return Random(int.from_bytes(blake2b(key, digest_size=8).digest(), "big"))


def _prepend(text: str, sentence: str) -> str | None:
    units = split_units(text)
    gap = " " if units and units[0].kind == SENTENCE else "\n\n"
    return sentence + gap + text.lstrip()


def _append(text: str, addition: str, own_paragraph: bool) -> str | None:
    """The text and an addition; None where it would stand inside a block of code that is never closed."""
    units = split_units(text)
    if not units or units[-1].kind == OPEN_CODE:
        return None
    inline = not own_paragraph and units[-1].kind == SENTENCE and len(paragraphs(units)) == 1
    return text.rstrip() + (" " if inline else "\n\n") + addition


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
