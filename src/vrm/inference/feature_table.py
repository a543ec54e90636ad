"""Which features of a store are those of which judgment, found by the keys of their texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vrm.data.content_keys import content_keys
from vrm.data.stored.tokens import StoredTokens
from vrm.data.tokenized import TokenizedJudgment
from vrm.inference.feature_store import FeatureStore
from vrm.inference.key_index import in_list

STORED_ROWS = 16_384
"""Judgments on the disk whose keys and texts are in memory at a time."""

Keys: TypeAlias = tuple[bytes, list[bytes]]
"""`content_keys` of a judgment."""


@dataclass(frozen=True)
class FeatureTable:
    """Rows of a store for judgments.

    Attributes:
        store: where the features are.
        prompts: (batch,) row of each prompt.
        completions: (batch, num_completions) row of each completion; -1 where there is none.
    """

    store: FeatureStore
    prompts: NDArray[np.int64]
    completions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.prompts)

    def batch(self, index: NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
        """Features (batch, width) and (batch, num_completions, width) of some judgments."""
        completions = self.completions[index]
        prompts = torch.from_numpy(self.store.take(self.prompts[index]))
        return prompts, torch.from_numpy(self.store.take(np.maximum(completions, 0)))

    def exists(self, index: NDArray[np.int64]) -> Tensor:
        """(batch, num_completions) which completions some judgments have."""
        return torch.from_numpy(self.completions[index] >= 0)


class KeyedRows(NamedTuple):
    """Judgments and the keys of their texts.

    Attributes:
        items: the judgments.
        keys: of their texts, one behind the other: each prompt's, and behind it those of its completions.
        counts: (items,) completions of each.
    """

    items: Sequence[TokenizedJudgment]
    keys: bytes
    counts: NDArray[np.int64]

    def by_judgment(self) -> Iterator[Keys]:
        """Keys of each judgment."""
        keys = iter(in_list(self.keys))
        return ((next(keys), [next(keys) for _ in range(count)]) for count in self.counts)


def keyed(items: Sequence[TokenizedJudgment]) -> Iterator[KeyedRows]:
    """Judgments with their keys: all at once, or, where they are on the disk, so many that they fit into memory."""
    if not isinstance(items, StoredTokens):
        keys = [content_keys(item) for item in items]
        counts = np.array([len(completions) for _, completions in keys], dtype=np.int64)
        yield KeyedRows(items, b"".join(chain.from_iterable((prompt, *others) for prompt, others in keys)), counts)
        return
    for first in range(0, len(items), STORED_ROWS):
        some = items[first : first + STORED_ROWS]
        yield KeyedRows(some, some.joined_keys(), some.counts)


class FoundRows:
    """Rows of a store, as they are found for one part of the judgments after the other."""

    def __init__(self) -> None:
        self._prompts: list[NDArray[np.int64]] = []
        self._completions: list[NDArray[np.int64]] = []

    def add(self, found: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """The rows of `KeyedRows.keys`, and its counts."""
        ends = np.cumsum(counts + 1)
        firsts = ends - counts - 1
        rows = np.full((len(counts), counts.max(initial=2)), -1)
        rows[np.arange(rows.shape[1]) < counts[:, None]] = np.delete(found, firsts)
        self._prompts.append(found[firsts])
        self._completions.append(rows)

    def table(self, store: FeatureStore) -> FeatureTable:
        """The rows of all judgments."""
        width = max(rows.shape[1] for rows in self._completions)
        completions = [
            np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=-1) for rows in self._completions
        ]
        return FeatureTable(store, np.concatenate(self._prompts), np.concatenate(completions))
