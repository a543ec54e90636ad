"""The columns of the row schema, their renaming, and what rows have beside them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from vrm.errors import ConfigError
from vrm.labels import label_columns

SHARED_COLUMNS = ("tools", "chat_template_kwargs", "annotator", "source", "category")
JUDGE_COLUMNS = ("annotator", "source", "category")
"""Columns that may say who judged a row, or which group."""

SCORING_COLUMNS = ("prompt", "completion", "completions", "chosen", "rejected", *SHARED_COLUMNS)
"""Columns that are read from rows to be scored; labels are not."""

GOLD_COLUMN = "gold"
"""One number a completion, of rows for best-of-n."""


def row_columns() -> tuple[str, ...]:
    """Columns of rows that a model learns from or is evaluated on."""
    labels = [column.name for column in label_columns()]
    return ("prompt", "chosen", "rejected", "completions", *labels, *SHARED_COLUMNS)


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest allowed name, ignoring case; empty if none is close."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return f" Did you mean '{by_lower[close[0]]}'?" if close else ""


SHAREGPT = "That is ShareGPT's form: the recipe sharegpt reads such rows."
"""What messages say of rows with turns of `from` and `value`."""


def check_mapping(mapping: Mapping[str, str] | None) -> None:
    """Check that a mapping renames columns which the schema has, no two of them to the same one.

    Raises:
        ConfigError: a key is not a column of the schema, a value is not a column name, or two keys share a value.
    """
    allowed = {*row_columns(), *SCORING_COLUMNS, GOLD_COLUMN}
    used: dict[str, str] = {}
    for ours, theirs in (mapping or {}).items():
        if ours not in allowed:
            backwards = f" Is it the other way round, {theirs}: {ours}?" if theirs in allowed else ""
            hint = backwards or suggestion(ours, allowed)
            raise ConfigError(
                f"mapping: '{ours}' is not a column of the row schema.{hint} "
                f"Allowed keys are {', '.join(sorted(allowed))}; the values are the file's own column names."
            )
        if not isinstance(theirs, str) or not theirs:
            raise ConfigError(
                f"mapping: the value of '{ours}' is {theirs!r}; it must be the name of a column in the file."
            )
        if theirs in used:
            raise ConfigError(f"mapping: '{ours}' and '{used[theirs]}' both take the column '{theirs}'; use it once.")
        used[theirs] = ours


def rename(row: Mapping[str, Any], mapping: Mapping[str, str] | None, columns: Collection[str]) -> dict[str, Any]:
    """The row's values under the schema's names; columns that are absent or null are left out."""
    names = mapping or {}
    # A mapped-away name no longer means the schema's column, so `row[ours]` is not a fallback for `row[theirs]`.
    renamed = ((ours, row.get(names.get(ours, ours))) for ours in columns)
    return {ours: value for ours, value in renamed if value is not None}


def unknown_columns(
    row: Mapping[str, Any], mapping: Mapping[str, str] | None = None, columns: Iterable[str] | None = None
) -> list[str]:
    """Names of the row's columns that are not read although they hold something.

    Args:
        row: {column: value}.
        mapping: {schema's column: the row's column}, where they differ.
        columns: what is read; None for `row_columns`.
    """
    names = mapping or {}
    known = {names.get(ours, ours) for ours in (row_columns() if columns is None else columns)}
    return [str(name) for name, value in row.items() if name not in known and value is not None]
