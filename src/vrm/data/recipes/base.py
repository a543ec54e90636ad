"""What a recipe is, what a conversion returns, and the row builders that all recipes share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from vrm.data.fields import is_blank
from vrm.data.style import says_nothing

Row: TypeAlias = dict[str, Any]
"""One row: of a published data set going in, of the row schema coming out."""

EMPTY_PROMPT = "row: empty message in the prompt"
EMPTY_SIDE = "row: empty completion"
IDENTICAL = "row: identical completions"
FEWER_THAN_TWO = "row: fewer than two usable completions"
HISTORIES_DIFFER = "row: the two sides do not share one prompt"
NO_FINAL_ASSISTANT = "row: does not end with an assistant turn"
EMPTY_COMPLETION = "completion: empty"
REPEATED_COMPLETION = "completion: repeats an earlier one of the list"


@dataclass(frozen=True, slots=True)
class Converted:
    """Rows made from one published row, and what was left out of them.

    Attributes:
        rows: zero or more rows of the row schema (docs/data.md).
        skipped: how often each reason applied. A reason begins with what was left out: `row:` (no row was made),
            `completion:` (the list is shorter) or `votes:` (the row has no votes). Never empty when `rows` is.
    """

    rows: list[Row]
    skipped: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)


def skip(reason: str) -> Converted:
    """No row, for one reason."""
    return Converted([], {reason: 1})


def merge(parts: Iterable[Converted]) -> Converted:
    """One conversion out of several."""
    rows: list[Row] = []
    skipped: Counter[str] = Counter()
    for part in parts:
        rows += part.rows
        skipped.update(part.skipped)
    return Converted(rows, dict(skipped))


def one_table(rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """The join of a data set that needs none: its rows as they are."""
    return (dict(row) for row in rows)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one published preference data set becomes rows of the row schema.

    Attributes:
        name: what users write, e.g. `helpsteer3`.
        hub_id: the data set on the Hugging Face Hub; None where only a local file is known.
        convert: maps one published (or joined) row to `Converted`; raises `RowError`, a `DataError`, naming the field,
            its value and what is allowed. Its `file` is the recipe's name in angle brackets and its `line` 0: a reader
            that knows better raises it anew with its own.
        description: what it becomes.
        leaves_out: what is dropped, and why.
        license_note: licence as far as known.
        objectives: names that ratings or votes of the converted rows may carry; empty if there are none.
        rating_range: lowest and highest rating, or None if the rows carry no ratings.
        splits: names of the splits on the hub, the one to train on first.
        hub_config: configuration to load (`name=` of `datasets.load_dataset`).
        hub_data_dir: folder to load (`data_dir=` of `datasets.load_dataset`).
        tables: configurations that `join` takes, in its order; empty for data sets of one table.
        join: turns the table (or `tables`) into the rows that `convert` takes. Most need none and get their rows back.
    """

    name: str
    hub_id: str | None
    convert: Callable[[Row], Converted]
    description: str
    leaves_out: str
    license_note: str = "see the dataset card"
    objectives: tuple[str, ...] = ()
    rating_range: tuple[float, float] | None = None
    splits: tuple[str, ...] = ("train",)
    hub_config: str | None = None
    hub_data_dir: str | None = None
    tables: tuple[str, ...] = ()
    join: Callable[..., Iterator[Row]] = one_table

    @property
    def needs_join(self) -> bool:
        """Whether rows must pass through `join` before `convert`."""
        return self.join is not one_table

    def convert_all(self, *tables: Iterable[Mapping[str, Any]]) -> Iterator[Converted]:
        """Join the table (or `self.tables`, in order) and convert row by row, lazily.

        Raises:
            RowError: from `join` or `convert`.
        """
        return map(self.convert, self.join(*tables))


def user(content: str) -> list[Row]:
    """A prompt of one user message."""
    return [{"role": "user", "content": content}]


def assistant(content: str) -> list[Row]:
    """A completion of one assistant message."""
    return [{"role": "assistant", "content": content}]


def has_blank(messages: Sequence[Row]) -> bool:
    """Whether a prompt has no message, or one (other than the system's) that says nothing."""
    return not messages or any(turn["role"] != "system" and is_blank([turn]) for turn in messages)


def pair(prompt: list[Row], first: str | list[Row], second: str | list[Row], **columns: Any) -> Converted:
    """A comparison row, or a counted skip if one of its texts is empty or both completions are the same.

    Args:
        prompt: messages up to the completions.
        first: the completion that becomes `chosen`, as the assistant's text or as messages.
        second: the one that becomes `rejected`.
        columns: further columns of the row; those that are None are left off.
    """
    if has_blank(prompt):
        return skip(EMPTY_PROMPT)
    chosen, rejected = (assistant(side) if isinstance(side, str) else side for side in (first, second))
    if is_blank(chosen[-1:]) or is_blank(rejected[-1:]):
        return skip(EMPTY_SIDE)
    if chosen == rejected:
        return skip(IDENTICAL)
    row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    return Converted([row | _present(columns)])


@dataclass(frozen=True, slots=True)
class Candidate:
    """One completion of a list, with its score (higher is better), its ratings, or both."""

    text: str
    score: float | None = None
    ratings: dict[str, float] | None = None


def ranked(prompt: list[Row], candidates: Sequence[Candidate | str], **columns: Any) -> Converted:
    """A row of a prompt and several completions with `scores`, `ratings` or both.

    Empty and repeated completions are left out and counted; with fewer than two left no row is made.

    Args:
        prompt: messages up to the completions.
        candidates: the completions, or for those that are left out the reason. All have a score or none has, and the
            same for ratings.
        columns: further columns of the row; those that are None are left off.
    """
    kept, skipped = _usable(candidates)
    if has_blank(prompt):
        left_out = Counter(candidate for candidate in candidates if isinstance(candidate, str))
        return Converted([], dict(Counter([EMPTY_PROMPT]) + left_out))
    if len(kept) < 2:
        return Converted([], dict(skipped + Counter([FEWER_THAN_TWO])))
    row: Row = {"prompt": prompt, "completions": [assistant(c.text) for c in kept]}
    if kept[0].score is not None:
        row["scores"] = [c.score for c in kept]
    if kept[0].ratings is not None:
        row["ratings"] = [c.ratings for c in kept]
    return Converted([row | _present(columns)], dict(skipped))


def _usable(candidates: Sequence[Candidate | str]) -> tuple[list[Candidate], Counter[str]]:
    kept: dict[str, Candidate] = {}
    skipped: Counter[str] = Counter()
    for candidate in candidates:
        if isinstance(candidate, str):
            skipped[candidate] += 1
        elif says_nothing(candidate.text):
            skipped[EMPTY_COMPLETION] += 1
        elif candidate.text in kept:
            skipped[REPEATED_COMPLETION] += 1
        else:
            kept[candidate.text] = candidate
    return list(kept.values()), skipped


def _present(columns: Mapping[str, Any]) -> Row:
    return {name: value for name, value in columns.items() if value is not None}
