"""JSON of rows: what a text holds, what JSON itself forbids in it, and documents that hold several rows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from vrm.data.problems import InvalidRowError, Problem, one_problem, show
from vrm.user_files import times

DUPLICATE_KEY, TOO_DEEP = "duplicate key", "nested too deep"
MAX_DEPTH = 100
"""Lists and objects inside each other that a row may have; what reads rows goes into each of them."""

_MARK = re.compile(r'"(?:[^"\\]|\\.)*"?|\ufeff', re.DOTALL)


class RepeatedKeys(dict[str, Any]):
    """An object that gives a key more than once; it holds the last value of each, and counts them in `repeated`."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.repeated = {key: count for key, count in counts.items() if count > 1}


def loads(text: str) -> tuple[Any, bool]:
    """The JSON value, and whether it has faults: NaN or Infinity, which are no JSON, a key twice, too deep a nesting.

    Byte order marks outside of strings are skipped.

    Raises:
        ValueError, RecursionError: the text is not JSON.
    """
    suspect = False

    def constant(name: str) -> float:
        nonlocal suspect
        suspect = True
        return float(name)

    def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal suspect
        value = dict(entries)
        if len(value) == len(entries):
            return value
        suspect = True
        return RepeatedKeys(entries)

    try:
        value = json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
    except json.JSONDecodeError:
        if "\ufeff" not in text:
            raise
        suspect = False
        value = json.loads(_MARK.sub(_blank_mark, text), parse_constant=constant, object_pairs_hook=pairs)
    return value, suspect or (text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value))


def _is_deep(value: Any) -> bool:
    inside = [value]
    for _ in range(MAX_DEPTH + 1):
        entries = chain.from_iterable(each.values() if isinstance(each, dict) else each for each in inside)
        inside = [entry for entry in entries if isinstance(entry, dict | list)]
        if not inside:
            return False
    return True


def _blank_mark(found: re.Match[str]) -> str:
    """A string as it is; a space for a byte order mark between values, as joined texts have them."""
    return " " if found[0] == "\ufeff" else found[0]


def decode(text: str, file: str, line: int) -> tuple[Any, bool]:
    """`loads`; raises `InvalidRowError` if it is not JSON. `line` is that of the text's first character."""
    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        place = line + getattr(error, "lineno", 1) - 1
        raise one_problem(file, place, "", "invalid JSON", json_reason(error)) from None


def checked_object(value: Any, suspect: bool, file: str, line: int) -> dict[str, Any]:
    """The value if it is a row; raises `InvalidRowError` for one that is no object, or has faults."""
    if not isinstance(value, dict):
        reason = f"{show(value)} is a {type(value).__name__}; a row is a JSON object {{column: value}}."
        raise one_problem(file, line, "", "not an object", reason)
    problems = [Problem(file, line, *fault) for fault in faults(value)] if suspect else []
    if problems:
        raise InvalidRowError(problems)
    return value


def faults(value: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """Field, kind and reason of what JSON forbids inside a value, though Python reads it, and of what is too deep."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        yield place, "not finite", f"{value} is not JSON; use null for a missing value."
    elif depth > MAX_DEPTH and isinstance(value, dict | list):
        yield (
            place.partition("[")[0].partition(".")[0],
            TOO_DEEP,
            f"more than {MAX_DEPTH} lists or objects in each other.",
        )
    elif isinstance(value, dict):
        if isinstance(value, RepeatedKeys):
            for key, count in value.repeated.items():
                yield _inside(place, key), DUPLICATE_KEY, f"the key '{key}' is given {times(count)}; keep one of them."
        for key, entry in value.items():
            yield from faults(entry, _inside(place, key), depth + 1)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from faults(entry, f"{place}[{index}]", depth + 1)


def repeated_keys(value: Any, suspect: bool) -> list[tuple[str, str]]:
    """Place and reason of every key that is given more than once, and of what is too deep.

    Value and `suspect` are as `loads` gives them.
    """
    kinds = (DUPLICATE_KEY, TOO_DEEP)
    return [(place, reason) for place, kind, reason in faults(value) if kind in kinds] if suspect else []


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def json_reason(error: Exception) -> str:
    """What is wrong with a text that is no JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON: {error.msg.removesuffix(' at')} at column {error.colno}."
    return f"not readable as JSON: {type(error).__name__}: {str(error)[:120]}."


def document_rows(document: Any) -> list[Any]:
    """The rows of a JSON document: its list, that under `data`, those of columns side by side, or the document itself.

    Columns side by side are what `DataFrame.to_json` and `Dataset.to_dict` write: `{"prompt": [...], "chosen": [...]}`,
    or with an object `{"0": ..., "1": ...}` in the place of each list. The other forms of pandas are read too.
    """
    if isinstance(document, list):
        return document
    if not isinstance(document, dict) or isinstance(document, RepeatedKeys):
        return [document]
    data, names = document.get("data"), document.get("columns")
    if isinstance(data, list):
        if isinstance(names, list) and all(isinstance(row, list) and len(row) == len(names) for row in data):
            return [dict(zip(names, row, strict=True)) for row in data]
        return data
    if _all_numbered(document) and all(isinstance(row, dict) for row in document.values()):
        return list(document.values())
    return column_rows(document) or [document]


def column_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of an object that holds one list a column, all of one length; empty if it is anything else."""
    columns = {name: _column(name, value) for name, value in document.items()}
    lists = [entries for entries in columns.values() if entries is not None]
    indexes = {tuple(value) for value in document.values() if isinstance(value, dict)}
    if len(lists) < max(2, len(columns)) or len({len(entries) for entries in lists}) > 1 or len(indexes) > 1:
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def _column(name: str, value: Any) -> list[Any] | None:
    """The entries of a column; None for what is a value of one row: a text, a conversation, a list of completions."""
    if isinstance(value, dict):
        return list(value.values()) if _all_numbered(value) and not isinstance(value, RepeatedKeys) else None
    if not isinstance(value, list):
        return None
    is_conversation = any(isinstance(entry, dict) and not {"role", "from"}.isdisjoint(entry) for entry in value)
    is_one_row = name == "completions" and any(isinstance(entry, str) for entry in value)
    return None if is_conversation or is_one_row else value


def _all_numbered(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(key.isdigit() for key in value)
