"""Readers of line-based and JSON text: JSONL, JSON and CSV, from streams of bytes that may break off."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, TypeAlias

from vrm.data.problems import InvalidRowError, OnError, Problem, one_problem, show
from vrm.labels import label_columns

Rows: TypeAlias = Iterator[tuple[int, dict[str, Any]]]
"""Rows with their 1-based numbers: lines of JSONL and CSV (a record's first line), else the row's position."""

_BOM = b"\xef\xbb\xbf"
_CELL_LIMIT = 2**30


def read_jsonl(stream: BinaryIO, file: str, on_error: OnError) -> Rows:
    """One JSON object a line; blank lines are no rows. A bad line is reported and the next is read."""
    for number, line in _numbered_lines(stream, file, on_error):
        if not line.strip():
            continue
        try:
            yield number, decode_object(_decode_line(line, file, number), file, number)
        except InvalidRowError as error:
            on_error(error)


def read_json(stream: BinaryIO, file: str, on_error: OnError) -> Rows:
    """A list of rows, an object {"data": [rows]}, one row, or (files named so by mistake) one object a line.

    The whole file is read into memory; JSONL is not.
    """
    try:
        data = stream.read()
    except (EOFError, OSError, zlib.error) as error:
        on_error(_broken_stream(file, 0, error))
        return
    # Only the text up to the bad place could be trusted, and a JSON document cannot be read in part.
    try:
        text = data.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        on_error(_not_utf8(file, line, error))
        return
    if not text.strip():
        return
    yield from _json_rows(text, file, on_error)


def _json_rows(text: str, file: str, on_error: OnError) -> Rows:
    try:
        document, has_constants = _loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and text.lstrip().startswith("{"):
            yield from read_jsonl(io.BytesIO(text.encode()), file, on_error)
        else:
            on_error(one_problem(file, getattr(error, "lineno", 0), "", "invalid JSON", _json_reason(error)))
        return
    inner = document.get("data") if isinstance(document, dict) else document
    rows = inner if isinstance(inner, list) else [document]
    for number, row in enumerate(rows, start=1):
        try:
            yield number, _checked_object(row, has_constants, file, number)
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
            on_error(
                one_problem(file, start, "", "invalid CSV", f"{error}; quote cells that hold quotes or line ends.")
            )
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
        value, _ = _loads(cell)
    except (ValueError, RecursionError):
        return cell
    return value if all(isinstance(entry, dict) and "role" in entry for entry in value) else cell


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
        value, has_constants = _loads(cell)
    except json.JSONDecodeError as error:
        raise ValueError(f"the cell must hold JSON ({error.msg} at character {error.pos}).") from None
    if has_constants:
        raise ValueError("NaN and Infinity are not JSON; use null for a missing value.")
    return value


def decode_object(text: str, file: str, line: int) -> dict[str, Any]:
    """A row from its JSON text; raises `InvalidRowError` if it is not JSON, or not an object."""
    try:
        value, has_constants = _loads(text)
    except (ValueError, RecursionError) as error:
        raise one_problem(file, line, "", "invalid JSON", _json_reason(error)) from None
    return _checked_object(value, has_constants, file, line)


def _loads(text: str) -> tuple[Any, bool]:
    """The JSON value, and whether NaN or Infinity, which are no JSON, stood in it."""
    constants: list[str] = []

    def constant(name: str) -> float:
        constants.append(name)
        return float(name)

    return json.loads(text, parse_constant=constant), bool(constants)


def _checked_object(value: Any, has_constants: bool, file: str, line: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        reason = f"{show(value)} is a {type(value).__name__}; a row is a JSON object {{column: value}}."
        raise one_problem(file, line, "", "not an object", reason)
    if has_constants:
        problems = [
            Problem(file, line, place, "not finite", f"{constant} is not JSON; use null for a missing value.")
            for place, constant in _non_finite(value, "")
        ]
        if problems:
            raise InvalidRowError(problems)
    return value


def _non_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        yield place, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _non_finite(entry, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _non_finite(entry, f"{place}[{index}]")


def _json_reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON: {error.msg} at column {error.colno}."
    return f"not readable as JSON: {type(error).__name__}: {str(error)[:120]}."


def _numbered_lines(stream: BinaryIO, file: str, on_error: OnError) -> Iterator[tuple[int, bytes]]:
    number = 0
    while True:
        try:
            line = stream.readline()
        except (EOFError, OSError, zlib.error) as error:
            on_error(_broken_stream(file, number + 1, error))
            return
        if not line:
            return
        number += 1
        yield number, line.removeprefix(_BOM) if number == 1 else line


def _decode_line(line: bytes, file: str, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(file, number, error) from None


def _not_utf8(file: str, line: int, error: UnicodeDecodeError) -> InvalidRowError:
    start = error.object.rfind(b"\n", 0, error.start) + 1
    what = f"byte {error.start - start + 1} of the line is 0x{error.object[error.start]:02x} ({error.reason})"
    return one_problem(file, line, "", "not UTF-8", f"{what}; the file must be UTF-8 throughout.")


def _broken_stream(file: str, line: int, error: Exception) -> InvalidRowError:
    if isinstance(error, EOFError):
        return one_problem(
            file, line, "", "truncated gzip", "the gzip data breaks off here; fetch or write the file again."
        )
    return one_problem(file, line, "", "unreadable", f"the data cannot be read further: {error}.")
