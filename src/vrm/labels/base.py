"""What the parsers of labels share: the layouts of rows, and what checks values."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol, TypeAlias

Pair: TypeAlias = tuple[int, int, float]
"""Positions of two completions, and the probability in [0, 1] that the first is preferred."""

Row: TypeAlias = Any
"""A `vrm.data.schema.Judgment`, which lies above this module."""


class Layout(Enum):
    """How a row holds its completions, which decides the columns that it may have."""

    PAIR = "chosen and rejected"
    LIST = "completions"
    PROMPT_ONLY = "no completions"


class Check(Protocol):
    """What a parser is given to check values with (a `vrm.data.fields.RowCheck`); it collects the row's problems.

    Attributes:
        problems: what is wrong so far.
        count: number of completions, where a list has them.
    """

    problems: list[Any]
    count: int | None

    def note(self, field: str, kind: str, reason: str) -> None:
        """Note a problem of a column, or of a place inside it."""

    def number(self, field: str, value: object) -> float | None:
        """A finite number, or None with a problem noted."""

    def name(self, field: str, value: object) -> str | None:
        """A name, or None with a problem noted."""

    def objective_numbers(self, field: str, value: object) -> dict[str, float] | None:
        """A mapping {known objective: finite number}, or None with a problem noted."""

    def entries(self, field: str, value: object) -> list[tuple[str, Any]]:
        """The entries of a list that has one a completion, with their fields; empty with a problem noted."""


def objective_votes(check: Check, field: str, value: object) -> dict[str, float] | None:
    """Votes {objective: weight >= 0} with a total above 0; None with a problem noted."""
    before = len(check.problems)
    votes = check.objective_numbers(field, value)
    for name, count in (votes or {}).items():
        if count < 0:
            check.note(f"{field}.{name}", "negative vote", f"{count} is negative; votes are counts or weights >= 0.")
    if votes and len(check.problems) == before and not any(votes.values()):
        check.note(field, "all votes zero", "all votes are 0; leave the column out if nobody voted.")
    return votes or None
