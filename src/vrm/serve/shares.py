"""What each request gets of a batch that was judged for many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from vrm.errors import NumericsError
from vrm.inference.judged import JudgedBatch
from vrm.inference.rewards import BatchRewards, RewardView, RowRewards


class Share:
    """The judgments of one request in a batch.

    Requests that read rewards in the same way have them computed once, for the whole batch. Rewards are read in one
    thread only.

    Args:
        batch: judged, not steered.
        first, stop: its judgments from `first` to before `stop`.
        read: rewards of the whole batch by view, shared by all of its shares; None where some are not finite.
    """

    def __init__(
        self, batch: JudgedBatch, first: int, stop: int, read: dict[RewardView, BatchRewards | None] | None = None
    ) -> None:
        self._batch, self._first, self._stop = batch, first, stop
        self._read = {} if read is None else read

    @classmethod
    def of(cls, batch: JudgedBatch, counts: Sequence[int]) -> list[Share]:
        """Shares of so many judgments each, in order."""
        read: dict[RewardView, BatchRewards | None] = {}
        shares, first = [], 0
        for count in counts:
            shares.append(cls(batch, first, first + count, read))
            first += count
        return shares

    @property
    def part(self) -> JudgedBatch:
        """The judgments as a batch of their own."""
        return self._batch.part(self._first, self._stop)

    def rewards(self, view: RewardView) -> list[RowRewards]:
        """Rewards of the judgments.

        Raises:
            NumericsError: if one of them is not finite.
        """
        whole = None if view.steering is not None else self._of_all(view)
        if whole is None:
            return list(view(self.part).rows())
        return list(islice(whole.rows(), self._first, self._stop))

    def _of_all(self, view: RewardView) -> BatchRewards | None:
        if view not in self._read:
            try:
                self._read[view] = view(self._batch)
            except NumericsError:  # of some request in the batch
                self._read[view] = None
        return self._read[view]
