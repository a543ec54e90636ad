"""Results as plain values that every JSON reader takes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


def field_values(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, in order; their values are left as they are."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def json_ready(value: Any) -> Any:
    """Dataclasses as dicts, tuples as lists, NaN as None, infinities as the strings "inf" and "-inf".

    A dataclass whose JSON is not its fields alone says so by a method `json_fields`.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = value.json_fields() if hasattr(value, "json_fields") else field_values(value)
        return {name: json_ready(entry) for name, entry in entries.items()}
    if isinstance(value, dict):
        return {str(key): json_ready(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [json_ready(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
