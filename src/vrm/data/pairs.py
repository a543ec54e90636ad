"""The pairs that a judgment compares."""

from __future__ import annotations

from vrm.data.schema import Judgment
from vrm.labels import KINDS, Pair


def labelled_pairs(judgment: Judgment) -> list[Pair]:
    """(first, second, preference) for every pair of completions that the judgment compares, by position."""
    for kind in KINDS.values():
        if kind.pairs is not None and kind.has(judgment):
            return kind.pairs(judgment)
    return []


def decided_pairs(judgment: Judgment) -> list[tuple[int, int]]:
    """(chosen, rejected) of every pair that the judgment orders, by position; ties are none."""
    return [
        (first, second) if preference > 0.5 else (second, first)
        for first, second, preference in labelled_pairs(judgment)
        if preference != 0.5
    ]
