"""Checks of single fields: each returns the usable value, or None after it has noted what is wrong."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vrm.choices import Role
from vrm.data.columns import SHAREGPT, suggestion
from vrm.data.json_text import loads, repeated_keys
from vrm.data.problems import InvalidRowError, Problem, other_names, show
from vrm.data.schema import Message, Text
from vrm.data.style import says_nothing
from vrm.errors import DataError

INVALID_UNICODE = "invalid Unicode"
"""Kind of the problem of a text with half of a surrogate pair."""

LARGEST = 1e30
"""Of a number: float32 holds some hundred millions of them added up."""

_ROLE_ALIASES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "function": "tool"}


class RowCheck:
    """Collects the problems of one row.

    Args:
        file: path or name of the source.
        line: 1-based line (or row) number.
        mapping: {schema's name: the file's name}, so that problems are named as the file does.
        objectives: allowed names of objectives; None allows every name.

    Attributes:
        count: number of completions that lists with one entry a completion must have; None if it is not known.
        problems: what is wrong so far.
    """

    def __init__(
        self,
        file: str,
        line: int,
        mapping: Mapping[str, str] | None = None,
        objectives: Collection[str] | None = None,
    ) -> None:
        self.file, self.line, self.mapping, self.objectives = file, line, mapping or {}, objectives
        self.count: int | None = None
        self.problems: list[Problem] = []

    def note(self, field: str, kind: str, reason: str) -> None:
        """Note a problem; `field` is the schema's name, with the place inside it."""
        name = re.split(r"[.\[]", field, maxsplit=1)[0]
        theirs = self.mapping.get(name, name) + field[len(name) :]
        self.problems.append(Problem(self.file, self.line, theirs, kind, reason))

    def finish(self, unread: Collection[str] = ()) -> None:
        """Raise `InvalidRowError` if there are problems.

        Args:
            unread: columns of the row that are not read, one of which may be what is missing.
        """
        if not self.problems:
            return
        hint = other_names(self.problems, unread)
        if hint:
            first, *others = self.problems
            self.problems = [replace(first, reason=f"{first.reason} {hint}"), *others]
        raise InvalidRowError(self.problems)

    def wrong_type(self, field: str, value: object, needed: str) -> None:
        """Note a value that is something else than `needed`."""
        self.note(field, "wrong type", f"{show(value)} is a {type(value).__name__}; {needed} is needed.")

    def number(self, field: str, value: object) -> float | None:
        """A finite number, at most `LARGEST` in size; True and False are none."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            self.wrong_type(field, value, "a number")
            return None
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if not math.isfinite(result):
            self.note(field, "not finite", f"{result} is not finite; leave the value out if it is missing.")
            return None
        if abs(result) > LARGEST:
            reason = f"{result:g} is beyond {LARGEST:g}, which is the most that is allowed; use another unit."
            self.note(field, "out of range", reason)
            return None
        return result

    def objective_numbers(self, field: str, value: object) -> dict[str, float] | None:
        """A mapping {objective: finite number}; entries that are null count as missing."""
        if not isinstance(value, Mapping):
            self.wrong_type(field, value, "an object {objective: number}")
            return None
        known = {name: entry for name, entry in value.items() if entry is not None and self._is_objective(field, name)}
        checked = {name: self.number(f"{field}.{name}", entry) for name, entry in known.items()}
        return {name: number for name, number in checked.items() if number is not None}

    def entries(self, field: str, value: object, kind: str = "entry", kinds: str = "entries") -> list[tuple[str, Any]]:
        """The entries of a list that has one a completion, with their fields; `kind` and `kinds` name them."""
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            self.wrong_type(field, value, f"a list with one {kind} a completion")
            return []
        if self.count is not None and len(value) != self.count:
            reason = f"{len(value)} {kinds} for {self.count} completions; one a completion is needed."
            self.note(field, "lengths differ", reason)
        return [(f"{field}[{index}]", entry) for index, entry in enumerate(value)]

    def name(self, field: str, value: object) -> str | None:
        """A name (annotator, source, category); whole numbers are taken as names."""
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            self.wrong_type(field, value, "a text")
            return None
        return value if self.encodable(field, value) else None

    def encodable(self, field: str, value: str) -> bool:
        """Whether a text is one; a JSON escape can name half of a surrogate pair, which no tokenizer or file takes."""
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = f"character {error.start} is {value[error.start]!r}, half of a surrogate pair"
            self.note(field, INVALID_UNICODE, f"{half}; repair the text's encoding.")
            return False
        return True

    def json_value(self, field: str, value: object) -> bool:
        """Whether a value is as JSON has it, with all that it holds; columnar files have dates, bytes and NaN too."""
        if value is None or isinstance(value, bool | int):
            return True
        if isinstance(value, str):
            return self.encodable(field, value)
        if isinstance(value, float):
            return self.number(field, value) is not None
        if isinstance(value, Mapping):
            checked = [self._key(field, key) and self.json_value(f"{field}.{key}", value[key]) for key in value]
            return all(checked)
        if isinstance(value, list | tuple):
            checked = [self.json_value(f"{field}[{index}]", entry) for index, entry in enumerate(value)]
            return all(checked)
        self.wrong_type(field, value, "what JSON has (text, number, true, false, null, list, object)")
        return False

    def _key(self, field: str, key: object) -> bool:
        if isinstance(key, str):
            return self.encodable(field, key)
        self.wrong_type(field, key, "a text as the name of an entry")
        return False

    def _is_objective(self, field: str, name: object) -> bool:
        if not isinstance(name, str) or not name.strip():
            self.note(field, "unknown objective", f"{name!r} is no name of an objective; a text is needed.")
            return False
        if not self.encodable(field, name):
            return False
        if self.objectives is None or name in self.objectives:
            return True
        reason = f"'{name}' is not an objective of this run.{suggestion(name, self.objectives)} "
        self.note(f"{field}.{name}", "unknown objective", reason + f"Allowed: {', '.join(self.objectives)}.")
        return False


def tools(check: RowCheck, field: str, value: object) -> list[Any] | None:
    """Tool definitions: a list of objects, or the JSON text of one (columnar files cannot hold free-form objects)."""
    try:
        value = read_tools(value)
    except DataError as error:
        check.note(field, "invalid JSON", f"{show(value)} is {error}.")
        return None
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        check.note(field, "wrong type", f"{show(value)} is not a list of tool definitions (objects).")
        return None
    return value if check.json_value(field, value) else None


def template_arguments(check: RowCheck, field: str, value: object) -> dict[str, Any] | None:
    """Further arguments of the chat template."""
    if not isinstance(value, Mapping):
        check.wrong_type(field, value, "an object {argument: value}")
        return None
    return dict(value) if check.json_value(field, value) else None


def read_tools(value: Any) -> Any:
    """Tool definitions as they are given, or as their JSON text holds them; DataError for a text that is no JSON."""
    if not isinstance(value, str):
        return value
    try:
        tools, suspect = loads(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not the JSON text of a list of tools ({error})") from None
    for place, reason in repeated_keys(tools, suspect):
        raise DataError(f"no usable list of tools ({place}: {reason})")
    return tools


def text(check: RowCheck, field: str, value: object) -> Text | None:
    """A text, or a list of messages in the form that chat templates read (nulls removed, text parts joined)."""
    if isinstance(value, str):
        return value if check.encodable(field, value) else None
    if isinstance(value, Mapping) and is_sharegpt(value):
        check.note(field, "wrong type", f"{show(value)} is a turn of 'from' and 'value'. {SHAREGPT}")
        return None
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        check.wrong_type(field, value, "a text or a list of messages")
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
    if is_sharegpt(given):
        reason = f"{show(given)} has 'from' and 'value' in place of 'role' and 'content'. {SHAREGPT}"
        check.note(field, "bad message", reason)
        return None
    before = len(check.problems)
    _check_role(check, field, given.get("role"))
    content = _content(check, f"{field}.content", given)
    check.json_value(field, {key: entry for key, entry in given.items() if key not in ("role", "content")})
    if len(check.problems) > before:
        return None
    return {**given, "content": content}


def is_sharegpt(message: Mapping[Any, Any]) -> bool:
    """Whether this is a turn of ShareGPT's: `from` and `value`, without a role."""
    return "from" in message and "value" in message and "role" not in message


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
    check.encodable(field, content)
    return content


def _joined_parts(parts: Sequence[Any]) -> str | Sequence[Any]:
    """The text of a list of text parts; the list itself if a part is something else."""
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in parts]
    known = [entry for entry in texts if isinstance(entry, str)]
    return "".join(known) if len(known) == len(texts) else parts


def is_blank(value: Text) -> bool:
    """Whether there is nothing to read: neither text nor a tool call."""
    return says_nothing(value) if isinstance(value, str) else all(_is_blank_message(entry) for entry in value)


def _is_blank_message(entry: Message) -> bool:
    return says_nothing(str(entry["content"])) and not entry.get("tool_calls")
