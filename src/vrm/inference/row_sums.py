"""Checksums of stored rows: what was written is told from what a disk, or somebody else, has made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from vrm.errors import DataError


class RowSums:
    """XXH3 of every row of a file of rows, in a file beside it; 0 stands for rows that an older version has written.

    A row is compared once in a process, 0.1 to 0.3 s of the processor a GB. In memory a row takes a byte.

    Args:
        path: of the sums.
    """

    _DTYPE = np.dtype("<u8")
    BYTES = _DTYPE.itemsize
    """What a row takes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sums: NDArray[np.uint64] = np.empty(0, self._DTYPE)
        self._checked = np.empty(0, np.bool_)

    def write(self, first: int, rows: NDArray[np.float32]) -> None:
        """Sums of rows (number, width) that have been written, the first of which has that number."""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.seek(first * self.BYTES)
            file.write(_sums(rows).tobytes())

    def check(self, numbers: NDArray[np.int64], rows: NDArray[np.float32], count: int) -> None:
        """Compare rows (number, width) with their sums, those that have not been compared yet.

        Args:
            numbers: of the rows.
            rows: as they were read.
            count: how many rows there are in all.

        Raises:
            DataError: one is not what was written.
        """
        if len(self._checked) < count:
            self._checked = np.concatenate([self._checked, np.zeros(count - len(self._checked), np.bool_)])
            held = self.path.stat().st_size // self.BYTES if self.path.exists() else 0
            self._sums = np.memmap(self.path, self._DTYPE, "r", shape=(held,)) if held else self._sums
        places = np.flatnonzero(~self._checked[numbers])
        if not len(places):
            return
        wanted = np.zeros(len(places), self._DTYPE)
        summed = np.flatnonzero(numbers[places] < len(self._sums))
        wanted[summed] = self._sums[numbers[places[summed]]]
        damaged = (wanted != 0) & (wanted != _sums(rows[places]))
        if damaged.any():
            raise DataError(
                f"{self.path.parent}: {int(damaged.sum()):,} of {len(places):,} rows of features are not what was "
                "written there: the disk has changed them. Delete this folder, so that they are computed again"
            )
        self._checked[numbers[places]] = True


def _sums(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    return np.fromiter((xxhash.xxh3_64_intdigest(row.data) for row in rows), np.dtype("<u8"), len(rows))
