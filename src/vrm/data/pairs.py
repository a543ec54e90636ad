"""The pairs that a judgment compares."""

from __future__ import annotations

from itertools import combinations

from vrm.data.schema import Judgment


def labelled_pairs(judgment: Judgment) -> list[tuple[int, int, float]]:
    """(first, second, preference) for every pair of completions that the judgment compares, by position.

    A comparison is one pair. A ranked list gives each of its pairs once, with 1, 0.5 (a tie) or 0 for the first: under
    the Plackett-Luce model of (4) every one of them follows the Bradley-Terry model with the same rewards.
    """
    if judgment.is_comparison:
        return [(0, 1, float(judgment.preference or 0.0))]
    scores = judgment.scores
    if scores is None:
        return []
    return [
        (first, second, 0.5 + 0.5 * ((scores[first] > scores[second]) - (scores[first] < scores[second])))
        for first, second in combinations(range(len(scores)), 2)
    ]


def decided_pairs(judgment: Judgment) -> list[tuple[int, int]]:
    """(chosen, rejected) of every pair that the judgment orders, by position; ties are none."""
    return [
        (first, second) if preference > 0.5 else (second, first)
        for first, second, preference in labelled_pairs(judgment)
        if preference != 0.5
    ]
