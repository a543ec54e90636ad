"""Arrow files as columns: memory-mapped, and given back to the system before they add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vrm.files import give_back, map_file

RELEASE_EVERY = 1024
"""Cells that are read before the mapped pages are given back; they stay in the system's own cache of the disk."""


class StoredTable:
    """Columns of Arrow files that `datasets` wrote, one file after the other.

    Reading maps pages of the files into this process, where they count as its memory. Every `RELEASE_EVERY` cells they
    are unmapped again, so that a pass over a large file does not look like one that holds it.

    Args:
        files: Arrow streams of one schema, in their order.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self.files = tuple(files)
        self._read = 0

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process maps the files itself.
        return type(self), (self.files,)

    def __len__(self) -> int:
        return int(self._opened[1].num_rows)

    @cached_property
    def _opened(self) -> tuple[list[mmap], Any]:
        import pyarrow as pa

        maps, parts = [], []
        for name in self.files:
            maps.append(map_file(name))
            parts.append(pa.ipc.open_stream(pa.py_buffer(maps[-1])).read_all())
        return maps, pa.concat_tables(parts)

    @cached_property
    def _columns(self) -> dict[str, Any]:
        table = self._opened[1]
        return {name: table.column(name) for name in table.column_names}

    def cell(self, column: str, row: int) -> Any:
        """The value of one column in one row, as Python has it."""
        self._read += 1
        if self._read >= RELEASE_EVERY:
            self.release()
        return self._columns[column][row].as_py()

    def values(self, column: str, numbers: NDArray[np.int64]) -> list[Any]:
        """A column's values in some rows, as Python has them; for columns that are small."""
        values: list[Any] = self._columns[column].take(numbers).to_pylist()
        self.release()
        return values

    def array(self, column: str) -> NDArray[Any]:
        """A whole column of numbers that has no missing value."""
        values: NDArray[Any] = self._columns[column].to_numpy()
        self.release()
        return values

    def present(self, column: str) -> NDArray[np.int64]:
        """Numbers of the rows that have a value there."""
        numbers = np.flatnonzero(self._columns[column].is_valid().to_numpy())
        self.release()
        return numbers

    def release(self) -> None:
        """Give the mapped pages back; the next reading maps them anew."""
        self._read = 0
        for mapped in self._opened[0]:
            give_back(mapped)

    def scan(self, column: str, numbers: NDArray[np.int64]) -> Iterator[Any]:
        """A column's values in some rows, one after the other."""
        return (self.cell(column, int(number)) for number in numbers)


@lru_cache(maxsize=64)
def opened(files: tuple[str, ...]) -> StoredTable:
    """The table of these files, which are mapped once in a process."""
    return StoredTable(files)
