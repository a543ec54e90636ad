"""What a benchmark is: examples with a label of its own, and figures computed from the rewards of their completions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from vrm.benchmarks.outcomes import Outcomes
from vrm.benchmarks.unusual import UnusualRows
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.metrics import DEFAULT_RESAMPLING, ResampleOptions

if TYPE_CHECKING:
    from rich.console import Console


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
"""One entry an example; None where the example was dropped as overlong."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a part of a benchmark is on the Hub; `labels` are those that its rows do not carry themselves."""

    name: str
    split: str | None = None
    config: str | None = None
    data_dir: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


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
    """

    name: str
    title: str
    description: str
    equal_rewards: str
    hub: tuple[HubSource, ...] = ()

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


def label_values(examples: Sequence[BenchmarkExample], name: str) -> dict[str, list[int]]:
    """{value of a label: positions of its examples}, in sorted order; examples without the label are left out."""
    positions: dict[str, list[int]] = {}
    for position, example in enumerate(examples):
        if name in example.labels:
            positions.setdefault(example.labels[name], []).append(position)
    return {value: positions[value] for value in sorted(positions)}


def with_labels(labels: Mapping[str, str | None]) -> dict[str, str]:
    """The labels that have a value."""
    return {name: value for name, value in labels.items() if value}
