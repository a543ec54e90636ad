"""Pairs of whole dialogues: the prompt they share, and what follows it."""

from __future__ import annotations

from collections.abc import Sequence

from vrm.benchmarks.rows import BenchmarkRow
from vrm.benchmarks.unusual import UnusualRow
from vrm.data.schema import Message


def split_dialogues(
    row: BenchmarkRow, first: Sequence[Message], second: Sequence[Message], name: str, expected: int | None = None
) -> tuple[list[Message], list[list[Message]]]:
    """The longest beginning that both dialogues share and that ends with the user, and the rest of either.

    Args:
        row: counts dialogues that differ before their last turn.
        first: messages.
        second: messages.
        name: field that is named where something is wrong.
        expected: turns of a dialogue whose earlier turns may differ without being unusual; None for none.

    Raises:
        UnusualRow: they share no turn of the user, or one does not end with the assistant.
    """
    if any(side[-1]["role"] != "assistant" for side in (first, second)):
        raise UnusualRow("a dialogue that does not end with the assistant", name)
    shared, most = 0, min(len(first), len(second)) - 1
    while shared < most and first[shared] == second[shared]:
        shared += 1
    # The user's turn must come last before the completions, and the assistant's first in them.
    while shared and (
        first[shared - 1]["role"] == "assistant" or any(side[shared]["role"] != "assistant" for side in (first, second))
    ):
        shared -= 1
    if not shared:
        raise UnusualRow("the two dialogues do not begin with the same turn of the user", name)
    if max(len(first), len(second)) > max(shared + 1, expected or 0):
        row.note("dialogues that differ before the last turn; all that differs is judged", name)
    return list(first[:shared]), [list(first[shared:]), list(second[shared:])]
