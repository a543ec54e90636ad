"""Edits that put something before or after a completion, or in its place: text in, text out, None if not applicable."""

from __future__ import annotations

from vrm.audit.context import EditContext
from vrm.audit.units import OPEN_CODE, SENTENCE, join_units, paragraphs, split_units
from vrm.audit.wording import CONFIDENCE, EXPERTISE, FLATTERY, PADDING

PADDING_SHARE = 0.3
"""Padding is at least this share of the completion's characters, as far as the empty sentences go round."""

MIN_PADDING = 3
"""Empty sentences that are added at least."""


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
