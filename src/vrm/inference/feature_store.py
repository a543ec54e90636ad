"""Frozen features by content: in memory, or memory-mapped in a directory that any later run can reuse."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from vrm.data.content_keys import KEY_BYTES
from vrm.data.shared_cache import USED, Hold
from vrm.errors import DataError
from vrm.files import give_back, map_file, write_text, writing
from vrm.inference.key_index import KeyIndex
from vrm.inference.row_sums import RowSums

RELEASE_BYTES = 1 << 28
"""Bytes that are mapped before the pages are given back; they stay in the system's own cache of the disk."""

_MAPPED_AROUND = 1 << 17
"""Bytes that the system maps around one that is read, if it has them: a short row counts as that many."""

_DTYPE = np.dtype("<f4")


class FeatureStore:
    """Rows of float32 features by content key.

    With a directory, rows are appended to `features.f32`, their checksums to `sums.u64` and keys to `keys.bin`; a row
    counts once all are written, so an interrupted run loses at most one batch, and another run goes on where it
    stopped. One directory holds one fingerprint (backbone, layers, poolings, precision), a sub-directory each, and one
    writer at a time. A row is compared with its checksum when a process reads it for the first time.

    Args:
        width: features a row.
        directory: the cache's root; None keeps rows in memory.
        fingerprint: what the rows depend on beside their content.

    Raises:
        DataError: if the directory holds rows of another width; when rows are added, if it has been emptied; when they
            are read, if they are not what was written.
    """

    def __init__(
        self, width: int, directory: str | Path | None = None, fingerprint: dict[str, Any] | None = None
    ) -> None:
        self.width = width
        self._index = KeyIndex()
        self._blocks = [np.empty((0, width), dtype=_DTYPE)]
        self._count = 0
        self._mapped: NDArray[np.float32] | None = None
        self._map: mmap | None = None
        self._mapped_bytes = 0
        self.directory: Path | None = None
        if directory is not None:
            text = json.dumps(fingerprint or {}, sort_keys=True)
            self.directory = Path(directory) / hashlib.sha256(text.encode()).hexdigest()[:16]
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.directory / "lock")
            with self._lock:
                self._check_fingerprint(fingerprint or {})
                self._mark_used()
                self._hold = Hold(self.directory)
                self._reload()
                self._repair()
            self._sums = RowSums(self.directory / "sums.u64")

    def __len__(self) -> int:
        return self._count

    @property
    def bytes_per_row(self) -> int:
        """What a row takes on the disk, with its key and checksum."""
        return self.width * _DTYPE.itemsize + KEY_BYTES + RowSums.BYTES

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those keys that the store does not hold yet."""
        return self._index.missing(keys)

    def find(self, keys: bytes) -> NDArray[np.int64]:
        """(keys,) row numbers of keys that stand one behind the other; -1 where there is none."""
        return self._index.find(keys)

    @property
    def keys(self) -> list[bytes]:
        """All keys, in the order of their rows."""
        return self._index.keys()

    def rows_of(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """Row numbers of keys, all of which the store must hold."""
        return self._index.find(b"".join(keys))

    def add(self, keys: Sequence[bytes], features: NDArray[np.float32]) -> None:
        """Append rows (len(keys), width)."""
        if features.shape != (len(keys), self.width):
            raise DataError(f"features have shape {features.shape}, expected {(len(keys), self.width)}")
        values = np.ascontiguousarray(features, dtype=_DTYPE)
        if self.directory is None:
            self._blocks.append(values)
            self._count_in(keys)
            return
        with self._lock:
            self._check_rows()
            self._mark_used()
            self._reload()
            # Another writer may have added some of them meanwhile.
            fresh = np.flatnonzero(self._index.find(b"".join(keys)) < 0)
            with writing(self.directory):
                self._append_files([keys[position] for position in fresh], values[fresh])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copy of rows, any shape of row numbers, (..., width).

        Raises:
            DataError: the directory holds other bytes than were written.
        """
        taken = np.asarray(self._array()[rows])
        if self.directory is not None:
            self._sums.check(rows.reshape(-1), taken.reshape(-1, self.width), self._count)
        self._mapped_bytes += rows.size * max(self.width * _DTYPE.itemsize, _MAPPED_AROUND)
        if self._mapped_bytes > RELEASE_BYTES and self._map is not None:
            give_back(self._map)
            self._mapped_bytes = 0
        return taken

    def _array(self) -> NDArray[np.float32]:
        if self.directory is None:
            self._blocks = [np.concatenate(self._blocks)] if len(self._blocks) > 1 else self._blocks
            return self._blocks[0]
        if self._mapped is None or len(self._mapped) < self._count:
            self._map = map_file(self._features_path)
            size = self._count * self.width
            self._mapped = np.frombuffer(self._map, _DTYPE, size).reshape(self._count, self.width)
        return self._mapped

    @property
    def _features_path(self) -> Path:
        assert self.directory is not None
        return self.directory / "features.f32"

    def _check_fingerprint(self, fingerprint: dict[str, Any]) -> None:
        assert self.directory is not None
        path = self.directory / USED
        try:
            width = json.loads(path.read_text(encoding="utf-8"))["width"]
        except (OSError, ValueError, KeyError, TypeError):  # not there yet, or damaged: its folder's name says the same
            write_text(path, json.dumps({"width": self.width, **fingerprint}, sort_keys=True))
            return
        if width != self.width:
            raise DataError(f"{self.directory} holds rows of {width} features, expected {self.width}. Delete it")

    def _mark_used(self) -> None:
        """Let the time of a file say when this folder was last used; one that somebody else owns keeps its time."""
        assert self.directory is not None
        with suppress(PermissionError):
            os.utime(self.directory / USED)

    def _check_rows(self) -> None:
        """What was read from the folder must be there still; the lock must be held."""
        path = self._features_path
        if self._count and (not path.exists() or path.stat().st_size < self._count * self.width * _DTYPE.itemsize):
            raise DataError(f"{self.directory} has been emptied while it was in use. Run this again")

    def _append_files(self, keys: Sequence[bytes], values: NDArray[np.float32]) -> None:
        assert self.directory is not None
        with self._features_path.open("r+b" if self._features_path.exists() else "wb") as file:
            # Rows beyond the last key are the remains of an interrupted write; they are overwritten.
            file.seek(self._count * self.width * _DTYPE.itemsize)
            file.write(values.tobytes())
        self._sums.write(self._count, values)
        with (self.directory / "keys.bin").open("ab") as file:
            # Half a key is what a writer has left that was killed; behind it no key would be found.
            file.truncate(self._count * KEY_BYTES)
            file.write(b"".join(keys))
        self._count_in(keys)

    def _count_in(self, keys: Sequence[bytes]) -> None:
        self._index.add(b"".join(keys), self._count)
        self._count += len(keys)

    def _reload(self) -> None:
        """Read keys that another writer has added; the lock must be held."""
        assert self.directory is not None
        path = self.directory / "keys.bin"
        if not path.exists() or path.stat().st_size == self._count * KEY_BYTES:
            return
        data = _whole_keys(path, self._count)
        self._index.add(data, self._count)
        self._count += len(data) // KEY_BYTES

    def _repair(self) -> None:
        """Cut half a key, and keys whose rows never reached the disk: what an interrupted run may leave."""
        assert self.directory is not None
        path, rows = self.directory / "keys.bin", self._features_path
        held = rows.stat().st_size // (self.width * _DTYPE.itemsize) if rows.exists() else 0
        if held < self._count:
            self._count, self._index = held, KeyIndex()
            self._index.add(_whole_keys(path)[: held * KEY_BYTES], 0)
        if path.exists() and path.stat().st_size != self._count * KEY_BYTES:
            with path.open("r+b") as file:
                file.truncate(self._count * KEY_BYTES)


def _whole_keys(path: Path, skip: int = 0) -> bytes:
    """The keys of a file behind the first ones; half a key at the end is left out."""
    with path.open("rb") as file:
        file.seek(skip * KEY_BYTES)
        data = file.read()
    return data[: len(data) // KEY_BYTES * KEY_BYTES]
