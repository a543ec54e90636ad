"""Transcripts in one string, and conversations that share their beginning."""

from __future__ import annotations

import re
from typing import Any

from vrm.data.recipes.base import HISTORIES_DIFFER, NO_FINAL_ASSISTANT, Converted, pair, skip
from vrm.data.recipes.fields import Fields

NOT_ALTERNATING = "row: turns do not alternate between user and assistant"

_HUMAN_ASSISTANT = re.compile(r"\n\n(Human|Assistant):")
_EXTRA_ID = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_ROLES = {"Human": "user", "User": "user", "Assistant": "assistant"}

Turns = list[dict[str, Any]]


def human_assistant_turns(text: str) -> Turns | None:
    r"""Messages of a transcript whose turns begin with "\n\nHuman: " or "\n\nAssistant: ".

    The text of a turn is stripped. None if something stands before the first turn.
    """
    before, *rest = _HUMAN_ASSISTANT.split("\n\n" + text.lstrip("\n"))
    if before.strip() or not rest:
        return None
    return [
        {"role": _ROLES[speaker], "content": content.strip()}
        for speaker, content in zip(rest[::2], rest[1::2], strict=True)
    ]


def extra_id_turns(text: str) -> Turns:
    r"""Messages of a prompt whose later turns begin with "<extra_id_1>User\n" or "<extra_id_1>Assistant\n".

    The first turn is the user's and has no marker, so a prompt without markers is one user message.
    """
    first, *rest = _EXTRA_ID.split(text)
    opening = [{"role": "user", "content": first}] if first.strip() or not rest else []
    return opening + [
        {"role": _ROLES[speaker], "content": content} for speaker, content in zip(rest[::2], rest[1::2], strict=True)
    ]


def alternates(turns: Turns) -> bool:
    """Whether user and assistant take turns, the user first; a system message may come before.

    Many chat templates raise an error for anything else.
    """
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    return all(turn["role"] == ("user", "assistant")[index % 2] for index, turn in enumerate(spoken))


def asks(turns: Turns) -> bool:
    """Whether the turns are a prompt: they alternate and the user speaks last."""
    return bool(turns) and turns[-1]["role"] == "user" and alternates(turns)


def transcript(fields: Fields, name: str) -> Turns:
    """The messages of a field that holds a transcript (see `human_assistant_turns`); RowError if it holds none."""
    turns = human_assistant_turns(fields.text(name))
    if turns is None:
        raise fields.error(name, fields.text(name), r"turns that begin with '\n\nHuman: ' or '\n\nAssistant: '")
    return turns


def pair_of_conversations(chosen: Turns, rejected: Turns, **columns: Any) -> Converted:
    """A comparison of the last turns of two conversations that are the same up to there, or a counted skip.

    Args:
        chosen: all messages of the preferred conversation.
        rejected: all messages of the other.
        columns: further columns of the row; those that are None are left off.
    """
    if not all(turns and turns[-1]["role"] == "assistant" for turns in (chosen, rejected)):
        return skip(NO_FINAL_ASSISTANT)
    if chosen[:-1] != rejected[:-1]:
        return skip(HISTORIES_DIFFER)
    if not alternates(chosen):
        return skip(NOT_ALTERNATING)
    return pair(chosen[:-1], chosen[-1]["content"], rejected[-1]["content"], **columns)
