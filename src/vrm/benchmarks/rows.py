"""One row of a benchmark's file: typed access that counts what is unusual and raises on what is wrong throughout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from vrm.benchmarks.base import BenchmarkExample, UnusualRow, UnusualRows, with_labels
from vrm.choices import Role
from vrm.data import fields, texts
from vrm.data.fields import RowCheck
from vrm.data.problems import show
from vrm.data.schema import Judgment, Message, Text
from vrm.errors import RowError

__all__ = ["BenchmarkRow", "split_dialogues"]

Value = TypeVar("Value")

NUMBER_AS_TEXT = "a number where a text belongs, read as its digits"
KEPT_KINDS = ("empty prompt", "empty completion")
"""Kinds of problems that a benchmark's rows are kept with: models do answer empty prompts, and policies say nothing."""

IDENTICAL = "identical completions, so the rewards are equal"
WITHOUT_LABEL = "without '{}': counted in the whole, but in no row of the table by it"
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
        return [self._message(entry, f"{name}[{index}]") for index, entry in enumerate(self.items(name))]

    def _message(self, entry: Any, place: str) -> Message:
        if isinstance(entry, Mapping) and isinstance(entry.get("content"), int | float | str):
            entry = {**entry, "content": self.as_text(entry["content"], f"{place}.content")}
        check = RowCheck(self.file, self.number)
        message = fields.message(check, place, entry)
        if message is None:
            raise UnusualRow(check.problems[0].kind, check.problems[0].field)
        return {"role": message["role"], "content": message["content"]}

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
            listed = ", ".join(map(repr, allowed))
            raise self.wrong(name, f"{show(value)} is no label of this benchmark; expected one of {listed}")
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
            labels: groups of the example, beside those of the file. One without a value, None or empty, that the file
                does not give either is left off and counted as unusual: the example is in no row of that group's table.
            id: as published; None for a hash of the texts.
            group: see `BenchmarkExample`.
        """
        judgment = self._judgment(prompt, completions)
        for first, second in better:
            if judgment.completions[first] == judgment.completions[second]:
                self.note(IDENTICAL)
                break
        named = self.labels | with_labels(labels or {})
        for name in labels or {}:
            if name not in named:
                self.note(WITHOUT_LABEL.format(name))
        return BenchmarkExample(text_hash(judgment) if id is None else id, judgment, named, tuple(better), label, group)

    def _judgment(self, prompt: Text, completions: Sequence[Text]) -> Judgment:
        """Prompt and completions after the checks that rows of training and scoring pass; blank ones are counted."""
        turns: list[Message] = (
            [{"role": "user", "content": prompt}] if isinstance(prompt, str) else self._joined(prompt)
        )
        if turns[-1]["role"] == Role.ASSISTANT:
            raise UnusualRow("the prompt ends with the assistant's turn")
        sides = [side if isinstance(side, str) else self._joined(side) for side in completions]
        wrapped = texts.as_messages(turns, [(f"completions[{index}]", side) for index, side in enumerate(sides)])
        check = RowCheck(self.file, self.number)
        texts.check_texts(check, turns, wrapped)
        for problem in check.problems:
            if problem.kind not in KEPT_KINDS:
                raise UnusualRow(problem.kind, problem.field)
            self.note(problem.kind)
        messages = [side for _, side in wrapped if isinstance(side, list)]
        plain = [_single(side, Role.ASSISTANT) for side in messages]
        question = _single(turns, Role.USER)
        if question is not None and None not in plain:
            # As text a model of plain text can read them too; the engine makes messages of it for all others.
            return Judgment(question, [str(side) for side in plain], file=self.file, line=self.number)
        return Judgment(turns, list(messages), file=self.file, line=self.number)

    def _joined(self, turns: Sequence[Message]) -> list[Message]:
        """Turns of one role in a row as one, since many chat templates refuse them."""
        joined: list[Message] = []
        for turn in turns:
            if joined and joined[-1]["role"] == turn["role"]:
                joined[-1] = {**joined[-1], "content": f"{joined[-1]['content']}\n\n{turn['content']}"}
            else:
                joined.append(dict(turn))
        if len(joined) < len(turns):
            self.note(NOT_ALTERNATING)
        return joined


def split_dialogues(
    row: BenchmarkRow, first: Sequence[Message], second: Sequence[Message], name: str, expected: int | None = None
) -> tuple[list[Message], list[list[Message]]]:
    """The longest beginning that both dialogues share and that ends with the user, and the rest of either.

    Args:
        row: counts dialogues that differ before their last turn.
        first: messages.
        second: messages.
        name: field that is named where something is wrong.
        expected: turns of a dialogue whose earlier turns may differ without being unusual; None for none.

    Raises:
        UnusualRow: they share no turn of the user, or one does not end with the assistant.
    """
    if any(side[-1]["role"] != "assistant" for side in (first, second)):
        raise UnusualRow("a dialogue that does not end with the assistant", name)
    shared, most = 0, min(len(first), len(second)) - 1
    while shared < most and first[shared] == second[shared]:
        shared += 1
    # The user's turn must come last before the completions, and the assistant's first in them.
    while shared and (
        first[shared - 1]["role"] == "assistant" or any(side[shared]["role"] != "assistant" for side in (first, second))
    ):
        shared -= 1
    if not shared:
        raise UnusualRow("the two dialogues do not begin with the same turn of the user", name)
    if max(len(first), len(second)) > max(shared + 1, expected or 0):
        row.note("dialogues that differ before the last turn; all that differs is judged", name)
    return list(first[:shared]), [list(first[shared:]), list(second[shared:])]


def text_hash(judgment: Judgment) -> str:
    """A short hash of prompt and completions in their order, to tell examples apart that have no id."""
    content = json.dumps([judgment.prompt, judgment.completions], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()


def _single(turns: Sequence[Message], role: Role) -> str | None:
    """The content of a single message of this role; None for other messages."""
    return str(turns[0]["content"]) if len(turns) == 1 and turns[0]["role"] == role else None


def _kind(value: Any) -> str:
    names = {bool: "true or false", dict: "object", type(None): "null", int: "number", float: "number", str: "text"}
    return names.get(type(value), type(value).__name__)
