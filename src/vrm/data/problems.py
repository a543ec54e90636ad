"""What can be wrong with a row, and the error that carries every problem of one row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeAlias

from vrm.data.columns import SCORING_COLUMNS, row_columns
from vrm.errors import RowError

MISSING_FIELD, NOTHING_TO_LEARN = "missing field", "nothing to learn"
"""Kinds of the problems of rows that lack a column."""

NO_COMPLETIONS = " Nor are there 'chosen' and 'rejected', or 'completions'."
"""What is added where a row lacks its prompt and its completions."""

MAX_NAMED = 8
"""Columns that a message lists."""

_OTHER_NAMES = {
    **dict.fromkeys(("question", "instruction", "query", "input", "user_prompt"), "prompt"),
    **dict.fromkeys(("better", "preferred", "winner", "accepted", "chosen_response", "response_chosen"), "chosen"),
    **dict.fromkeys(("worse", "dispreferred", "loser", "rejected_response", "response_rejected"), "rejected"),
    **dict.fromkeys(("response", "answer", "output", "reply"), "completion"),
    **dict.fromkeys(("responses", "answers", "outputs", "candidates"), "completions"),
}
"""What others call the columns that rows cannot do without."""


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
    lacking = _lacking(problems)
    if not lacking or not unread:
        return ""
    if not {"conversations", "conversation"}.isdisjoint(unread):
        return (
            "Rows with 'conversations' are read by the recipe sharegpt: recipe: sharegpt of a source in a "
            "configuration, --recipe sharegpt of the other commands."
        )
    named = [f"'{name}'" for name in unread]
    shown = ", ".join(named[:MAX_NAMED]) + (", ..." if len(named) > MAX_NAMED else "")
    meant: dict[str, str] = {}
    for theirs in unread:
        meant.setdefault(_OTHER_NAMES.get(theirs.lower(), ""), theirs)
    for given in (["chosen", "rejected"], ["completions"]):
        if set(given) <= set(meant) and "completion" in lacking:
            lacking = [name for name in lacking if name != "completion"] + given
    renamed = {name: meant.get(name, "NAME") for name in (*SCORING_COLUMNS, *row_columns()) if name in lacking}
    ours = ", ".join(f"'{name}'" for name in renamed)
    one = f"If one of them is {ours} under another name" if len(renamed) == 1 else f"If they are {ours} by other names"
    options = " ".join(f"--column {name}={theirs}" for name, theirs in renamed.items())
    pairs = ", ".join(f"{name}: {theirs}" for name, theirs in renamed.items())
    return f"Not read: {shown}. {one}, say {options} (in a configuration, mapping: {{{pairs}}})."


def _lacking(problems: Sequence[Problem]) -> list[str]:
    """The columns that rows lack, each once; a row without anything to learn from lacks both sides."""
    known = {*row_columns(), *SCORING_COLUMNS}
    found: dict[str, None] = {}
    for problem in problems:
        if problem.kind in (MISSING_FIELD, NOTHING_TO_LEARN):
            sides = [] if problem.field and not problem.reason.endswith(NO_COMPLETIONS) else ["chosen", "rejected"]
            fields = [problem.field, *sides]
            found.update(dict.fromkeys(field for field in fields if field in known))
    return list(found)


def together(problems: Sequence[Problem]) -> list[tuple[Problem, int]]:
    """Problems of a file that read the same: the first of each, in their order, and how many there are."""
    counts: dict[Problem, int] = {}
    first: dict[Problem, Problem] = {}
    for problem in problems:
        placeless = replace(problem, line=0)
        first.setdefault(placeless, problem)
        counts[placeless] = counts.get(placeless, 0) + 1
    return [(first[same], count) for same, count in counts.items()]


def show(value: object, limit: int = 60) -> str:
    """The value as error messages print it: `repr`, shortened."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
