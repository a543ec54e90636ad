"""Sources read and checked into Arrow tables: once for each content, in several processes, with the same report."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vrm import __version__
from vrm.data.problems import Problem
from vrm.data.raters import merged_pair, pair_digest
from vrm.data.read_tables import hub_dataset, saved_dataset
from vrm.data.readers import Location, no_rows
from vrm.data.schema import Judgment
from vrm.data.shared_cache import ROWS, USED, Hold, has_room
from vrm.data.spans import Span, jsonl_spans, parquet_spans, row_spans
from vrm.data.splits import prompt_key
from vrm.data.stored.codec import encode
from vrm.data.stored.making import make_table
from vrm.data.stored.rows import StoredPart, StoredRows
from vrm.data.stored.tables import opened
from vrm.data.validation import RecipeCounts, ValidationReport
from vrm.labels import KINDS

FORMAT = 1
"""Of the tables; another number makes them anew."""

_HELD: dict[Path, Hold] = {}
"""Folders that this process reads, until it ends."""

_COLUMNS = {
    "row": "large_binary",
    "prompt_key": "string",
    "pair": "string",
    "members": "list<int64>",
    "report": "large_string",
}
_EMPTY = dict.fromkeys(_COLUMNS)

ReadRows = Callable[[Location, ValidationReport], Iterator[Judgment]]
"""Gives the good rows of a place, and counts them and the others in a report."""


class Plan(NamedTuple):
    """How a source is read.

    Attributes:
        cache: directory of all stored rows.
        whole: it is read in one piece, since its rows are not independent of each other.
        group_raters: whether rows of one pair by several annotators become one row.
    """

    cache: Path
    whole: bool
    group_raters: bool


class _Shard(NamedTuple):
    read: ReadRows
    location: Location


def stored_rows(
    location: Location, name: str, read: ReadRows, settings: dict[str, Any], plan: Plan
) -> tuple[StoredRows, ValidationReport]:
    """The rows of a source from the cache, which gets them where it has not, and the report on them.

    Args:
        location: of the source.
        name: of the source, for the report.
        read: gives its rows; a picklable call.
        settings: what the rows depend on beside the content, as JSON values.
        plan: how they are read, and where they are kept.
    """
    key = [FORMAT, __version__, sorted(KINDS), location.label, content_digest(location), settings]
    folder = plan.cache / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    if not folder.exists():
        _make_room(plan.cache, location)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds the texts
    (folder / USED).touch()
    _HELD.setdefault(folder, Hold(folder))

    def shards() -> list[_Shard]:
        spans: Iterable[Span | None] = [None] if plan.whole else _spans(location)
        return [_Shard(read, replace(location, span=span)) for span in spans]

    files = make_table(folder, "rows", _COLUMNS, _records, shards)
    table = opened(tuple(files))
    report = ValidationReport()
    for text in table.scan("report", table.present("report")):
        report.merge(_report(text))
    if not report.rows and not report.problems:
        report.add_bad(no_rows(location.label), name)
    numbers = table.present("row")
    if plan.group_raters and len(named := table.present("pair")):
        groups = _groups(table.values("pair", named), named)
        more = make_table(folder, "groups", _COLUMNS, _merged, lambda: [_Grouping(tuple(files), groups, name, report)])
        files, numbers, report = _regrouped(files, more, numbers)
    return StoredRows((StoredPart(folder, tuple(files), len(opened(tuple(files)))),), numbers), report


_GROWTH = 3
"""Size of rows and tokens in the cache, in that of the file."""


def _make_room(cache: Path, location: Location) -> None:
    """Delete what has not been used for longest, if the new rows would else go over the limit; they are kept anyway."""
    path = Path(location.path)
    files = [path] if path.is_file() else path.rglob("*") if path.is_dir() else []
    cache.mkdir(parents=True, exist_ok=True)
    has_room(cache, ROWS.limit(), _GROWTH * sum(file.stat().st_size for file in files if file.is_file()))


def content_digest(location: Location) -> str:
    """A hash of what a source holds: of all bytes of a file or directory, or the fingerprint of a `datasets` one."""
    path = Path(location.path)
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if path.is_dir():
        digest = hashlib.sha256(str(location.split).encode())
        for entry in sorted(entry for entry in path.rglob("*") if entry.is_file()):
            with entry.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            digest.update(str(entry.relative_to(path)).encode() + content)
        return digest.hexdigest()
    return str(_dataset(location)._fingerprint)


def _dataset(location: Location) -> Any:
    if location.format == "dataset":
        return saved_dataset(location.path, location.split)
    return hub_dataset(location.path, location.config, location.data_dir, location.split)


def _spans(location: Location) -> list[Span] | list[None]:
    path = Path(location.path)
    if location.format == "jsonl" and path.suffix != ".gz" and not _is_gzip(path):
        return jsonl_spans(path)
    if location.format == "parquet":
        return parquet_spans(location.path)
    return row_spans(len(_dataset(location))) if location.format in ("dataset", "hub") else [None]


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _records(shards: list[_Shard]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        report = ValidationReport()
        for row in shard.read(shard.location, report):
            yield _record(row) | {"pair": pair_digest(row)}
        yield _EMPTY | {"report": _text(report)}


def _record(row: Judgment) -> dict[str, Any]:
    return _EMPTY | {"row": encode(row), "prompt_key": prompt_key(row)}


_COUNTERS = ("good", "bad", "kinds", "ignored", "grouped", "groups")


def _text(report: ValidationReport) -> str:
    values: dict[str, Any] = {name: dict(getattr(report, name)) for name in _COUNTERS}
    recipes = {name: [made.read, made.made, dict(made.left_out)] for name, made in report.recipes.items()}
    return json.dumps({**values, "problems": list(map(asdict, report.problems)), "recipes": recipes})


def _report(text: str) -> ValidationReport:
    values = json.loads(text)
    counters = {name: Counter[str](values[name]) for name in _COUNTERS}
    recipes = {
        name: RecipeCounts(read, made, Counter(left_out)) for name, (read, made, left_out) in values["recipes"].items()
    }
    return ValidationReport(**counters, problems=[Problem(**entry) for entry in values["problems"]], recipes=recipes)


@dataclass(frozen=True)
class _Grouping:
    """Rows of equal pairs, and the report that counts each of them as a row of its own."""

    files: tuple[str, ...]
    groups: list[list[int]]
    name: str
    report: ValidationReport


def _groups(keys: list[str], numbers: np.ndarray) -> list[list[int]]:
    """Numbers of the rows of each pair that has several, in the order of the first."""
    _, inverse, counts = np.unique(np.array(keys), return_inverse=True, return_counts=True)
    several = np.flatnonzero(counts[inverse] > 1)
    members: dict[int, list[int]] = {}
    for place in several:
        members.setdefault(int(inverse[place]), []).append(int(numbers[place]))
    return list(members.values())


def _merged(shards: list[_Grouping]) -> Iterator[dict[str, Any]]:
    for grouping in shards:
        rows = StoredRows((StoredPart(Path(), grouping.files, 0),), np.arange(len(opened(grouping.files))))
        for members in grouping.groups:
            judgments = [rows[member] for member in members]
            merged = merged_pair(judgments)
            if merged is not None:
                grouping.report.add_group(judgments, merged, grouping.name)
                yield _record(merged) | {"members": members}
        yield _EMPTY | {"report": _text(grouping.report)}


def _regrouped(
    files: list[str], more: list[str], numbers: np.ndarray
) -> tuple[list[str], np.ndarray, ValidationReport]:
    """The files with merged rows behind, the rows with these in the place of the first member, and the report."""
    table, first = opened(tuple(more)), len(opened(tuple(files)))
    merged = table.present("members")
    place = np.arange(first)
    for row, members in zip(merged, table.values("members", merged), strict=True):
        place[members] = -1
        place[members[0]] = first + row
    kept = place[numbers]
    (text,) = table.scan("report", table.present("report"))
    return [*files, *more], kept[kept >= 0], _report(text)
