"""Published benchmarks put together from parts: where the rows are, how each is read, what an example adds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vrm.benchmarks.base import (
    LEFT_OUT,
    Benchmark,
    BenchmarkExample,
    HubSource,
    LoadedBenchmark,
    Rewards,
    Summary,
    UnusualRow,
    UnusualRows,
)
from vrm.benchmarks.outcomes import Outcomes
from vrm.benchmarks.rows import BenchmarkRow, text_hash
from vrm.benchmarks.summary import summarize_outcomes
from vrm.data.json_text import DUPLICATE_KEY
from vrm.data.problems import InvalidRowError
from vrm.data.readers import Location, locate, read_location
from vrm.errors import DataError, RowError
from vrm.metrics import DEFAULT_RESAMPLING, ResampleOptions
from vrm.user_files import at_home

__all__ = ["FileBenchmark", "Layout", "SourceFile"]

_DATA_FILE = re.compile(r".+\.(?:jsonl|ndjson|json|parquet)(?:\.gz)?$")
_NOT_DATA = re.compile(r"(?:dataset_infos?|state|package|config)\.json$")
_ROW_FAULTS = ("not an object", "not finite", "invalid JSON", "not UTF-8", "bad row", DUPLICATE_KEY)

Convert = Callable[[BenchmarkRow], Iterable[BenchmarkExample]]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file (or Hub data set) and the labels that its name or place gives to its rows."""

    location: Location
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a benchmark's directory is laid out.

    Attributes:
        only: words; where files have one of them in their name (or, failing that, in a folder's), only these are read.
        path_labels: from a file's path to the labels of its rows.
    """

    only: tuple[str, ...] = ()
    path_labels: Callable[[Path], dict[str, str]] = lambda path: {}


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
        return summarize_outcomes(self, examples, rewards, options)


def find_sources(
    name: str, path: str | None, hub: Sequence[HubSource], layout: Layout
) -> tuple[list[SourceFile], list[str]]:
    """Files to read, and what to tell about files that are not read.

    Raises:
        DataError: the path does not exist or holds no data file, or there is no path and no data set on the Hub.
    """
    if path is None:
        if not hub:
            raise DataError(f"{name} is not on the Hub: download its files and give their place as {name}=PATH.")
        return [
            SourceFile(Location("hub", part.name, part.split, part.config, part.data_dir), part.labels) for part in hub
        ], []
    directory = Path(at_home(path))
    if not directory.is_dir() or locate(path).format == "dataset":
        location = _with_split(locate(path), hub)
        return [SourceFile(location, layout.path_labels(Path(location.path)))], []
    files = sorted(file for file in directory.rglob("*") if _is_data(file, directory))
    if not files:
        raise DataError(f"{path}: no data file (.json, .jsonl, .parquet, each also .gz) in this directory.")
    chosen = _chosen(files, directory, layout.only)
    notes = []
    if len(chosen) < len(files):
        skipped = [str(file.relative_to(directory)) for file in files if file not in chosen]
        shown = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
        notes.append(f"{len(skipped)} files in {path} are not of the {'/'.join(layout.only)} part: {shown}.")
    return [SourceFile(locate(file), layout.path_labels(file)) for file in chosen], notes


def _with_split(location: Location, hub: Sequence[HubSource]) -> Location:
    """A saved directory or a Hub name without a split gets the split that the benchmark is published under."""
    if location.format in ("dataset", "hub") and location.split is None and hub and hub[0].split:
        several = location.format == "hub" or (Path(location.path) / "dataset_dict.json").exists()
        return replace(location, split=hub[0].split) if several else location
    return location


def _is_data(file: Path, directory: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(directory).parts)
    return file.is_file() and not hidden and bool(_DATA_FILE.match(file.name)) and not _NOT_DATA.match(file.name)


def _chosen(files: Sequence[Path], directory: Path, only: tuple[str, ...]) -> list[Path]:
    if not only:
        return list(files)

    def words(text: str) -> set[str]:
        return set(re.split(r"[^a-z0-9]+", text.lower()))

    by_name = [file for file in files if words(file.name) & set(only)]
    by_folder = [file for file in files if words(str(file.parent.relative_to(directory))) & set(only)]
    return by_name or by_folder or list(files)


def read_benchmark(name: str, sources: Sequence[SourceFile], convert: Convert) -> LoadedBenchmark:
    """Read all rows of all files.

    Raises:
        DataError: a file cannot be read, is not made of rows, or not one of its rows can be used.
    """
    unusual = UnusualRows()
    examples: list[BenchmarkExample] = []
    rows = 0
    for source in sources:
        reading = _Reading(source, convert, unusual)
        examples += reading.examples()
        rows += reading.rows
    unique = list(_unique(examples, unusual))
    unique.sort(key=lambda example: example.id)
    return LoadedBenchmark(name, tuple(unique), rows, unusual, tuple(source.location.label for source in sources))


class _Reading:
    """One file being read; keeps its first fault, to be raised should no row be usable."""

    def __init__(self, source: SourceFile, convert: Convert, unusual: UnusualRows) -> None:
        self._source, self._convert, self._unusual = source, convert, unusual
        self._fault: RowError | None = None
        self.rows = 0

    def examples(self) -> list[BenchmarkExample]:
        file = self._source.location.label
        made: list[BenchmarkExample] = []
        for number, columns in read_location(self._source.location, on_error=self._unreadable):
            self.rows += 1
            row = BenchmarkRow(columns, file, number, self._source.labels, self._unusual)
            try:
                made += self._convert(row)
            except UnusualRow as left_out:
                self._unusual.add(left_out.reason, file, number, left_out.field, action=LEFT_OUT)
                reason = f"{left_out.reason}; the row has: {', '.join(map(str, columns)) or 'no field'}"
                self._fault = self._fault or RowError(file, number, left_out.field, reason)
        if not made:
            raise _unusable(self._fault, file, self.rows)
        return made

    def _unreadable(self, error: InvalidRowError) -> None:
        kind = error.problems[0].kind
        # What breaks off, or is no row at all, must not pass as a few rows less.
        if (
            not error.line
            or kind not in _ROW_FAULTS
            or (self._source.location.format == "json" and kind == "invalid JSON")
        ):
            raise error
        self.rows += 1
        self._unusual.add(f"row not readable: {kind}", error.file, error.line, error.field, action=LEFT_OUT)
        self._fault = self._fault or error


def _unusable(fault: RowError | None, file: str, rows: int) -> DataError:
    if fault is None:
        return DataError(f"{file}: not one of its {rows} rows belongs to this benchmark.")
    if rows == 1:
        return fault
    reason = f"{fault.reason}. None of the {rows} rows can be used: is this a file of this benchmark?"
    return RowError(fault.file, fault.line, fault.field, reason)


def _unique(examples: Iterable[BenchmarkExample], unusual: UnusualRows) -> Iterator[BenchmarkExample]:
    """Examples with ids of their own: one that occurs twice gets the hash of its texts, then a number, behind it."""
    listed = list(examples)
    counts = Counter(example.id for example in listed)
    seen: Counter[str] = Counter()
    for example in listed:
        if counts[example.id] == 1:
            yield example
            continue
        row = example.judgment
        digest = text_hash(row)
        seen[example.id] += 1
        if seen[example.id] > 1:
            unusual.add("id occurs before", row.file, row.line)
        base = example.id if example.id == digest else f"{example.id}~{digest}"
        seen[f"={base}"] += 1
        count = seen[f"={base}"]
        yield replace(example, id=base if count == 1 else f"{base}#{count}")
