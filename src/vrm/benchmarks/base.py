"""What a benchmark is: examples with a label of its own, and figures computed from the rewards of their completions."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vrm.benchmarks.outcomes import Outcomes
from vrm.choices import OnBadRows
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.errors import DataError
from vrm.metrics import DEFAULT_RESAMPLING, ResampleOptions

if TYPE_CHECKING:
    from rich.console import Console


MAX_PLACES = 5
LEFT_OUT, KEPT = "left out", "kept"
"""What becomes of an unusual row."""


@dataclass(frozen=True, slots=True)
class BenchmarkExample:
    """One prompt with the completions that a benchmark wants to see judged.

    Attributes:
        id: the benchmark's own where it has one, else a hash of the texts; unique in a loaded benchmark, and the same
            in whatever order the rows come.
        judgment: prompt and completions, without a label: nothing of it may be seen, or be dropped for being equal.
        labels: what the example is grouped by, such as {"section": "Chat", "subset": "alpacaeval-easy"}.
        better: pairs (i, j) of completions of which the benchmark calls the i-th the better one; empty for a tie.
        label: the benchmark's label as published.
        group: what intervals resample together; empty for the prompt.
    """

    id: str
    judgment: Judgment
    labels: dict[str, str]
    better: tuple[tuple[int, int], ...] = ()
    label: Any = None
    group: str = ""

    @property
    def prompt_group(self) -> str:
        """Equal for examples that are resampled together: those of one prompt, unless the benchmark groups wider."""
        return self.group or prompt_key(self.judgment)


@dataclass(frozen=True, slots=True)
class ExampleRewards:
    """What a model gives the completions of one example, in their order.

    Attributes:
        mean: E[r] (9) of each completion.
        std: the square root of (10) of each; zeros for heads without uncertainty.
        relative_std: standard deviation of each relative to the prompt's average completion, from `relative_moments`;
            empty where it was not computed.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    relative_std: tuple[float, ...] = ()


Rewards = Sequence[ExampleRewards | None]
"""One entry an example; None where the example was dropped as overlong, or refused by the chat template."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a part of a benchmark is on the Hub; `labels` are those that its rows do not carry themselves."""

    name: str
    split: str | None = None
    config: str | None = None
    data_dir: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


class UnusualRow(DataError):
    """A row that is left out; never seen by users, who read the counts.

    Attributes:
        reason: a few words, the same for all rows that have it.
        field: the offending field; empty for the whole row.
    """

    def __init__(self, reason: str, field: str = "") -> None:
        self.reason, self.field = reason, field
        super().__init__(f"field '{field}': {reason}" if field else reason)


@dataclass
class UnusualReason:
    """How often one thing occurred, and where: `places` are (file, row, field) of the first few."""

    action: str
    count: int = 0
    places: list[tuple[str, int, str]] = field(default_factory=list)


@dataclass
class UnusualRows:
    """Counts by reason. A row may be counted under several reasons, but is left out at most once.

    Attributes:
        reasons: {reason: how often and where}.
        left_out: rows that became no example.
    """

    reasons: dict[str, UnusualReason] = field(default_factory=dict)
    left_out: int = 0

    def add(self, reason: str, file: str, row: int, field: str = "", *, action: str = KEPT) -> None:
        """Count one."""
        self.left_out += action == LEFT_OUT
        entry = self.reasons.setdefault(reason, UnusualReason(action))
        entry.count += 1
        if len(entry.places) < MAX_PLACES:
            entry.places.append((file, row, field))

    def to_dict(self) -> dict[str, Any]:
        """{"left_out": rows, "reasons": {reason: {"count", "action", "places": [{"file", "row", "field"}]}}}."""
        return {
            "left_out": self.left_out,
            "reasons": {
                reason: {
                    "count": entry.count,
                    "action": entry.action,
                    "places": [dict(zip(("file", "row", "field"), place, strict=True)) for place in entry.places],
                }
                for reason, entry in sorted(self.reasons.items())
            },
        }

    def lines(self) -> list[str]:
        """A line a reason, for people."""
        lines = []
        for reason, entry in sorted(self.reasons.items(), key=lambda item: (item[1].action, -item[1].count, item[0])):
            file, row, name = entry.places[0]
            where = f"{file}:{row}" + (f", field '{name}'" if name else "")
            lines.append(f"{entry.count} {entry.action}: {reason} ({'first ' if entry.count > 1 else ''}{where})")
        return lines


@dataclass(frozen=True)
class LoadedBenchmark:
    """The examples of a benchmark, sorted by id, and everything that was odd about its rows.

    Attributes:
        name: of the benchmark.
        examples: to be judged.
        rows: rows read, unreadable ones included.
        unusual: rows left out, or kept in spite of something, by reason.
        files: what was read.
        notes: sentences about the whole, such as which part is absent.
    """

    name: str
    examples: tuple[BenchmarkExample, ...]
    rows: int
    unusual: UnusualRows
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What was read, as plain values without any text of an example."""
        return {
            "rows": self.rows,
            "examples": len(self.examples),
            "files": list(self.files),
            "unusual": self.unusual.to_dict(),
            "notes": list(self.notes),
        }


class Summary(Protocol):
    """Figures of one model on one benchmark, for machines and for people."""

    def print(self, console: Console, loaded: LoadedBenchmark) -> None:
        """Print the table, with what was unusual about the rows below it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """A benchmark by name. `loaded.examples` are what `outcomes` and `summarize` are called with.

    Attributes:
        name: what users write.
        title: what its authors call it.
        description: one line.
        equal_rewards: what completions of equal reward count, in words.
        hub: where it is read from without a path; empty where it is not on the Hub.
        on_bad_rows: what becomes of rows with faults, and of those that a chat template refuses; see
            `vrm.choices.OnBadRows`.
    """

    name: str
    title: str
    description: str
    equal_rewards: str
    hub: tuple[HubSource, ...] = ()
    on_bad_rows: str = OnBadRows.SKIP

    @abstractmethod
    def load(self, path: str | None) -> LoadedBenchmark:
        """Read a file or directory of the published format, or the Hub.

        Raises:
            DataError: there is no such source, or it is not of this benchmark's format (file, row and field named).
        """

    @abstractmethod
    def outcomes(self, examples: Sequence[BenchmarkExample], rewards: Rewards) -> Outcomes:
        """What each example adds to each figure: paired comparisons of two models read it."""

    @abstractmethod
    def summarize(
        self, examples: Sequence[BenchmarkExample], rewards: Rewards, options: ResampleOptions = DEFAULT_RESAMPLING
    ) -> Summary:
        """The benchmark's figures with intervals."""


def label_members(examples: Sequence[BenchmarkExample], name: str) -> dict[str, NDArray[np.bool_]]:
    """{value of a label: (n,) bool, its examples}; examples without the label are left out.

    Values are in sorted order, numbers before texts, and numbers in texts as numbers: "level 2" before "level 10".
    """
    values = [example.labels.get(name) for example in examples]
    known = sorted({value for value in values if value is not None}, key=_natural)
    return {value: np.array([own == value for own in values]) for value in known}


def _natural(value: str) -> tuple[bool, float, list[str | int], str]:
    """What sorts numbers as numbers; the value itself is last, so that "1" and "1.0" have an order too."""
    if re.fullmatch(r"-?\d+(\.\d+)?", value):
        return False, float(value), [], value
    parts = re.split(r"(\d+)", value)
    return True, 0.0, [int(part) if place % 2 else part for place, part in enumerate(parts)], value


def with_labels(labels: Mapping[str, str | None]) -> dict[str, str]:
    """The labels that have a value."""
    return {name: value for name, value in labels.items() if value}
