"""Row numbers by content key, in 24 bytes a key: millions of them fit into memory."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from vrm.data.content_keys import KEY_BYTES

RECENT = 1 << 17
"""Newest keys, which are in a dictionary until there are so many; the others are in sorted arrays."""

LOOKED_UP = 1 << 16
"""Keys of an iterable that are looked up at a time."""

_HALVES = np.dtype("<u8")


class KeyIndex:
    """Row numbers by key, which never change. Rows of equal keys are equal, so any of them is found.

    Keys are hashes. Sorted by their first half, they are found by a binary search in it, and their second half tells
    keys apart that share the first.
    """

    def __init__(self) -> None:
        self._first = self._second = np.empty(0, _HALVES)
        self._rows = np.empty(0, np.int64)
        self._recent: dict[bytes, int] = {}

    def add(self, keys: bytes, first_row: int) -> None:
        """Keys of consecutive rows, one behind the other."""
        if len(self._recent) + len(keys) // KEY_BYTES <= RECENT:
            self._recent |= {key: row for row, key in enumerate(in_list(keys), first_row)}
            return
        recent = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        rows = np.arange(first_row, first_row + len(keys) // KEY_BYTES)
        self._merge(_halves(b"".join(self._recent) + keys), np.concatenate([recent, rows]))
        self._recent = {}

    def _merge(self, halves: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        # Stable, since it is fast on what is sorted in parts; one column after the other, since each is large.
        self._first = np.concatenate([self._first, halves[:, 0]])
        order = np.argsort(self._first, kind="stable")
        self._first = self._first[order]
        self._second = np.concatenate([self._second, halves[:, 1]])[order]
        self._rows = np.concatenate([self._rows, rows])[order]

    def find(self, keys: bytes) -> NDArray[np.int64]:
        """(keys,) row of each of several keys, one behind the other; -1 where there is none."""
        halves = _halves(keys)
        rows = self._find_sorted(halves)
        if self._recent:
            for place in np.flatnonzero(rows < 0):
                rows[place] = self._recent.get(keys[KEY_BYTES * place : KEY_BYTES * (place + 1)], -1)
        return rows

    def _find_sorted(self, halves: NDArray[np.uint64]) -> NDArray[np.int64]:
        rows = np.full(len(halves), -1, np.int64)
        places = np.searchsorted(self._first, halves[:, 0])
        left = np.arange(len(halves))
        while True:
            # Those whose first half is there; a second half that differs sends them to the next place.
            left = left[places[left] < len(self._first)]
            left = left[self._first[places[left]] == halves[left, 0]]
            if not len(left):
                return rows
            same = self._second[places[left]] == halves[left, 1]
            rows[left[same]] = self._rows[places[left[same]]]
            left = left[~same]
            places[left] += 1

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those keys that are not there."""
        missing: set[bytes] = set()
        left = iter(keys)
        while some := list(islice(left, LOOKED_UP)):
            missing.update(some[place] for place in np.flatnonzero(self.find(b"".join(some)) < 0))
        return missing

    def keys(self) -> list[bytes]:
        """All keys, each once, in the order of their rows."""
        order = np.argsort(self._rows, kind="stable")
        old = in_list(np.stack([self._first[order], self._second[order]], 1).tobytes())
        return list(dict.fromkeys([*old, *self._recent]))


def in_list(keys: bytes) -> list[bytes]:
    """Keys that stand one behind the other."""
    return [keys[start : start + KEY_BYTES] for start in range(0, len(keys), KEY_BYTES)]


def _halves(keys: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(keys, _HALVES).reshape(-1, 2)
