"""Results as plain values that every JSON reader takes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


def json_ready(value: Any) -> Any:
    """Dataclasses as dicts, tuples as lists, NaN as None, infinities as the strings "inf" and "-inf"."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: json_ready(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): json_ready(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [json_ready(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
