"""A benchmark put together from its parts: where it is, how a row is read, and what an example adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from vrm.benchmarks.base import Benchmark, BenchmarkExample, LoadedBenchmark, Rewards, Summary
from vrm.benchmarks.outcomes import Outcomes
from vrm.benchmarks.sources import Convert, Layout, find_sources, read_benchmark
from vrm.errors import DataError
from vrm.metrics import DEFAULT_RESAMPLING, ResampleOptions


@dataclass(frozen=True, kw_only=True)
class FileBenchmark(Benchmark):
    """A published benchmark, put together from its parts.

    Attributes:
        convert: from a row to its examples.
        measure: from examples and rewards to outcomes.
        layout: of a directory as published.
        notes: sentences about what was loaded, such as which part is absent.
    """

    convert: Convert
    measure: Callable[[Sequence[BenchmarkExample], Rewards], Outcomes]
    layout: Layout = field(default_factory=Layout)
    notes: Callable[[Sequence[BenchmarkExample]], list[str]] = lambda examples: []

    def load(self, path: str | None) -> LoadedBenchmark:
        """Read a file or directory of the published format, or the Hub; see `Benchmark.load`."""
        sources, notes = find_sources(self.name, path, self.hub, self.layout)
        try:
            loaded = read_benchmark(self.name, sources, self.convert)
        except DataError as error:
            if path is not None:
                raise
            raise DataError(f"{error} Its files can be given by their place too: {self.name}=PATH.") from error
        return replace(loaded, notes=(*notes, *self.notes(loaded.examples)))

    def outcomes(self, examples: Sequence[BenchmarkExample], rewards: Rewards) -> Outcomes:
        """What each example adds to each figure."""
        return self.measure(examples, rewards)

    def summarize(
        self, examples: Sequence[BenchmarkExample], rewards: Rewards, options: ResampleOptions = DEFAULT_RESAMPLING
    ) -> Summary:
        """The figures with intervals, what "the longer wins" scores, and length-controlled accuracies."""
        from vrm.benchmarks.summary import summarize_outcomes  # needs torch, which reading files does not

        return summarize_outcomes(self, examples, rewards, options)
