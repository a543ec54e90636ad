from __future__ import annotations

import numpy as np
import pytest

from vrm.data.content_keys import KEY_BYTES
from vrm.inference import key_index
from vrm.inference.key_index import KeyIndex, in_list


def keys(*numbers: int, first: int | None = None) -> list[bytes]:
    """Keys of numbers; with `first` they have the same first half."""
    half = KEY_BYTES // 2
    return [
        (number * 7919 if first is None else first).to_bytes(half, "little") + number.to_bytes(half, "little")
        for number in numbers
    ]


def filled(parts: list[list[bytes]]) -> KeyIndex:
    index, row = KeyIndex(), 0
    for part in parts:
        index.add(b"".join(part), row)
        row += len(part)
    return index


@pytest.mark.parametrize("recent", [0, 1, 3, 1000])
def test_keys_are_found_whether_they_are_new_or_sorted_in(monkeypatch, recent):
    monkeypatch.setattr(key_index, "RECENT", recent)
    monkeypatch.setattr(key_index, "LOOKED_UP", 2)
    order = np.random.default_rng(0).permutation(20).tolist()
    listed = keys(*order)
    index = filled([listed[:1], listed[1:4], listed[4:12], listed[12:13], listed[13:]])
    assert index.find(b"".join(listed)).tolist() == list(range(20))
    assert index.find(b"".join(keys(19, 20, 0))).tolist() == [order.index(19), -1, order.index(0)]
    assert index.missing(keys(3, 40, 41, 40, 5)) == set(keys(40, 41))
    assert index.keys() == listed


@pytest.mark.parametrize("recent", [0, 1000])
def test_keys_that_share_their_first_half_are_told_apart(monkeypatch, recent):
    monkeypatch.setattr(key_index, "RECENT", recent)
    some, others = keys(5, 1, 9, first=8), keys(4, 2, first=9)
    index = filled([some, others])
    assert index.find(b"".join([*others, *some])).tolist() == [3, 4, 0, 1, 2]
    assert index.find(b"".join(keys(2, 7, first=8) + keys(1, first=9) + keys(1, first=10))).tolist() == [-1] * 4


def test_an_index_of_nothing_finds_nothing():
    index = KeyIndex()
    assert index.find(b"").tolist() == []
    assert index.find(keys(1)[0]).tolist() == [-1]
    assert index.missing([]) == set()
    assert index.keys() == []


def test_a_key_takes_few_bytes():
    """As many as the sorted arrays have: a dictionary of keys takes six times as many."""
    import tracemalloc

    count = 1 << 18
    data = np.random.default_rng(1).bytes(count * KEY_BYTES)
    tracemalloc.start()
    index = KeyIndex()
    index.add(data, 0)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 30 * count
    assert index.find(data[-KEY_BYTES:]).tolist() == [count - 1]
    assert len(in_list(data)) == count
