"""Parquet files with one column of another type, or with values that Arrow holds and Python does not."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from studies.drills.rows_parts.planted import Fate, Planted, sound
from studies.drills.rows_parts.reading import Expected

NOW = datetime.datetime(2024, 2, 29, 12, 0)
TWICE = pa.map_(pa.string(), pa.float64())


def _of(kind: Any, *values: Any) -> Callable[[int], Any]:
    """Every second entry one of the values in turn, the others null."""

    def array(size: int) -> Any:
        return pa.array([values[index // 2 % len(values)] if index % 2 else None for index in range(size)], kind)

    return array


def _raw(kind: Any, data: bytes) -> Callable[[int], Any]:
    """Texts of bytes that are none."""
    return lambda size: _of(pa.large_binary(), data)(size).cast(pa.large_binary()).view(kind)


COLUMNS: list[tuple[str, str, Callable[[int], Any], Fate]] = [
    *((name, "texts", _of(pa.string(), "1", "x"), Fate.BAD) for name in ("preference", "margin")),
    *((name, "booleans", _of(pa.bool_(), True), Fate.BAD) for name in ("preference", "margin")),
    *(
        (name, "decimals", _of(pa.decimal128(5, 2), decimal.Decimal("0.5")), Fate.BAD)
        for name in ("preference", "margin")
    ),
    *(
        (name, "dates", _of(pa.date32(), NOW.date()), Fate.BAD)
        for name in ("preference", "margin", "category", "annotator")
    ),
    *((name, "NaN", _of(pa.float64(), float("nan"), float("inf")), Fate.BAD) for name in ("preference", "margin")),
    *((name, "bytes", _of(pa.binary(), b"x"), Fate.BAD) for name in ("preference", "category", "source", "tools")),
    *(
        (name, "lists", _of(pa.list_(pa.float32()), [0.5]), Fate.BAD)
        for name in ("preference", "category", "chosen_ratings", "tools")
    ),
    *((name, "small whole numbers", _of(pa.uint8(), 0, 1), Fate.GOOD) for name in ("preference", "margin", "category")),
    ("preference", "halves", _of(pa.float16(), 0.5), Fate.GOOD),
    ("chosen_ratings", "an object", _of(pa.struct({"safety": pa.float64()}), {"safety": 2.0}), Fate.GOOD),
    ("chosen_ratings", "an object of texts", _of(pa.struct({"safety": pa.string()}), {"safety": "2"}), Fate.BAD),
    (
        "chosen_ratings",
        "an object of NaN",
        _of(pa.struct({"safety": pa.float64()}), {"safety": float("nan")}),
        Fate.BAD,
    ),
    *((name, "a map", _of(TWICE, [("safety", 2.0)]), Fate.GOOD) for name in ("chosen_ratings", "objective_votes")),
    *(
        (name, "a map with a key twice", _of(TWICE, [("safety", 2.0), ("safety", 1.0)]), Fate.BAD)
        for name in ("chosen_ratings", "objective_votes", "extra")
    ),
    ("objective_votes", "a map of numbers", _of(pa.map_(pa.int64(), pa.float64()), [(1, 2.0)]), Fate.BAD),
    (
        "judgments",
        "objects",
        _of(
            pa.list_(pa.struct({"preference": pa.float64(), "annotator": pa.int64()})),
            [{"preference": 1.0, "annotator": 3}],
        ),
        Fate.GOOD,
    ),
    (
        "judgments",
        "objects with another field",
        _of(
            pa.list_(pa.struct({"preference": pa.float64(), "when": pa.date32()})),
            [{"preference": 1.0, "when": NOW.date()}],
        ),
        Fate.BAD,
    ),
    ("category", "a dictionary", lambda size: _of(pa.string(), "x", "y")(size).dictionary_encode(), Fate.GOOD),
    ("category", "long texts", _of(pa.large_string(), "x"), Fate.GOOD),
    (
        "tools",
        "objects with dates",
        _of(pa.list_(pa.struct({"name": pa.string(), "when": pa.timestamp("us")})), [{"name": "f", "when": NOW}]),
        Fate.BAD,
    ),
    ("tools", "objects", _of(pa.list_(pa.struct({"name": pa.string()})), [{"name": "f"}]), Fate.GOOD),
    *(
        ("chat_template_kwargs", what, _of(pa.struct({"a": kind}), {"a": value}), Fate.BAD)
        for what, kind, value in (
            ("dates", pa.date32(), NOW.date()),
            ("NaN", pa.float64(), float("nan")),
            ("bytes", pa.binary(), b"x"),
            ("decimals", pa.decimal128(5, 2), decimal.Decimal(1)),
        )
    ),
    ("chat_template_kwargs", "an object", _of(pa.struct({"a": pa.int64()}), {"a": 1}), Fate.GOOD),
    ("extra", "moments", _of(pa.timestamp("ns", "UTC"), NOW), Fate.GOOD),
    ("extra", "spans of time", _of(pa.duration("s"), datetime.timedelta(1)), Fate.GOOD),
    ("extra", "binary", _of(pa.binary(), b"\xff\x00"), Fate.GOOD),
    ("extra", "moments of no calendar", _of(pa.timestamp("s"), 2**50), Fate.BAD),
    ("extra", "dates of no calendar", _of(pa.date32(), 2**30), Fate.BAD),
    ("extra", "spans of no calendar", _of(pa.duration("s"), 2**50), Fate.BAD),
    ("extra", "moments of no zone", _of(pa.timestamp("us", "Mars/Phobos"), NOW), Fate.BAD),
    ("extra", "times to the nanosecond", _of(pa.time64("ns"), 1), Fate.EITHER),
    ("extra", "moments to the nanosecond", _of(pa.timestamp("ns"), 1), Fate.EITHER),
    *(
        (name, "bytes that are no UTF-8", _raw(pa.large_string(), b"ab\xff"), Fate.BAD)
        for name in ("category", "extra", "tools")
    ),
    *(
        (name, "a text", _of(pa.string(), "x"), Fate.BAD)
        for name in ("chosen_ratings", "objective_votes", "judgments", "chat_template_kwargs", "tools")
    ),
]
"""Column, what is in it, how it is made for a number of rows, and what must become of the rows that have something."""

TEXTS: list[tuple[str, str, Callable[[list[str]], Any], Fate]] = [
    (name, what, make, fate)
    for name in ("prompt", "chosen", "rejected")
    for what, make, fate in (
        ("numbers", lambda texts: pa.array(range(len(texts))), Fate.BAD),
        ("bytes", lambda texts: pa.array([text.encode() for text in texts], pa.binary()), Fate.BAD),
        ("lists", lambda texts: pa.array([[text] for text in texts]), Fate.BAD),
        ("nothing", lambda texts: pa.nulls(len(texts)), Fate.BAD),
        ("dates", lambda texts: pa.array([NOW] * len(texts)), Fate.BAD),
        ("objects", lambda texts: pa.array([{"role": "user", "content": text} for text in texts]), Fate.BAD),
        ("a dictionary", lambda texts: pa.array(texts).dictionary_encode(), Fate.GOOD),
        ("long texts", lambda texts: pa.array(texts, pa.large_string()), Fate.GOOD),
    )
]
"""Column of texts, what takes their place in all rows, and what must become of the rows."""


def columns_of_other_types(folder: Path, rows: int) -> list[tuple[Path, Expected]]:
    """One file for each of the above."""
    made = []
    for number, (name, what, array, fate) in enumerate(COLUMNS):
        table, planted = _texts(rows), {}
        for index in range(rows):
            odd = Planted({}, fate, name if fate is Fate.BAD else "", f"Parquet, {name}: {what}", _scored(name, fate))
            planted[index + 1] = odd if index % 2 else Planted(sound(index))
        table[name] = array(rows)
        made.append((_write(folder / f"{number}-column.parquet", table), planted))
    for number, (name, what, make, fate) in enumerate(TEXTS):
        table = _texts(rows)
        planted = Planted({}, fate, name if fate is Fate.BAD else "", f"Parquet, {name}: {what}", fate)
        table[name] = make(table[name].to_pylist())
        made.append((_write(folder / f"{number}-texts.parquet", table), dict.fromkeys(range(1, rows + 1), planted)))
    return made


def _scored(name: str, fate: Fate) -> Fate:
    return Fate.EITHER if name in ("preference", "margin", "chosen_ratings", "objective_votes", "judgments") else fate


def _texts(rows: int) -> dict[str, Any]:
    return {name: pa.array([sound(index)[name] for index in range(rows)]) for name in ("prompt", "chosen", "rejected")}


def _write(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=64)
    return path
