"""Edits applied to the completions of judgments, whatever their format."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from vrm.audit.edits import Edit, EditContext, edit_random
from vrm.data.schema import Judgment, Text
from vrm.data.splits import prompt_key
from vrm.data.style import says_nothing

_TRIES = 32
_CANDIDATES = 8


class OtherCompletions:
    """Completions to put in place of one for another prompt, quality matched: those at the same place of their rows.

    Args:
        judgments: the rows of the audit. First (chosen) completions stand in for first ones, and so on.
    """

    def __init__(self, judgments: Iterable[Judgment]) -> None:
        # Prompt key and text of each completion.
        self._by_place: dict[int, list[tuple[str, str]]] = {}
        for row in judgments:
            key = prompt_key(row)
            for place, completion in enumerate(row.completions):
                text = answer_text(completion)
                if text is not None:
                    self._by_place.setdefault(place, []).append((key, text))

    def pick(self, place: int, prompt: str, text: str, random: Random) -> str | None:
        """Of a few drawn completions for other prompts the one nearest in length; None if there is no other prompt."""
        pool = self._by_place.get(place, [])
        drawn = [pool[random.randrange(len(pool))] for _ in range(_TRIES)] if pool else []
        texts = [other for key, other in drawn if key != prompt][:_CANDIDATES]
        # A prompt that fills nearly all of the file may be all that was drawn.
        texts = texts or [other for key, other in pool if key != prompt]
        return min(texts, key=lambda other: abs(len(other) - len(text)), default=None)


def answer_text(completion: Text) -> str | None:
    """The text that edits work on: the completion, or its last assistant message's content; None without such text."""
    if isinstance(completion, str):
        return None if says_nothing(completion) else completion
    place = _answer_place(completion)
    return None if place is None else str(completion[place]["content"])


def with_answer(completion: Text, text: str) -> Text:
    """The completion with another text where `answer_text` found one; the rest of its messages stay."""
    if isinstance(completion, str):
        return text
    place = _answer_place(completion)
    return [
        {**message, "content": text} if position == place else message for position, message in enumerate(completion)
    ]


def edited(completion: Text, edit: Edit, context: EditContext) -> Text | None:
    """The completion after an edit; None where the edit does not apply, as to messages without an assistant's text."""
    text = answer_text(completion)
    changed = None if text is None else edit.apply(text, context)
    return None if changed is None else with_answer(completion, changed)


def edit_context(judgment: Judgment, place: int, name: str, seed: int, others: OtherCompletions) -> EditContext:
    """Chance and another prompt's completion for one edit of one completion.

    Args:
        judgment: the row.
        place: of the completion in the row.
        name: of the edit.
        seed: of the audit.
        others: completions of the file.
    """
    key, text = prompt_key(judgment), answer_text(judgment.completions[place]) or ""
    other = others.pick(place, key, text, edit_random(seed, f"{name}: other", key, text))
    return EditContext(edit_random(seed, name, key, text), other)


def _answer_place(messages: list[dict[str, object]]) -> int | None:
    places = [position for position, message in enumerate(messages) if message.get("role") == "assistant"]
    if not places:
        return None
    content = messages[places[-1]].get("content")
    return places[-1] if isinstance(content, str) and not says_nothing(content) else None
