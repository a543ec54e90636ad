"""Large caches of rows from small ones: the tables of a few rows are repeated, with keys of their own for every row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vrm.data.content_keys import KEY_BYTES
from vrm.data.stored.making import checksum

TEXTS = 3
"""Of a row: a prompt and two completions."""


def enlarge_cache(cache: Path, rows: int, of: int) -> None:
    """Repeat the tables of a cache of rows until they have so many, without what is remembered of the few.

    Args:
        cache: with the tables of one input of `of` good rows; other rows, which hold reports, are repeated as well.
        rows: wanted; a multiple of `of`.
        of: see above.
    """
    for remembered in cache.rglob("remembered"):
        shutil.rmtree(remembered)
    for listed in [*cache.glob("*/rows.json"), *cache.glob("*/tokens-*.json")]:
        names = json.loads(listed.read_text(encoding="utf-8"))
        for name in names:
            _enlarge(listed.parent / name, rows, of)
        listed.write_text(json.dumps({name: checksum(listed.parent / name) for name in names}), encoding="utf-8")


def _enlarge(table: Path, rows: int, of: int) -> None:
    with pa.OSFile(str(table)) as file:
        small = pa.ipc.open_stream(file).read_all().combine_chunks()
    new = table.with_suffix(".new")
    with pa.OSFile(str(new), "wb") as file, pa.ipc.new_stream(file, small.schema) as stream:
        for first in range(0, rows, of):
            stream.write_table(_with_keys(small, first))
    new.replace(table)


def _with_keys(table: Any, first: int) -> Any:
    """The table with other keys of prompts and features where it has any, which tell its rows from all others."""
    for name, kind in (("prompt_key", pa.string()), ("keys", pa.binary())):
        if name not in table.column_names:
            continue
        there = table.column(name).is_valid().to_numpy()
        keys = np.full(len(table), None, dtype=object)
        made = feature_keys(first, int(there.sum()))
        keys[there] = [row[:KEY_BYTES].tobytes().hex() if name == "prompt_key" else row.tobytes() for row in made]
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(keys, kind))
    return table


def feature_keys(first: int, count: int) -> NDArray[np.uint8]:
    """(count, TEXTS * KEY_BYTES) keys of the features of rows; they look like hashes and depend on `first` alone."""
    generator = np.random.default_rng([7, first])
    return generator.integers(0, 256, (count, TEXTS * KEY_BYTES), dtype=np.uint8)
