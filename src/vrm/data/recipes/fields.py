"""Reading typed fields of a published row, with errors that name field, value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from vrm.data.problems import show
from vrm.errors import RowError


class Fields:
    """Typed access to one row of the data set that recipe `recipe` reads.

    Every method raises `RowError` if the field is missing, has the wrong type or a value that is not allowed.

    Args:
        row: the published row.
        recipe: the recipe's name, for messages.
        path: where `row` stands inside the published row, e.g. `completions[2].`.
    """

    def __init__(self, row: Any, recipe: str, path: str = "") -> None:
        self._recipe, self._path = recipe, path
        if not isinstance(row, Mapping):
            where = path.rstrip(".") or "row"
            raise RowError(f"<{recipe}>", 0, where, f"{show(row)} is not allowed; expected a mapping")
        self._row = row

    def error(self, name: str, value: Any, allowed: str) -> RowError:
        """The error for a value of field `name` that is not allowed."""
        return RowError(f"<{self._recipe}>", 0, self._path + name, f"{show(value)} is not allowed; expected {allowed}")

    def get(self, name: str) -> Any:
        """The field's value, whatever it is."""
        if name not in self._row:
            have = ", ".join(map(str, self._row)) or "none"
            reason = f"missing; found: {have}. Is this the right data set and configuration for this recipe?"
            raise RowError(f"<{self._recipe}>", 0, self._path + name, reason)
        return self._row[name]

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._row.get(name) is not None

    def text(self, name: str) -> str:
        """A string, possibly empty."""
        value = self.get(name)
        if not isinstance(value, str):
            raise self.error(name, value, "a string")
        return value

    def label(self, name: str) -> str | None:
        """A string, or None if the column is absent, null or empty."""
        return (self.text(name) or None) if self.has(name) else None

    def first_of(self, *names: str) -> str:
        """The first of several alternative column names that the row has.

        Raises:
            RowError: the row has none of them.
        """
        for name in names:
            if self.has(name):
                return name
        self.get(names[0])
        raise self.error(names[0], None, f"a value here or in one of: {', '.join(names[1:])}")

    def number(self, name: str, low: float, high: float) -> float:
        """A finite number in [low, high]; digits in a string count as a number."""
        value = self.get(name)
        allowed = f"a number from {low:g} to {high:g}"
        if isinstance(value, bool) or not isinstance(value, Real | str):
            raise self.error(name, value, allowed)
        try:
            number = float(value)
        except ValueError:
            raise self.error(name, value, allowed) from None
        if not math.isfinite(number) or not low <= number <= high:
            raise self.error(name, value, allowed)
        return number

    def integer(self, name: str, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        number = self.number(name, low, high)
        if number != int(number):
            raise self.error(name, self.get(name), f"a whole number from {low} to {high}")
        return int(number)

    def flag(self, name: str) -> bool:
        """True or False, also as 0 or 1."""
        value = self.get(name)
        if not isinstance(value, bool) and value not in (0, 1):
            raise self.error(name, value, "true or false")
        return bool(value)

    def items(self, name: str) -> list[Any]:
        """A list."""
        value = self.get(name)
        # Arrow and pandas readers may hand out tuples or arrays in place of lists.
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.error(name, value, "a list")
        return list(value)

    def child(self, name: str) -> Fields:
        """A nested mapping."""
        return Fields(self.get(name), self._recipe, f"{self._path}{name}.")

    def children(self, name: str) -> list[Fields]:
        """A list of mappings."""
        return [
            Fields(item, self._recipe, f"{self._path}{name}[{index}].") for index, item in enumerate(self.items(name))
        ]

    def messages(self, name: str) -> list[dict[str, Any]]:
        """Chat messages, reduced to `role` (system, user or assistant) and `content`."""
        return [{"role": message.role(), "content": message.text("content")} for message in self.children(name)]

    def role(self) -> str:
        """The `role` of a chat message."""
        role = self.text("role")
        if role not in {"system", "user", "assistant"}:
            raise self.error("role", role, "system, user or assistant")
        return role
