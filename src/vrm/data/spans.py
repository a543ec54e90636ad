"""Parts of a source that can be read apart, by several processes, as if it were read from its beginning."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from vrm.user_files import without_bom

SPAN_BYTES = 32 << 20
"""Size of a part of a JSONL file, in bytes."""

SPAN_ROWS = 20_000
"""Size of a part of a Parquet file or of a dataset, in rows, unless one row group is larger."""


class Span(NamedTuple):
    """From where to where a source is read.

    Attributes:
        start: first byte of a JSONL file, first row group of a Parquet file, first row of a dataset.
        end: one behind the last.
        before: lines or rows before the first.
    """

    start: int
    end: int
    before: int


class SpanStream(io.RawIOBase):
    """The bytes of a file between two places."""

    def __init__(self, file: BinaryIO, span: Span) -> None:
        self._file, self._left = file, span.end - span.start
        file.seek(span.start)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer; 0 at the end."""
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


def jsonl_spans(path: Path, size: int = SPAN_BYTES) -> list[Span]:
    """Parts of a JSONL file, each of which begins with a row.

    A line that begins with a brace and goes on begins a row, whatever stands before it (`read_jsonl` takes an object
    that has no end until there for a broken one). A text that begins with a list may be one document, and is one part.
    """
    spans, start, before, lines, position, begun = [], 0, 0, 0, 0, False
    with path.open("rb") as file:
        for line in file:
            if not begun and (text := without_bom(line).strip()):
                begun = True
                if text.startswith(b"["):
                    return [Span(0, path.stat().st_size, 0)]
            if position - start >= size and line.startswith(b"{") and len(line.strip()) > 1:
                spans.append(Span(start, position, before))
                start, before = position, lines
            lines += 1
            position += len(line)
    return [*spans, Span(start, position, before)]


def parquet_spans(path: str, size: int = SPAN_ROWS) -> list[Span]:
    """Parts of a Parquet file by row groups; one part where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            counts = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
    except (pa.ArrowException, OSError):
        return [Span(0, 0, 0)]
    return list(_grouped(counts, size)) or [Span(0, 0, 0)]


def _grouped(counts: list[int], size: int) -> Iterator[Span]:
    start = before = taken = 0
    for group, count in enumerate(counts):
        taken += count
        if taken - before >= size or group == len(counts) - 1:
            yield Span(start, group + 1, before)
            start, before = group + 1, taken


def row_spans(count: int, size: int = SPAN_ROWS) -> list[Span]:
    """Parts of so many rows."""
    return [Span(first, min(first + size, count), first) for first in range(0, max(count, 1), size)]
