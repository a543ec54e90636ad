"""One row of a benchmark's file: typed access that counts what is unusual and raises on what is wrong throughout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vrm.benchmarks.base import BenchmarkExample
from vrm.benchmarks.unusual import UnusualRow, UnusualRows
from vrm.choices import Role
from vrm.data.problems import show
from vrm.data.schema import Judgment, Message, Text
from vrm.errors import RowError

Value = TypeVar("Value")

NUMBER_AS_TEXT = "a number where a text belongs, read as its digits"
EMPTY_PROMPT, EMPTY_COMPLETION = "empty prompt", "empty completion"
IDENTICAL = "identical completions, so the rewards are equal"
NOT_ALTERNATING = "two turns of one role in a row, joined"


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """Access to the fields of one row.

    Methods raise `UnusualRow` where the row has to be left out, and `RowError` for a label that no row may have.

    Attributes:
        columns: the row as read.
        file: where from.
        number: 1-based line or row number.
        labels: what the file's name or place says about its rows.
        unusual: where oddities are counted.
    """

    columns: Mapping[str, Any]
    file: str
    number: int
    labels: dict[str, str] = field(default_factory=dict)
    unusual: UnusualRows = field(default_factory=UnusualRows)

    def note(self, reason: str, name: str = "") -> None:
        """Count something odd about a row that is kept."""
        self.unusual.add(reason, self.file, self.number, name)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.columns.get(name) is not None

    def first_of(self, *names: str) -> str:
        """The first of these names that the row has; the first of all if it has none."""
        return next((name for name in names if name in self.columns), names[0])

    def get(self, name: str) -> Any:
        """The field's value, not null."""
        if name not in self.columns:
            raise UnusualRow(f"no field '{name}'", name)
        if self.columns[name] is None:
            raise UnusualRow(f"'{name}' is null", name)
        return self.columns[name]

    def text(self, name: str) -> str:
        """A text; numbers are read as their digits."""
        return self.as_text(self.get(name), name)

    def optional_text(self, name: str) -> str:
        """A text, empty where the field is absent or null."""
        return self.text(name) if self.has(name) else ""

    def as_text(self, value: Any, name: str) -> str:
        """A value of a field as a text."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            self.note(NUMBER_AS_TEXT, name)
            return str(value)
        if not isinstance(value, str):
            raise UnusualRow(f"a {_kind(value)} where a text belongs", name)
        try:
            value.encode()
        except UnicodeEncodeError:
            self.note("half of a surrogate pair, replaced", name)
            return value.encode(errors="replace").decode()
        return value

    def text_or_messages(self, name: str) -> str | list[Message]:
        """A text, or a list of messages where the field holds a list."""
        return self.messages(name) if isinstance(self.get(name), list) else self.text(name)

    def texts(self, name: str) -> list[str]:
        """A list of texts, not empty."""
        return [self.as_text(value, f"{name}[{index}]") for index, value in enumerate(self.items(name))]

    def items(self, name: str) -> list[Any]:
        """A list, not empty."""
        value = self.get(name)
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise UnusualRow(f"'{name}' is a {_kind(value)}, no list", name)
        if not value:
            raise UnusualRow(f"'{name}' is an empty list", name)
        return list(value)

    def messages(self, name: str) -> list[Message]:
        """A list of messages with known roles and texts as content."""
        found: list[Message] = []
        for index, entry in enumerate(self.items(name)):
            place = f"{name}[{index}]"
            if not isinstance(entry, Mapping) or entry.get("role") not in list(Role):
                raise UnusualRow("a message without a known role", place)
            if entry.get("content") is None:
                raise UnusualRow("a message without content", place)
            found.append({"role": entry["role"], "content": self.as_text(entry["content"], f"{place}.content")})
        return found

    def choice(self, name: str, allowed: Mapping[Any, Value]) -> Value:
        """What a label stands for.

        Raises:
            UnusualRow: the row has no label.
            RowError: it has one that the benchmark does not know.
        """
        value = self.get(name)
        if isinstance(value, float) and value == int(value):
            value = int(value)  # columnar files turn whole numbers to floats where one is missing
        known = [key for key in allowed if type(key) is type(value) and key == value]
        if not known:
            raise self.wrong(name, f"{show(value)} is no label of this benchmark; expected one of {_listed(allowed)}")
        return allowed[known[0]]

    def label(self, *names: str) -> str | None:
        """The first of these fields as a group's name; None where it is absent, null or empty."""
        value = self.columns.get(self.first_of(*names))
        if value is None or isinstance(value, Mapping | list):
            return None
        return str(value).strip() or None

    def id(self, *names: str, of: Sequence[str | None] = ()) -> str | None:
        """The row's own id behind the names (those that are known) within which it is unique; None without an id."""
        own = self.label(*names)
        return None if own is None else ":".join([*filter(None, of), own])

    def wrong(self, name: str, reason: str) -> RowError:
        """The error for a value that cannot be in a file of this benchmark."""
        return RowError(self.file, self.number, name, reason)

    def example(
        self,
        prompt: Text,
        completions: Sequence[Text],
        better: Sequence[tuple[int, int]],
        *,
        label: Any,
        labels: Mapping[str, str | None] | None = None,
        id: str | None = None,
        group: str = "",
    ) -> BenchmarkExample:
        """An example of this row; what is odd about its texts is counted.

        Args:
            prompt: text, or messages that end with the user's.
            completions: texts, or what follows the prompt as messages.
            better: pairs of positions, the better one first.
            label: as published.
            labels: groups of the example, beside those of the file; None values are left off.
            id: as published; None for a hash of the texts.
            group: see `BenchmarkExample`.
        """
        judgment = self._judgment(prompt, completions)
        for first, second in better:
            if judgment.completions[first] == judgment.completions[second]:
                self.note(IDENTICAL)
                break
        named = {**self.labels, **{name: value for name, value in (labels or {}).items() if value}}
        return BenchmarkExample(text_hash(judgment) if id is None else id, judgment, named, tuple(better), label, group)

    def _judgment(self, prompt: Text, completions: Sequence[Text]) -> Judgment:
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else self._joined(prompt)
        if turns[-1]["role"] == "assistant":
            raise UnusualRow("the prompt ends with the assistant's turn")
        if not str(turns[-1]["content"]).strip():
            self.note(EMPTY_PROMPT)
        sides = [completion if isinstance(completion, str) else self._joined(completion) for completion in completions]
        for side in sides:
            if not (side if isinstance(side, str) else str(side[-1]["content"])).strip():
                self.note(EMPTY_COMPLETION)
        plain = [_single(side, "assistant") for side in sides]
        question = _single(turns, "user")
        if question is not None and None not in plain:
            # As text a model of plain text can read them too; the engine makes messages of it for all others.
            return Judgment(question, [str(side) for side in plain], file=self.file, line=self.number)
        wrapped: list[Text] = [
            [{"role": "assistant", "content": side}] if isinstance(side, str) else side for side in sides
        ]
        return Judgment(turns, wrapped, file=self.file, line=self.number)

    def _joined(self, turns: Sequence[Message]) -> list[Message]:
        """Turns of one role in a row as one, since many chat templates refuse them."""
        found: list[Message] = []
        for turn in turns:
            if found and found[-1]["role"] == turn["role"]:
                found[-1] = {**found[-1], "content": f"{found[-1]['content']}\n\n{turn['content']}"}
            else:
                found.append(dict(turn))
        if len(found) < len(turns):
            self.note(NOT_ALTERNATING)
        return found


def text_hash(judgment: Judgment) -> str:
    """A short hash of prompt and completions in their order, to tell examples apart that have no id."""
    content = json.dumps([judgment.prompt, judgment.completions], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def _single(turns: Text, role: str) -> str | None:
    if isinstance(turns, str):
        return turns
    return str(turns[0]["content"]) if len(turns) == 1 and turns[0]["role"] == role else None


def _kind(value: Any) -> str:
    names = {bool: "true or false", dict: "object", type(None): "null", int: "number", float: "number", str: "text"}
    return names.get(type(value), type(value).__name__)


def _listed(allowed: Mapping[Any, Any]) -> str:
    return ", ".join(map(repr, allowed))
