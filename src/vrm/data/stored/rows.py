"""Rows on the disk as a sequence of judgments: each is decoded when it is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import xxhash
from numpy.typing import NDArray

from vrm.data.row_tables import Places, RowTable
from vrm.data.schema import Judgment
from vrm.data.stored.codec import decode
from vrm.data.stored.tables import StoredTable, opened
from vrm.files import write_text

_AT_ONCE = 1 << 16
"""Keys that are in memory as texts at a time."""


class Edit(NamedTuple):
    """A change that is made to every row as it is read.

    Attributes:
        change: from the stored row to the changed one.
        key: what else the change depends on, as a text that is equal where the change is.
    """

    change: Callable[[Judgment], Judgment]
    key: str


class StoredPart(NamedTuple):
    """The rows of one source in the cache.

    Attributes:
        folder: where they lie; also what is made of them.
        files: Arrow files, in their order.
        rows: in these files, those that were left out included.
    """

    folder: Path
    files: tuple[str, ...]
    rows: int


@dataclass(frozen=True, eq=False)
class StoredRows(RowTable):
    """Some rows of stored sources, in some order; rows may occur more than once.

    Attributes:
        parts: the sources.
        numbers: of the rows, counted over all parts.
        edits: changes that are made to every row, the first one first.
    """

    parts: tuple[StoredPart, ...]
    numbers: NDArray[np.int64]
    edits: tuple[Edit, ...] = ()

    @cached_property
    def table(self) -> StoredTable:
        """The columns of all parts."""
        return opened(tuple(name for part in self.parts for name in part.files))

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Judgment: ...
    @overload
    def __getitem__(self, index: slice) -> StoredRows: ...
    def __getitem__(self, index: int | slice) -> Judgment | StoredRows:
        """One row, decoded, or a choice of rows, which are not."""
        if isinstance(index, slice):
            return replace(self, numbers=self.numbers[index])
        row = decode(self.table.cell("row", int(self.numbers[index])))
        for edit in self.edits:
            row = edit.change(row)
        return row

    def __iter__(self) -> Iterator[Judgment]:
        return (self[index] for index in range(len(self)))

    def pick(self, places: Places) -> StoredRows:
        """The rows at these places of the sequence."""
        return replace(self, numbers=self.numbers[np.asarray(places, dtype=np.int64)])

    def edited(self, change: Callable[[Judgment], Judgment], key: str) -> StoredRows:
        """The rows with a change to each; `key` tells this change from others."""
        return replace(self, edits=(*self.edits, Edit(change, key)))

    def joined(self, others: Sequence[RowTable]) -> StoredRows:
        """These rows and those of others, which have the same edits, behind them."""
        rows = [self, *(some for some in others if isinstance(some, StoredRows))]
        parts = tuple(dict.fromkeys(part for some in rows for part in some.parts))
        begins = dict(zip(parts, _begins(parts), strict=True))
        numbers = []
        for some in rows:
            owner = np.searchsorted(_begins(some.parts), some.numbers, side="right") - 1
            shift = np.array([begins[part] for part in some.parts]) - _begins(some.parts)
            numbers.append(some.numbers + shift[owner])
        return replace(self, parts=parts, numbers=np.concatenate(numbers))

    def prompt_keys(self) -> Iterator[str]:
        """`prompt_key` of every row, as it was before any edit."""
        for first in range(0, len(self), _AT_ONCE):
            yield from self.table.values("prompt_key", self.numbers[first : first + _AT_ONCE])

    @property
    def digest(self) -> str:
        """SHA-256 over which rows these are, and what is changed in them."""
        keys = [[part.folder.name for part in self.parts], [edit.key for edit in self.edits]]
        return hashlib.sha256(
            json.dumps(keys).encode() + np.ascontiguousarray(self.numbers, "<i8").tobytes()
        ).hexdigest()

    def remembered(self, name: str, compute: Callable[[], Any]) -> Any:
        """What was computed of exactly these rows before, as JSON has it; else it is computed now, and kept.

        Args:
            name: of the value; with another meaning it needs another name.
            compute: gives it.
        """
        key = hashlib.sha256(f"{name} {self.digest}".encode()).hexdigest()
        path = self.parts[0].folder / "remembered" / f"{key[:32]}.checked"
        if path.exists():
            wanted, _, data = path.read_bytes().partition(b"\n")
            if wanted.decode(errors="replace") == xxhash.xxh3_64_hexdigest(data):
                return json.loads(data)
        text = json.dumps(compute())
        write_text(path, f"{xxhash.xxh3_64_hexdigest(text.encode())}\n{text}")
        return json.loads(text)


def _begins(parts: Sequence[StoredPart]) -> NDArray[np.int64]:
    """Number of the first row of each part."""
    return np.cumsum([0, *(part.rows for part in parts)])[:-1]
