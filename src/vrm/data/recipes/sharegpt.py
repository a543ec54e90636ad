"""ShareGPT rows: `conversations` of turns with `from` and `value`, and two sides, `chosen` and `rejected`.

The preference form of LLaMA-Factory, axolotl and others. It is a form that many data sets share, not one data set.
"""

from __future__ import annotations

import json
from typing import Any

from vrm.data.columns import row_columns
from vrm.data.problems import show
from vrm.data.recipes.base import HISTORIES_DIFFER, NO_FINAL_ASSISTANT, Converted, Recipe, Row, pair, skip
from vrm.data.recipes.fields import Fields
from vrm.data.recipes.turns import NOT_ALTERNATING
from vrm.errors import RowError

_NAME = "sharegpt"
ONE_SIDE = "row: a conversation without two sides"

_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "call",
    "tool_call": "call",
    "observation": "tool",
    "tool": "tool",
    "tool_response": "tool",
    "function_response": "tool",
}
_CONVERSATION = ("conversations", "conversation", "messages", "prompt")


def _message(turn: Fields) -> Row:
    """A turn as a message; those of role and content are messages already."""
    name, content = ("role", "content") if turn.has("role") else ("from", "value")
    speaker = turn.text(name)
    role = _ROLES.get(speaker.strip().lower())
    if role is None:
        raise turn.error(name, speaker, f"one of {', '.join(_ROLES)}")
    if role == "call":
        return {"role": "assistant", "content": "", "tool_calls": _calls(turn, content)}
    return {"role": role, "content": turn.text(content)}


def _calls(turn: Fields, name: str) -> list[Row]:
    """Tool calls from their JSON text: one `{"name", "arguments"}`, or a list of them."""
    text = turn.text(name)
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    calls = value if isinstance(value, list) else [value]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise turn.error(
            name, text, "the JSON text of a call, {'name': ..., 'arguments': {...}}, or of a list of calls"
        )
    functions = [{"name": call["name"], "arguments": call.get("arguments", {})} for call in calls]
    return [{"type": "function", "function": function} for function in functions]


def _messages(fields: Fields, name: str, speaker: str) -> list[Row]:
    """The messages of a column: turns, one turn, or the text of one turn of `speaker`."""
    value = fields.get(name)
    if isinstance(value, str):
        return [{"role": speaker, "content": value}]
    if isinstance(value, dict):
        return [_message(fields.child(name))]
    return [_message(turn) for turn in fields.children(name)]


def _convert(row: Row) -> Converted:
    fields = Fields(row, _NAME)
    shared = next((name for name in _CONVERSATION if fields.has(name)), None)
    if not (fields.has("chosen") and fields.has("rejected")):
        if shared is None:
            raise RowError(f"<{_NAME}>", 0, "conversations", f"{show(row)} has neither a conversation nor two sides")
        return skip(ONE_SIDE)
    prompt = [] if shared is None else _messages(fields, shared, "user")
    chosen, rejected = (_messages(fields, side, "assistant") for side in ("chosen", "rejected"))
    if not prompt:
        # Both sides are whole conversations, the same up to their last turns.
        if chosen[:-1] != rejected[:-1]:
            return skip(HISTORIES_DIFFER)
        prompt, chosen, rejected = chosen[:-1], chosen[-1:], rejected[-1:]
    if fields.has("system") and prompt and prompt[0]["role"] != "system":
        prompt.insert(0, {"role": "system", "content": fields.text("system")})
    if not all(side and side[-1]["role"] == "assistant" for side in (chosen, rejected)):
        return skip(NO_FINAL_ASSISTANT)
    if not prompt or not all(_alternates([*prompt, *side]) for side in (chosen, rejected)):
        return skip(NOT_ALTERNATING)
    columns = {name: row.get(name) for name in row_columns() if name not in ("prompt", "chosen", "rejected")}
    return pair(prompt, chosen, rejected, **columns | {"tools": _tools(fields)})


def _alternates(turns: list[Row]) -> bool:
    """Whether the assistant speaks after each user's turn or tool's answer, and nobody else after another."""
    spoken = turns[1:] if turns[0]["role"] == "system" else turns
    return all((turn["role"] == "assistant") == bool(place % 2) for place, turn in enumerate(spoken))


def _tools(fields: Fields) -> Any:
    """Tool definitions as they are; a blank text is none."""
    tools = fields.get("tools") if fields.has("tools") else None
    return None if isinstance(tools, str) and not tools.strip() else tools


RECIPES = (
    Recipe(
        name=_NAME,
        hub_id=None,
        convert=_convert,
        description="Pairs with multi-turn prompts, from `conversations` (turns of `from` and `value`) with `chosen` "
        "and `rejected` (a turn, turns or a text), or from two whole conversations. Labels, `system` and `tools` are "
        "kept.",
        license_note="that of your data",
        leaves_out="Conversations without two sides, sides that do not end with the assistant, turns that do not "
        "alternate, an empty reply or identical replies.",
    ),
)
