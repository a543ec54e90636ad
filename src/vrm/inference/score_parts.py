"""Scoring a directory of files, its parts: one output file for each, and an interrupted run goes on with the next."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vrm.data.load import Source
from vrm.data.readers import data_files
from vrm.errors import DataError
from vrm.files import UNFINISHED, holds_something, new_file_name, remove_unfinished, write_text, writing
from vrm.inference.score import Input, ScoreOptions
from vrm.inference.score_output import ScoreFile, ScoreSink, check_continuable, write_scores

PROGRESS = ".vrm-score.json"
"""Beside the parts until all are written: the settings they are written under. Readers of directories pass it over."""


class ScoredParts:
    """The parts of an input directory and what becomes of them in an output directory.

    A Parquet part becomes a Parquet file of the same name, written whole; any other becomes JSON lines, which are
    continued within the part. Parts that are there already, of a run with the same settings, are not scored again.

    Args:
        settings: all that the output depends on, of `scoring_settings`.
        source: a directory of data files, its mapping or recipe.
        output: a directory, which is made.
        overwrite: start anew, also where the output holds something.

    Raises:
        DataError: there is no data file, two parts would be one file, the output is complete or was begun under other
            settings, or another process writes to it.
    """

    def __init__(self, settings: Mapping[str, Any], source: Source, output: Path, overwrite: bool = False) -> None:
        self.settings, self.source, self.output = settings, source, output
        folder = Path(source.path)
        self.parts = {file: output / _scored_name(file.relative_to(folder)) for file in data_files(folder)}
        self._rewards: dict[str, Any] = {}
        self._check_parts(folder)
        output.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(output / f"{PROGRESS}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"{output}: another process is writing to it") from None
        try:
            self._begin(overwrite)
        except BaseException:
            self._lock.release()
            raise

    def _begin(self, overwrite: bool) -> None:
        # Names of this package are its lock, its notes, and what a run has left that was killed before its notes.
        there = any(not entry.name.startswith(UNFINISHED) for entry in self.output.iterdir())
        if not overwrite and (there or (self.output / PROGRESS).exists()):
            check_continuable(self.output, self.output / PROGRESS, self.settings)
        for folder in {self.output, *(target.parent for target in self.parts.values())}:
            remove_unfinished(folder)
        text = json.dumps({"settings": self.settings}, indent=1, sort_keys=True) + "\n"
        if overwrite:
            # Parts of other settings must not be taken for some of these.
            for target in self.parts.values():
                target.unlink(missing_ok=True)
        write_text(self.output / PROGRESS, text)

    def _check_parts(self, folder: Path) -> None:
        if folder.resolve() in self.output.resolve().parents:
            raise DataError(f"{self.output} lies in the input, of which its files would be parts; choose another place")
        if not self.parts:
            raise DataError(f"{folder}: there is no data file in it")
        names = list(self.parts.values())
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{folder}: several parts would become {twice[0]}; give their files different names")

    def left(self) -> list[Path]:
        """The parts that are not written, or not to their end."""
        return [
            part for part, target in self.parts.items() if not holds_something(target) or _progress(target).exists()
        ]

    def inputs(self, parts: Iterable[Path]) -> list[Input]:
        """Parts as sources, each with the number of its rows that are written already."""
        return [(replace(self.source, path=part), self._rows_done(part)) for part in parts]

    def _rows_done(self, part: Path) -> int:
        if not _progress(self.parts[part]).exists():
            return 0
        sink = self._sink(part)
        sink.close()
        return sink.rows_done

    def write(
        self, part: Path, windows: Iterable[Sequence[Mapping[str, Any]]], progress: Callable[[], object] | None = None
    ) -> None:
        """Write one part.

        Args:
            part: one of the input.
            windows: its output rows in lists, without those that are written already.
            progress: called after each window.
        """
        write_scores(windows, self._sink(part), progress)

    def _sink(self, part: Path) -> ScoreSink:
        target = self.parts[part]
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".parquet":
            return ParquetSink(target, self._copied(part), self._rewards)
        return ScoreFile(target, self.settings)

    def complete(self) -> None:
        """All parts are written: nothing tells any more that something is left."""
        (self.output / PROGRESS).unlink(missing_ok=True)
        Path(self._lock.lock_file).unlink(missing_ok=True)

    def close(self) -> None:
        """Let another run go on, if anything is left."""
        self._lock.release()

    def _copied(self, part: Path) -> dict[str, Any]:
        """Types of the columns that come from the input."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        given, columns = pq.read_schema(part), {"error": pa.string()}
        if "id" in given.names:
            columns["id"] = _plain(given.field("id").type)
        keep = ScoreOptions(keep=tuple(self.settings["keep"])).kept(given.names)
        if keep:
            kinds = [_plain(given.field(name).type) if name in given.names else pa.null() for name in keep]
            columns["input"] = pa.struct(list(zip(keep, kinds, strict=True)))
        return columns


class ParquetSink(ScoreSink):
    """Rows to a Parquet file, which takes its name when it is complete.

    Args:
        path: of the file.
        copied: types of the columns that come from the input.
        rewards: types of the others, as the first row with rewards shows them; filled by the first file that has one.
    """

    def __init__(self, path: Path, copied: Mapping[str, Any], rewards: dict[str, Any]) -> None:
        self.path, self.name, self.rows_done = path, str(path), 0
        self._copied, self._rewards = copied, rewards
        self._new, self._waiting = new_file_name(path), list[Mapping[str, Any]]()
        self._writer: Any = None

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as a row group; rows before the first with rewards wait for it.

        Raises:
            DataError: a value is not of its column's type in the input.
        """
        self._waiting += rows
        scored = next((row for row in rows if "error" not in row), None)
        if scored is not None and not self._rewards:
            self._rewards |= _types({name: value for name, value in scored.items() if name not in self._copied})
        if self._rewards:
            self._write_waiting()
        self.rows_done += len(rows)

    def _write_waiting(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema({"line": pa.int64(), **self._rewards, **self._copied})
        try:
            table = pa.Table.from_pylist([dict(row) for row in self._waiting], schema=schema)
        except pa.ArrowException as error:
            raise DataError(f"{self.path}: a column cannot be written: {error}; keep fewer columns") from error
        with writing(self.name):
            self._writer = self._writer or pq.ParquetWriter(self._new, schema)
            self._writer.write_table(table)
        self._waiting.clear()

    def complete(self) -> None:
        """Give the file its name."""
        if self._waiting or self._writer is None:
            self._write_waiting()
        with writing(self.name):
            self._writer.close()
            self._new.replace(self.path)

    def close(self) -> None:
        """Remove what is not complete."""
        if self._writer is not None:
            self._writer.close()
        self._new.unlink(missing_ok=True)


def _types(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arrow's types of the fields of a scored row; a number where there is nothing."""
    import pyarrow as pa

    fields = pa.Table.from_pylist([dict(values)]).schema
    return {field.name: pa.float64() if pa.types.is_null(field.type) else field.type for field in fields}


def _scored_name(part: Path) -> Path:
    if part.suffix == ".parquet":
        return part
    name = part.name.removesuffix(".gz")
    return part.with_name(name.removesuffix(Path(name).suffix) + ".jsonl")


def _progress(target: Path) -> Path:
    return target.with_name(f"{target.name}.progress.json")


def _plain(kind: Any) -> Any:
    """The type of a column as scoring copies it: dates, decimals and bytes become texts."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type))
    kept = types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind)
    return kind if kept else pa.string()
