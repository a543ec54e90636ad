"""What can be wrong with a row, and the error that carries every problem of one row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from vrm.data.columns import SCORING_COLUMNS, row_columns
from vrm.errors import RowError

MISSING_FIELD, NOTHING_TO_LEARN = "missing field", "nothing to learn"
"""Kinds of the problems of rows that lack a column."""

MAX_NAMED = 8
"""Columns that a message lists."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a row or a file.

    Attributes:
        file: path or name of the source.
        line: 1-based line (or row) number; 0 if the problem is the whole file's.
        field: column, with the place inside it (`chosen_ratings.safety`, `prompt[2].role`); empty for the whole row.
        kind: a few words that are the same for all problems of this kind, to count by.
        reason: what was wrong, with the value, what is allowed and what to do.
    """

    file: str
    line: int
    field: str
    kind: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: field '{self.field}': {self.reason}" if self.field else f"{place}: {self.reason}"


class InvalidRowError(RowError):
    """One row cannot be used; carries all of its problems.

    Attributes:
        problems: everything that is wrong with the row; `file`, `line`, `field` and `reason` are those of the first.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.file, first.line, first.field, first.reason)
        self.problems = tuple(problems)
        self.args = ("\n".join(str(problem) for problem in problems),)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt from `args`, which holds the text and not the problems.
        return type(self), (self.problems,)


OnError: TypeAlias = Callable[[InvalidRowError], object]
"""What readers call with a row that they cannot read, before they go on to the next."""


def raise_error(error: InvalidRowError) -> NoReturn:
    """Stop at the first bad row: the readers' default."""
    raise error


def one_problem(file: str, line: int, field: str, kind: str, reason: str) -> InvalidRowError:
    """The error of a row with a single problem."""
    return InvalidRowError([Problem(file, line, field, kind, reason)])


def other_names(problems: Sequence[Problem], unread: Collection[str]) -> str:
    """What to do where rows lack a column and have columns that are not read; empty where that is not so."""
    lacking = [problem.field or "chosen" for problem in problems if problem.kind in (MISSING_FIELD, NOTHING_TO_LEARN)]
    ours = next((name for name in lacking if name in {*row_columns(), *SCORING_COLUMNS}), None)
    if ours is None or not unread:
        return ""
    if not {"conversations", "conversation"}.isdisjoint(unread):
        return (
            "Rows with 'conversations' are read by the recipe sharegpt: recipe: sharegpt of a source in a "
            "configuration, --recipe sharegpt of the other commands."
        )
    named = [f"'{name}'" for name in unread]
    shown = ", ".join(named[:MAX_NAMED]) + (", ..." if len(named) > MAX_NAMED else "")
    return (
        f"Not read: {shown}. If one of them is '{ours}' "
        f"under another name, say --column {ours}=NAME (in a configuration, mapping: {{{ours}: NAME}})."
    )


def show(value: object, limit: int = 60) -> str:
    """The value as error messages print it: `repr`, shortened."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
