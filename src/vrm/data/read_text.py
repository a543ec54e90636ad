"""Readers of line-based and JSON text: JSONL, JSON and CSV, from streams of bytes that may break off."""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO, TypeAlias

from vrm.data.json_text import (
    checked_object,
    column_rows,
    decode,
    document_rows,
    faults,
    json_reason,
    loads,
    repeated_keys,
)
from vrm.data.problems import InvalidRowError, OnError, Problem, one_problem, show
from vrm.labels import label_columns
from vrm.user_files import without_bom

Rows: TypeAlias = Iterator[tuple[int, dict[str, Any]]]
"""Rows with their 1-based numbers: lines of JSONL and CSV (a record's first line), else the row's position."""

_CELL_LIMIT = 2**30
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]')


def read_jsonl(stream: BinaryIO, file: str, on_error: OnError, before: int = 0) -> Rows:
    """One JSON object a line; blank lines are no rows. A bad line is reported and the next is read.

    Objects printed over several lines are read too, each under the number of its first line. A text that begins with a
    list over several lines is one JSON document. `before` is the number of lines before the stream's first.
    """
    lines = _numbered_lines(stream, file, on_error, before)
    for number, line in lines:
        if line.strip():
            rest = chain([(number, line)], lines)
            if line.lstrip().startswith(b"[") and _breaks_off(line):
                yield from _list_or_lines(list(rest), file, on_error)
            else:
                yield from _json_lines(rest, file, on_error)


def _list_or_lines(lines: list[tuple[int, bytes]], file: str, on_error: OnError) -> Rows:
    """A list over several lines, or lines of which the first is the damaged one."""
    data = b"".join(line for _, line in lines)
    if _is_json(data) or not _has_row_in_line_2(data):
        return _json_document(data, file, on_error)
    return _json_lines(lines, file, on_error)


def _has_row_in_line_2(data: bytes) -> bool:
    """Whether the second line is an object by itself, as it is in JSONL and hardly in a document."""
    lines = data.split(b"\n", 2)
    return len(lines) > 1 and lines[1].strip().startswith(b"{") and _is_json(lines[1])


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _json_lines(lines: Iterable[tuple[int, bytes]], file: str, on_error: OnError) -> Rows:
    for number, data in _whole_values(lines):
        try:
            value, suspect = decode(_decode_line(data.rstrip(), file, number), file, number)
            rows = (column_rows(value) if isinstance(value, dict) else []) or [value]
            yield from _checked(((number, row) for row in rows), suspect, file, on_error)
        except InvalidRowError as error:
            on_error(error)


def _whole_values(lines: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, those of an object that goes over several lines put together."""
    start, block, depth, indent = 0, list[bytes](), 0, 0
    for number, line in lines:
        text = line.strip()
        if block and text.startswith(b"{") and len(text) > 1 and _indent(line) <= indent:
            # The next row begins here: the object before it has no end.
            yield start, b"".join(block)
            block.clear()
        if block:
            block.append(line)
            depth += _depth(line)
            if depth <= 0:
                yield start, b"".join(block)
                block.clear()
        elif text.startswith(b"{") and _breaks_off(line) and _depth(line) > 0:
            start, block, depth, indent = number, [line], _depth(line), _indent(line)
        elif text:
            yield number, line
    if block:
        yield start, b"".join(block)


def _depth(line: bytes) -> int:
    """Brackets that are opened less those that are closed, outside of strings."""
    marks = [mark for mark in _BRACKETS.findall(line) if len(mark) == 1]
    return sum(1 if mark in b"{[" else -1 for mark in marks)


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip())


def _breaks_off(data: bytes) -> bool:
    """Whether the JSON is right as far as it goes, and not at its end."""
    try:
        json.loads(data)
    except json.JSONDecodeError as error:
        return error.pos >= len(error.doc.rstrip())
    except (ValueError, RecursionError):
        pass
    return False


def read_json(stream: BinaryIO, file: str, on_error: OnError) -> Rows:
    """A list of rows, other forms of a document (see `document_rows`), or objects one after the other.

    The whole file is read into memory; JSONL is not.
    """
    try:
        data = stream.read()
    except (EOFError, OSError, zlib.error) as error:
        on_error(_broken_stream(file, 0, error))
        return
    yield from _json_document(data, file, on_error)


def _json_document(data: bytes, file: str, on_error: OnError) -> Rows:
    # Only the text up to the bad place could be trusted, and a JSON document cannot be read in part.
    try:
        text = _decode_line(without_bom(data), file, 1)
        if text.strip():
            yield from _document_rows(text, file, on_error)
    except InvalidRowError as error:
        on_error(error)


def _document_rows(text: str, file: str, on_error: OnError) -> Rows:
    try:
        document, suspect = loads(text)
    except (ValueError, RecursionError) as error:
        several = getattr(error, "msg", "") == "Extra data" and text.lstrip().startswith("{")
        if several or _has_row_in_line_2(text.encode()):
            yield from read_jsonl(io.BytesIO(text.encode()), file, on_error)
            return
        raise one_problem(file, getattr(error, "lineno", 0), "", "invalid JSON", json_reason(error)) from None
    yield from _checked(enumerate(document_rows(document), start=1), suspect, file, on_error)


def _checked(rows: Iterable[tuple[int, Any]], suspect: bool, file: str, on_error: OnError) -> Rows:
    for number, row in rows:
        try:
            yield number, checked_object(row, suspect, file, number)
        except InvalidRowError as error:
            on_error(error)


def read_csv(
    stream: BinaryIO, file: str, on_error: OnError, *, mapping: Mapping[str, str] | None = None, delimiter: str = ","
) -> Rows:
    """Comma- or tab-separated values with a header line; numbers are lines of the file.

    Cells of structured columns (`completions`, `ratings`, votes, ...) hold JSON, cells of text columns hold text or a
    JSON list of messages. An empty cell is a missing value, but for `prompt`, where it is an empty prompt.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _CELL_LIMIT))  # the default of 131,072 is a long completion
    bad: list[InvalidRowError] = []
    lines = _decoded(_numbered_lines(stream, file, on_error), file, bad)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    decoders = _cell_decoders(mapping or {})
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        bad.clear()
        try:
            cells = next(reader)
            if bad:
                raise bad[0]
            if header is None:
                header = _header(cells, file, start)
            elif cells:
                yield start, _csv_row(header, cells, decoders, file, start)
        except StopIteration:
            return
        except csv.Error as error:
            several = f" (lines {start} to {reader.line_num} are taken as this one record)"
            reason = f"{error}; quote cells that hold quotes or line ends{several if reader.line_num > start else ''}."
            on_error(one_problem(file, start, "", "invalid CSV", reason))
        except InvalidRowError as error:
            on_error(error)
            if header is None:
                return


def _decoded(lines: Iterable[tuple[int, bytes]], file: str, bad: list[InvalidRowError]) -> Iterator[str]:
    """Lines as text; of those that are not UTF-8 the fault is kept in `bad`, until their record is complete."""
    for number, line in lines:
        try:
            yield _decode_line(line, file, number)
        except InvalidRowError as error:
            bad.append(error)
            yield line.decode(errors="surrogateescape")


def _header(cells: list[str], file: str, line: int) -> list[str]:
    twice = sorted({name for name in cells if cells.count(name) > 1})
    if twice or not any(cells):
        what = f"names {', '.join(map(repr, twice))} more than once" if twice else "is empty"
        raise one_problem(
            file, line, "", "bad header", f"the header line {what}; every column needs a name of its own."
        )
    return cells


def _csv_row(
    header: list[str], cells: list[str], decoders: Mapping[str, Callable[[str], Any]], file: str, line: int
) -> dict[str, Any]:
    if len(cells) != len(header):
        reason = f"{len(cells)} cells, but the header names {len(header)} columns; quote cells that hold separators."
        raise one_problem(file, line, "", "lengths differ", reason)
    row: dict[str, Any] = {}
    problems = []
    for name, cell in zip(header, cells, strict=True):
        try:
            row[name] = decoders[name](cell) if name in decoders else cell or None
        except (ValueError, RecursionError) as error:
            problems.append(Problem(file, line, name, "invalid cell", f"{show(cell)}: {error}"))
    if problems:
        raise InvalidRowError(problems)
    return row


def _cell_decoders(mapping: Mapping[str, str]) -> dict[str, Callable[[str], Any]]:
    labels = label_columns()
    decoders: dict[str, Callable[[str], Any]] = {
        **dict.fromkeys(("completion", "chosen", "rejected"), _text_or_messages),
        **{column.name: _number_cell for column in labels if column.is_number},
        **dict.fromkeys(("completions", "tools", "chat_template_kwargs"), _json_cell),
        **{column.name: _json_cell for column in labels if not column.is_number},
        "prompt": lambda cell: _text_or_messages(cell) or "",
    }
    return {mapping.get(name, name): decode for name, decode in decoders.items()}


def _text_or_messages(cell: str) -> Any:
    """The cell's text, unless it is the JSON of a list of messages."""
    if not cell.lstrip().startswith("[{"):
        return cell or None
    try:
        value, suspect = loads(cell)
    except (ValueError, RecursionError):
        return cell
    if not all(isinstance(entry, dict) and "role" in entry for entry in value):
        return cell
    for place, reason in repeated_keys(value, suspect):
        raise ValueError(f"{place.lstrip('[0123456789].')}: {reason}")
    return value


def _number_cell(cell: str) -> float | None:
    if not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        raise ValueError("a number is needed.") from None


def _json_cell(cell: str) -> Any:
    if not cell.strip():
        return None
    try:
        value, suspect = loads(cell)
    except json.JSONDecodeError as error:
        raise ValueError(f"the cell must hold JSON ({error.msg} at character {error.pos}).") from None
    for _, _, reason in faults(value) if suspect else ():
        raise ValueError(reason)
    return value


def _numbered_lines(stream: BinaryIO, file: str, on_error: OnError, before: int = 0) -> Iterator[tuple[int, bytes]]:
    number = before
    while True:
        try:
            line = stream.readline()
        except (EOFError, OSError, zlib.error) as error:
            on_error(_broken_stream(file, number + 1, error))
            return
        if not line:
            return
        number += 1
        # Joined files have the mark of each of them.
        yield number, without_bom(line)


def _decode_line(line: bytes, file: str, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(file, number, error) from None


def _not_utf8(file: str, line: int, error: UnicodeDecodeError) -> InvalidRowError:
    line += error.object.count(b"\n", 0, error.start)
    start = error.object.rfind(b"\n", 0, error.start) + 1
    what = f"byte {error.start - start + 1} of the line is 0x{error.object[error.start]:02x} ({error.reason})"
    return one_problem(file, line, "", "not UTF-8", f"{what}; the file must be UTF-8 throughout.")


def _broken_stream(file: str, line: int, error: Exception) -> InvalidRowError:
    if isinstance(error, EOFError):
        return one_problem(
            file, line, "", "truncated gzip", "the gzip data breaks off here; fetch or write the file again."
        )
    return one_problem(file, line, "", "unreadable", f"the data cannot be read further: {error}.")
