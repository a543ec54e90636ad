"""A `Judgment` as bytes and back: JSON of what is set, with raters' judgments as lists."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

from vrm.data.schema import Judgment
from vrm.errors import DataError
from vrm.labels.judgments import RaterJudgment

_DEFAULTS = {
    field.name: field.default if field.default_factory is MISSING else field.default_factory()
    for field in fields(Judgment)
}
_RATER = ("annotator", "preference", "ratings", "objective_votes")


def encode(row: Judgment) -> bytes:
    """The row as bytes.

    Raises:
        DataError: it holds a value that JSON gives back as another (a date, a tuple, NaN).
    """
    values = {name: value for name, default in _DEFAULTS.items() if (value := getattr(row, name)) != default}
    if row.judgments is not None:
        values["judgments"] = [[getattr(judgment, name) for name in _RATER] for judgment in row.judgments]
    try:
        data = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError):
        data = b""
    if not data or decode(data) != row:
        raise DataError(
            f"{row.file}:{row.line}: the row holds a value that JSON gives back as another (a date, a tuple, NaN), so "
            "it cannot be kept on the disk. Make it a text, or keep the rows in memory (data.storage: memory)"
        )
    return data


def decode(data: bytes) -> Judgment:
    """The row that `encode` made these bytes of."""
    values: dict[str, Any] = json.loads(data.decode("utf-8", "surrogatepass"))
    if "judgments" in values:
        values["judgments"] = [RaterJudgment(*entry) for entry in values["judgments"]]
    return Judgment(**values)
