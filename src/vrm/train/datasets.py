"""Training data as `torch` data sets: tokenized judgments, or cached features taken a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vrm.data.collate import TargetEncoder
from vrm.data.tokenized import TokenizedJudgment
from vrm.inference.extraction import FeatureTable


class TokenizedDataset(Dataset[TokenizedJudgment]):
    """Tokenized judgments, collated by `JudgmentCollator`."""

    def __init__(self, items: Sequence[TokenizedJudgment]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> TokenizedJudgment:
        return self.items[index]


class FeatureDataset(Dataset[dict[str, Tensor]]):
    """Cached features and labels; a loader's batch is read in one step, so use `collate_features`.

    Args:
        table: features of the judgments.
        items: the judgments, in the table's order.
        targets: turns labels into tensors.
    """

    def __init__(self, table: FeatureTable, items: Sequence[TokenizedJudgment], targets: TargetEncoder) -> None:
        self.table, self.items = table, items
        self.labels = targets([item.judgment for item in items])

    def __len__(self) -> int:
        return len(self.table)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """One batch."""
        rows = np.asarray(indices, dtype=np.int64)
        prompts, completions = self.table.batch(rows)
        index = torch.from_numpy(rows)
        labels = {name: values[index] for name, values in self.labels.items()}
        return {"prompt_features": prompts, "completion_features": completions, **labels}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])

    def sample_features(self, limit: int, seed: int) -> tuple[Tensor, Tensor]:
        """A seeded sample of prompt and completion features, each (rows, width), for `InputNorm.fit`."""
        chosen = np.random.default_rng(seed).permutation(len(self))[:limit]
        prompts, completions = self.table.batch(np.sort(chosen))
        return prompts, completions[self.labels["mask"][torch.from_numpy(np.sort(chosen))]]


def collate_features(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """`FeatureDataset` gives whole batches; nothing is left to do."""
    return batch
