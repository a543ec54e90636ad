"""One way to read rows from every kind of source: files, directories, standard input and the Hub."""

from __future__ import annotations

import difflib
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from vrm.data.problems import InvalidRowError, OnError, one_problem, raise_error
from vrm.data.read_tables import hub_dataset, numbered_rows, read_parquet, saved_dataset
from vrm.data.read_text import Rows, read_csv, read_json, read_jsonl
from vrm.data.spans import Span, SpanStream
from vrm.errors import DataError
from vrm.user_files import at_home, is_stream, not_utf8_reason, other_encoding

_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_SAVED_MARKS = ("dataset_dict.json", "state.json")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_ALLOWED = (
    "Sources are files (.jsonl, .json, .csv, .tsv, each also with .gz, and .parquet), directories written by "
    "`save_to_disk` or holding data files, '-' for standard input, pipes, and Hub names (OWNER/NAME or "
    "hub:OWNER/NAME/CONFIG); directories and Hub names take a split: PATH:SPLIT."
)
_STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_WHITESPACE = b" \t\r\n\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Location:
    """Where rows are, and how they are read.

    Attributes:
        format: `jsonl`, `json`, `csv`, `tsv`, `parquet`, `dataset` (saved directory), `hub`, `stdin`, or `stream` (a
            named pipe, a process substitution).
        path: path of the file or directory, or name on the Hub.
        split: split of a directory or Hub dataset.
        config: configuration of a Hub dataset.
        data_dir: folder of a Hub dataset.
        span: the part of it that is read; None for all of it.
    """

    format: str
    path: str
    split: str | None = None
    config: str | None = None
    data_dir: str | None = None
    span: Span | None = None

    @property
    def label(self) -> str:
        """What messages call it."""
        base = "<stdin>" if self.format == "stdin" else "/".join(filter(None, (self.path, self.config, self.data_dir)))
        return f"{base}:{self.split}" if self.split else base

    @property
    def comes_once(self) -> bool:
        """Whether the bytes can be read only once, so that two readings cannot be compared."""
        return self.format in ("stdin", "stream")

    @property
    def stem(self) -> str:
        """Name of the file without directory and format suffixes (`rmb.train` for `x/rmb.train.jsonl.gz`)."""
        if self.format in ("stdin", "hub") or self.path.startswith(("/dev/", "/proc/")):
            return self.label.strip("<>").rstrip("/").removeprefix("./")
        name = Path(self.path).name.removesuffix(".gz")
        stem = name.removesuffix(Path(name).suffix) if Path(name).suffix in _SUFFIXES else name
        return f"{stem}:{self.split}" if self.split else stem


def read_rows(
    path: str | Path,
    *,
    split: str | None = None,
    mapping: Mapping[str, str] | None = None,
    on_error: OnError = raise_error,
) -> Rows:
    """Iterate over the rows of a source as (number, {column: value}), without checking them against the schema.

    Rows are read as they are asked for, so a file may be larger than memory; JSON documents are the exception.
    Numbers are 1-based: lines for JSONL and CSV (a record's first), positions for the rest.

    Args:
        path: file, directory, `-` for standard input (JSONL or JSON, plain or gzip), or Hub name; see `locate`.
        split: split of a directory or Hub dataset; `path:split` says the same.
        mapping: {schema's column: the file's column}. Only CSV needs it here, to know which cells hold JSON.
        on_error: called with the `InvalidRowError` of each row that cannot be read, after which reading goes on where
            possible; raises it by default. A source without any row is such an error too.

    Raises:
        DataError: the source does not exist or its format is unknown.
        InvalidRowError: a row cannot be read and `on_error` was left as it is.
    """
    return read_location(locate(path, split), mapping=mapping, on_error=on_error)


def read_location(
    location: Location, *, mapping: Mapping[str, str] | None = None, on_error: OnError = raise_error
) -> Rows:
    """As `read_rows`, for a source that has been located."""
    empty = True

    def noted(error: InvalidRowError) -> None:
        nonlocal empty
        empty = False
        on_error(error)

    for row in _rows(location, mapping, noted):
        empty = False
        yield row
    if empty and location.span is None:
        on_error(no_rows(location.label))


def no_rows(label: str) -> InvalidRowError:
    """The error of a source without any row."""
    return one_problem(label, 0, "", "empty file", "there is not a single row in it.")


def _rows(location: Location, mapping: Mapping[str, str] | None, on_error: OnError) -> Rows:
    if location.format == "parquet":
        yield from read_parquet(location.path, on_error, location.span)
    elif location.format == "dataset":
        yield from numbered_rows(saved_dataset(location.path, location.split), location.span)
    elif location.format == "hub":
        loaded = hub_dataset(location.path, location.config, location.data_dir, location.split)
        yield from numbered_rows(loaded, location.span)
    else:
        with _open(location) as stream:
            yield from _text_rows(location, stream, mapping, on_error)


def _text_rows(location: Location, stream: BinaryIO, mapping: Mapping[str, str] | None, on_error: OnError) -> Rows:
    kind, encoding = location.format, other_encoding(_head(stream))
    if encoding is not None:
        on_error(one_problem(location.label, 0, "", "not UTF-8", not_utf8_reason(encoding)))
        return iter(())
    if location.comes_once:
        kind = _stream_format(location, stream)
    if kind == "parquet":
        reason = "Parquet is read from files alone, as its end comes first; save it to a file."
        on_error(one_problem(location.label, 0, "", "unreadable", reason))
        return iter(())
    if kind in ("csv", "tsv"):
        separator = "\t" if kind == "tsv" else ","
        return read_csv(stream, location.label, on_error, mapping=mapping, delimiter=separator)
    if kind == "json":
        return read_json(stream, location.label, on_error)
    return read_jsonl(stream, location.label, on_error, 0 if location.span is None else location.span.before)


def _stream_format(location: Location, stream: BinaryIO) -> str:
    """By the name that a pipe was given, else by the first bytes."""
    start = _first_bytes(stream)
    if start.startswith(_PARQUET):
        return "parquet"
    known = _SUFFIXES.get(Path(location.path.removesuffix(".gz")).suffix)
    return known or ("json" if start.startswith(b"[") else "jsonl")


def locate(path: str | Path, split: str | None = None) -> Location:
    """Decide what a source is, by what is on disk first and by its name second.

    Args:
        path: an existing file, pipe or directory; `-` or `/dev/stdin`; `directory:split`; `OWNER/NAME` or
            `OWNER/NAME:split` of the Hub, and with `hub:` in front also `hub:OWNER/NAME/CONFIG`.
        split: split of a directory or Hub dataset.

    Raises:
        DataError: there is no such source, its format is unknown, or it has no splits but one is asked for.
    """
    text = at_home(str(path))
    if text in _STANDARD_INPUT:
        return _without_split(Location("stdin", "-"), split)
    if text.startswith("hub:"):
        return _hub(text.removeprefix("hub:"), split)
    if Path(text).is_dir():
        is_saved = any((Path(text) / mark).exists() for mark in _SAVED_MARKS)
        return Location("dataset" if is_saved else "hub", text, split)
    if is_stream(text):
        return _without_split(Location("stream", text), split)
    if Path(text).exists():
        return _without_split(Location(_file_format(Path(text)), text), split)
    base, _, named = text.rpartition(":")
    if base and Path(base).exists():
        return locate(base, _one_split(text, named, split))
    if _HUB_NAME.fullmatch(base or text) and Path(text.removesuffix(".gz")).suffix not in _SUFFIXES:
        return _hub(text, split)
    raise DataError(f"there is no file or directory '{text}'.{_similar_file(Path(text))} {_ALLOWED}")


def data_files(folder: Path) -> list[Path]:
    """The files of a directory, and of those in it, that rows are read from, sorted; hidden ones are none."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        path
        for path in found
        if Path(path.name.removesuffix(".gz")).suffix in _SUFFIXES
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]


def _hub(name: str, split: str | None) -> Location:
    if Path(name).is_dir():
        return Location("hub", name, split)
    base, _, named = name.rpartition(":")
    if base:
        return _hub(base, _one_split(name, named, split))
    owner_and_name, config = name, None
    if name.count("/") == 2:
        owner_and_name, _, config = name.rpartition("/")
    return Location("hub", owner_and_name, split, config)


def _one_split(path: str, named: str, split: str | None) -> str:
    if split is not None and split != named:
        raise DataError(f"'{path}' names the split '{named}', but the split '{split}' is asked for; give one of them.")
    return named


def _without_split(location: Location, split: str | None) -> Location:
    if split is None:
        return location
    raise DataError(f"{location.label}: there are no splits in a file, so '{split}' cannot be chosen; leave it out.")


def _file_format(path: Path) -> str:
    with _opened(path) as raw:
        start = raw.read(4)
    is_gzip, name = start.startswith(_GZIP), path.name.removesuffix(".gz")
    known = _SUFFIXES.get(Path(name).suffix)
    if path.suffix == ".gz" and start and not is_gzip:
        raise DataError(f"{path}: named .gz, but it is not gzip data; rename it, or fetch it again.")
    if start == _PARQUET or known == "parquet":
        if start != _PARQUET:
            raise DataError(f"{path}: named .parquet, but it does not begin with the mark PAR1; fetch it again.")
        return "parquet"
    return known or _sniffed(path)


def _sniffed(path: Path) -> str:
    with _open(Location("unknown", str(path))) as stream:
        first, encoding = _first_bytes(stream)[:1], other_encoding(_head(stream))
    if encoding is not None:
        raise DataError(f"{path}: {not_utf8_reason(encoding)}")
    if first not in (b"{", b"["):
        raise DataError(f"{path}: the format is unknown, by its name and by its first bytes. {_ALLOWED}")
    return "json" if first == b"[" else "jsonl"


def _first_bytes(stream: BinaryIO) -> bytes:
    return _head(stream).lstrip(_WHITESPACE)


def _head(stream: BinaryIO) -> bytes:
    # Damaged data is reported by the reader, with its place; here it only has no beginning.
    try:
        return cast(io.BufferedReader, stream).peek(4096)[:4096]
    except (EOFError, OSError, zlib.error):
        return b""


def _similar_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" The directory '{path.parent}' does not exist either."
    close = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.7)
    return f" Did you mean '{path.parent / close[0]}'?" if close else ""


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}.") from error
    with stream:
        yield stream


@contextmanager
def _open(location: Location) -> Iterator[BinaryIO]:
    """The decompressed bytes; standard input is not closed."""
    if location.format == "stdin":
        if sys.stdin is None:
            raise DataError("<stdin>: standard input is closed; give a file, or leave it open.")
        buffered = io.BufferedReader(cast(io.RawIOBase, sys.stdin.buffer))
        try:
            yield _decompressed(buffered)
        finally:
            buffered.detach()
        return
    with _opened(Path(location.path)) as raw:
        if location.span is None:
            yield _decompressed(raw)
        else:
            yield cast(BinaryIO, io.BufferedReader(SpanStream(raw, location.span)))


def _decompressed(stream: BinaryIO) -> BinaryIO:
    if not cast(io.BufferedReader, stream).peek(2).startswith(_GZIP):
        return stream
    return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
