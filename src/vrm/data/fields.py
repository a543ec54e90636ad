"""Checks of single fields: each returns the usable value, or None after it has noted what is wrong."""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vrm.choices import Role
from vrm.data.columns import suggestion
from vrm.data.problems import InvalidRowError, Problem, show
from vrm.data.schema import Message, Text
from vrm.errors import DataError

_ROLE_ALIASES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "function": "tool"}


class RowCheck:
    """Collects the problems of one row.

    Args:
        file: path or name of the source.
        line: 1-based line (or row) number.
        mapping: {schema's name: the file's name}, so that problems are named as the file does.
    """

    def __init__(self, file: str, line: int, mapping: Mapping[str, str] | None = None) -> None:
        self.file, self.line, self.mapping = file, line, mapping or {}
        self.problems: list[Problem] = []

    def note(self, field: str, kind: str, reason: str) -> None:
        """Note a problem; `field` is the schema's name, with the place inside it."""
        name = re.split(r"[.\[]", field, maxsplit=1)[0]
        theirs = self.mapping.get(name, name) + field[len(name) :]
        self.problems.append(Problem(self.file, self.line, theirs, kind, reason))

    def finish(self) -> None:
        """Raise `InvalidRowError` if there are problems."""
        if self.problems:
            raise InvalidRowError(self.problems)


def number(check: RowCheck, field: str, value: object) -> float | None:
    """A finite number; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        check.note(field, "wrong type", f"{show(value)} is a {type(value).__name__}; a number is needed.")
        return None
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        check.note(field, "not finite", f"{result} is not finite; leave the value out if it is missing.")
        return None
    return result


def label(check: RowCheck, field: str, value: object) -> str | None:
    """A name (annotator, source, category); whole numbers are taken as names."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        check.note(field, "wrong type", f"{show(value)} is a {type(value).__name__}; a text is needed.")
        return None
    return value if _encodable(check, field, value) else None


def objective_numbers(
    check: RowCheck, field: str, value: object, objectives: Collection[str] | None
) -> dict[str, float] | None:
    """A mapping {objective: finite number}; entries that are null count as missing."""
    if not isinstance(value, Mapping):
        check.note(
            field,
            "wrong type",
            f"{show(value)} is a {type(value).__name__}; an object {{objective: number}} is needed.",
        )
        return None
    known: dict[str, float] = {}
    for name, entry in value.items():
        if entry is None or not _known_objective(check, field, name, objectives):
            continue
        checked = number(check, f"{field}.{name}", entry)
        if checked is not None:
            known[name] = checked
    return known


def _known_objective(check: RowCheck, field: str, name: object, objectives: Collection[str] | None) -> bool:
    if not isinstance(name, str) or not name.strip():
        check.note(field, "unknown objective", f"{name!r} is no name of an objective; a text is needed.")
        return False
    if objectives is None or name in objectives:
        return True
    reason = f"'{name}' is not an objective of this run.{suggestion(name, objectives)} "
    check.note(f"{field}.{name}", "unknown objective", reason + f"Allowed: {', '.join(objectives)}.")
    return False


def votes(check: RowCheck, field: str, value: object, objectives: Collection[str] | None) -> dict[str, float] | None:
    """Objective votes: numbers >= 0, not all of them 0; None if there is no entry."""
    before = len(check.problems)
    counts = objective_numbers(check, field, value, objectives)
    for name, count in (counts or {}).items():
        if count < 0:
            check.note(f"{field}.{name}", "negative vote", f"{count} is negative; votes are counts or weights >= 0.")
    if counts and len(check.problems) == before and not any(counts.values()):
        check.note(field, "all votes zero", "all votes are 0; leave the column out if nobody voted.")
    return counts or None


def tools(check: RowCheck, field: str, value: object) -> list[Any] | None:
    """Tool definitions: a list of objects, or the JSON text of one (columnar files cannot hold free-form objects)."""
    try:
        value = read_tools(value)
    except DataError as error:
        check.note(field, "invalid JSON", f"{show(value)} is {error}.")
        return None
    if isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
        return value
    check.note(field, "wrong type", f"{show(value)} is not a list of tool definitions (objects).")
    return None


def read_tools(value: Any) -> Any:
    """Tool definitions as they are given, or as their JSON text holds them; DataError for a text that is no JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise DataError(f"not the JSON text of a list of tools ({error})") from None


def text(check: RowCheck, field: str, value: object) -> Text | None:
    """A text, or a list of messages in the form that chat templates read (nulls removed, text parts joined)."""
    if isinstance(value, str):
        return value if _encodable(check, field, value) else None
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        reason = f"{show(value)} is a {type(value).__name__}; a text or a list of messages is needed."
        check.note(field, "wrong type", reason)
        return None
    messages = [message(check, f"{field}[{index}]", entry) for index, entry in enumerate(value)]
    usable = [entry for entry in messages if entry is not None]
    return usable if len(usable) == len(messages) else None


def message(check: RowCheck, field: str, value: object) -> Message | None:
    """One message: a known role, and content unless it calls tools."""
    if not isinstance(value, Mapping):
        check.note(field, "bad message", f"{show(value)} is no message; an object with 'role' and 'content' is needed.")
        return None
    # Columnar files give every message every key; null means that this one had none.
    given: Message = {key: entry for key, entry in value.items() if entry is not None}
    before = len(check.problems)
    _check_role(check, field, given.get("role"))
    content = _content(check, f"{field}.content", given)
    if len(check.problems) > before:
        return None
    return {**given, "content": content}


def _check_role(check: RowCheck, field: str, role: object) -> None:
    if isinstance(role, str) and role in list(Role):
        return
    hint = f" Use '{_ROLE_ALIASES[role]}' for it." if isinstance(role, str) and role in _ROLE_ALIASES else ""
    reason = "the message has no role." if role is None else f"{show(role)} is not a known role.{hint}"
    check.note(f"{field}.role", "bad message", f"{reason} Allowed: {', '.join(Role)}.")


def _content(check: RowCheck, field: str, message: Message) -> str:
    content = message.get("content", "" if message.get("tool_calls") else None)
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        content = _joined_parts(content)
    if not isinstance(content, str):
        reason = "the message has no content" if content is None else f"{show(content)} is no text"
        check.note(field, "bad message", f"{reason}; a text or a list of text parts is needed.")
        return ""
    _encodable(check, field, content)
    return content


def _joined_parts(parts: Sequence[Any]) -> str | Sequence[Any]:
    """The text of a list of text parts; the list itself if a part is something else."""
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in parts]
    known = [entry for entry in texts if isinstance(entry, str)]
    return "".join(known) if len(known) == len(texts) else parts


def _encodable(check: RowCheck, field: str, value: str) -> bool:
    # A JSON escape can name half of a surrogate pair, which no tokenizer and no file takes.
    try:
        value.encode()
    except UnicodeEncodeError as error:
        reason = (
            f"character {error.start} is {value[error.start]!r}, half of a surrogate pair; repair the text's encoding."
        )
        check.note(field, "invalid Unicode", reason)
        return False
    return True


def is_blank(value: Text) -> bool:
    """Whether there is nothing to read: neither text nor a tool call."""
    return not value.strip() if isinstance(value, str) else all(_says_nothing(entry) for entry in value)


def _says_nothing(entry: Message) -> bool:
    return not str(entry["content"]).strip() and not entry.get("tool_calls")
