"""The rows of a run as data sets and batches of bounded passes, and their order over processes.

A step's judgments are drawn at random, as ever; how they are computed is decided here: packed, every prompt once and
without padding, or, for backbones that cannot read packed rows, padded in passes of similar length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from vrm.data.collate import TargetEncoder
from vrm.data.stored.tokens import StoredTokens
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import NumericsError
from vrm.inference.feature_table import FeatureTable
from vrm.model.backbones import first_position
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.model.packing import Tree, pack_trees, padded_passes, prompt_reads, trees_of, within_budget
from vrm.model.padding import pad_right

PASSES = "passes"


def passes_of(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The passes of a batch; a batch of cached features is one."""
    return list(batch[PASSES]) if PASSES in batch else [dict(batch)]


def positions_of(inputs: Mapping[str, Any]) -> tuple[int, int]:
    """Token positions of a pass, and how many of them are padding; (0, 0) for cached features."""
    if "packed" in inputs:
        return inputs["packed"]["input_ids"].numel(), 0
    if "attention_mask" not in inputs:
        return 0, 0
    mask = inputs["attention_mask"]
    return mask.numel(), mask.numel() - int(mask.sum())


def same_sides(inputs: Mapping[str, Any]) -> Tensor:
    """(batch,) whether the first two completions of each judgment are the same to the backbone.

    Dropout tells them apart all the same, so their rewards in training do not show it.
    """
    if "packed" in inputs or "completion_rows" in inputs:
        places = inputs["packed"]["completion_reads"] if "packed" in inputs else inputs["completion_rows"]
        return (places[:, 0] == places[:, 1]) & (places[:, 0] >= 0)
    features = inputs["completion_features"]
    return (features[:, 0] == features[:, 1]).all(-1)


@dataclass(frozen=True)
class PassCollator:
    """Collates tokenized judgments into passes of at most `token_budget` token positions; a longer one is its own.

    Attributes:
        targets: turns labels into tensors.
        pad_id: for padded passes.
        kind: `decoder` or `encoder`.
        packed: whether the backbone reads packed rows.
        token_budget: positions of one pass, padding included.
        first_position: of a row's first token.

    Returns of `__call__`:
        judgments: (batch,) their numbers in the batch, in the order of the passes.
        passes: a list of dictionaries, each with labels as `TargetEncoder` gives them and either `packed` (what
            `pack_trees` gives, `prompt_reads` (judgments,) and `completion_reads` (judgments, num_completions))
            or the padded rows of `JudgmentCollator`.
    """

    targets: TargetEncoder
    pad_id: int
    kind: str
    packed: bool
    token_budget: int
    first_position: int = 0

    @classmethod
    def of(
        cls, model: VRMForSequenceClassification, targets: TargetEncoder, pad_id: int, token_budget: int
    ) -> PassCollator:
        """For a model's backbone; asks it once whether it reads packed rows."""
        packed, first = model.packing_problem is None, first_position(model.backbone)
        return cls(targets, pad_id, model.config.backbone_kind, packed, token_budget, first)

    def __call__(self, items: Sequence[TokenizedJudgment]) -> dict[str, Any]:
        """Collate a batch."""
        groups = list(self._packed_groups(items) if self.packed else self._padded_groups(items))
        collate = self._collate_packed if self.packed else JudgmentCollator(self.targets, self.pad_id)
        passes = [collate([items[index] for index in group]) for group in groups]
        # First, because the trainer reads the number of judgments off the first tensor that it finds.
        return {"judgments": torch.tensor([index for group in groups for index in group]), PASSES: passes}

    def _packed_groups(self, items: Sequence[TokenizedJudgment]) -> Iterator[list[int]]:
        """In the order given: a tree of its own for each judgment, which equal prompts of a pass only make smaller."""
        costs = [cost_of(item, self.kind) for item in items]
        return within_budget(range(len(items)), self.token_budget, lambda _, index: costs[index])

    def _padded_groups(self, items: Sequence[TokenizedJudgment]) -> Iterator[list[int]]:
        sizes = [
            (max(len(item.completions), 1), len(item.prompt) + max(map(len, item.completions), default=0))
            for item in items
        ]
        return padded_passes(sizes, self.token_budget)

    def _collate_packed(self, items: Sequence[TokenizedJudgment]) -> dict[str, Any]:
        labels = self.targets([item.judgment for item in items])
        trees, places = trees_of((item.prompt, item.completions) for item in items)
        first_reads = prompt_reads(trees)
        begins = [first_reads[tree] + 1 + completion for tree, completion in places]
        reads = [
            [begin + place for place in _places(item.completions)] for begin, item in zip(begins, items, strict=True)
        ]
        packed = pack_trees(trees, self.kind, self.first_position)
        packed["prompt_reads"] = torch.tensor([first_reads[tree] for tree, _ in places])
        packed["completion_reads"], _ = pad_right(reads, fill=-1, least=labels["mask"].shape[1])
        return {**labels, "packed": packed}


@dataclass(frozen=True)
class JudgmentCollator:
    """Collates tokenized judgments into one padded pass: the model's arguments and the labels in one dictionary.

    Attributes:
        targets: turns labels into tensors.
        pad_id: what padding holds; never read.

    Returns of `__call__`:
        input_ids, attention_mask, completion_start, prompt_rows, completion_rows: as `padded_rows` gives them.
        mask, offsets, and the tensors of every kind of label: as `TargetEncoder` gives them.
    """

    targets: TargetEncoder
    pad_id: int

    def __call__(self, items: Sequence[TokenizedJudgment]) -> dict[str, Tensor]:
        """Collate a batch."""
        return {**padded_rows(items, self.pad_id), **self.targets([item.judgment for item in items])}


def padded_rows(items: Sequence[TokenizedJudgment], pad_id: int) -> dict[str, Tensor]:
    """Rows of ids for judgments, as `VRMForSequenceClassification.forward` takes them.

    A judgment has a row a completion, or, without completions, one row that is its prompt alone.

    Returns:
        input_ids, attention_mask: (rows, longest row), right-padded.
        completion_start: (rows,) tokens of each row's prompt.
        prompt_rows: (batch,) the first row of each judgment.
        completion_rows: (batch, num_completions), -1 where there is no completion.
    """
    counts = [max(len(item.completions), 1) for item in items]
    firsts = [0, *accumulate(counts)][: len(items)]
    completion_rows = [
        [first + place for place in _places(item.completions)] for first, item in zip(firsts, items, strict=True)
    ]
    input_ids, mask = pad_right([item.prompt + ids for item in items for ids in item.completions or [[]]], pad_id)
    return {
        "input_ids": input_ids,
        "attention_mask": mask,
        "completion_start": torch.tensor(
            [len(item.prompt) for item, count in zip(items, counts, strict=True) for _ in range(count)]
        ),
        "prompt_rows": torch.tensor(firsts),
        "completion_rows": pad_right(completion_rows, fill=-1, least=2)[0],
    }


def _places(completions: Sequence[Sequence[int]]) -> list[int]:
    """Where each completion is read: equal ones at the first of them, so that their rewards are equal to the bit."""
    first: dict[tuple[int, ...], int] = {}
    return [first.setdefault(tuple(ids), place) for place, ids in enumerate(completions)]


def cost_of(item: TokenizedJudgment, kind: str) -> int:
    """Token positions of a judgment, its prompt shared by its completions."""
    return Tree(item.prompt, item.completions).positions(kind)


def costs_of(items: Sequence[TokenizedJudgment], kind: str) -> Sequence[int] | NDArray[np.int64]:
    """Token positions of every judgment, of stored ones from their columns of lengths."""
    return items.costs(kind) if isinstance(items, StoredTokens) else [cost_of(item, kind) for item in items]


class StepSampler(Sampler[int]):
    """Rows in an order that seed and epoch decide, each optimizer step's dealt out so that its batches cost alike.

    Processes wait for each other at the end of a step: batches of equal numbers of rows and of near-equal numbers of
    tokens keep them from waiting long. Which rows a step has does not depend on the number of processes.

    Args:
        costs: token positions of every row.
        seed: of the order.
        step_size: rows of one optimizer step, over all processes and accumulation steps.
        batches: batches of one step, over all processes and accumulation steps; divides `step_size`.
        epoch: called at the start of an epoch for its number.
    """

    def __init__(
        self,
        costs: Sequence[int] | NDArray[np.int64],
        seed: int,
        step_size: int,
        batches: int,
        epoch: Callable[[], int],
    ) -> None:
        self.costs, self.seed, self.step_size, self.batches, self.epoch = costs, seed, step_size, batches, epoch

    def __len__(self) -> int:
        return len(self.costs)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch())
        order = torch.randperm(len(self.costs), generator=generator).tolist()
        for first in range(0, len(order), self.step_size):
            yield from self._dealt(order[first : first + self.step_size])

    def _dealt(self, rows: list[int]) -> list[int]:
        if self.batches == 1 or len(rows) < self.step_size:
            return rows
        hands: list[list[int]] = [[] for _ in range(self.batches)]
        falling = sorted(rows, key=lambda row: -self.costs[row])
        for turn in range(0, len(falling), self.batches):
            # Back and forth: who got the longest row of one turn gets the shortest of the next.
            dealt = falling[turn : turn + self.batches]
            for hand, row in zip(hands, dealt if turn // self.batches % 2 == 0 else reversed(dealt), strict=True):
                hand.append(row)
        return [row for hand in hands for row in hand]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested dictionaries by dotted name."""
    named: dict[str, Any] = {}
    for name, value in values.items():
        named |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return named


class TokenizedDataset(Dataset[TokenizedJudgment]):
    """Tokenized judgments, collated by `JudgmentCollator`."""

    def __init__(self, items: Sequence[TokenizedJudgment]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> TokenizedJudgment:
        return self.items[index]


def finite_features(
    table: FeatureTable, items: Sequence[TokenizedJudgment], rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Features (rows, width) and (rows, num_completions, width) of some judgments of a table.

    Raises:
        NumericsError: naming the first judgment with one that is not finite.
    """
    prompts, completions = table.batch(rows)
    finite = completions.isfinite().all(-1) | ~table.exists(rows)
    finite = prompts.isfinite().all(-1) & finite.all(-1)
    if not bool(finite.all()):
        judgment, kept = items[int(rows[int(finite.int().argmin())])].judgment, table.store.directory
        damaged = "" if kept is None else f", unless the cache {kept} is damaged: delete it, and run this again"
        raise NumericsError(
            f"{judgment.file}:{judgment.line}: features of this row are not finite. The backbone itself gives such "
            f"numbers, in this precision at least{damaged}"
        )
    return prompts, completions


class FeatureDataset(Dataset[dict[str, Tensor]]):
    """Cached features and labels; a loader's batch is read in one step, so use `collate_features`.

    The labels of a list are made once; those of stored rows are made for each batch.

    Args:
        table: features of the judgments.
        items: the judgments, in the table's order.
        targets: turns labels into tensors.
    """

    def __init__(self, table: FeatureTable, items: Sequence[TokenizedJudgment], targets: TargetEncoder) -> None:
        self.table, self.items, self._targets = table, items, targets
        stored = isinstance(items, StoredTokens)
        self._labels = None if stored else targets([item.judgment for item in items])

    def __len__(self) -> int:
        return len(self.table)

    def labels(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Labels of some rows, as `TargetEncoder` gives them."""
        if self._labels is not None:
            index = torch.from_numpy(rows)
            return {name: values[index] for name, values in self._labels.items()}
        assert isinstance(self.items, StoredTokens)
        width = self.table.completions.shape[1]
        return self._targets([self.items.rows[int(row)] for row in rows], width)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """One batch."""
        rows = np.asarray(indices, dtype=np.int64)
        prompts, completions = self.features(rows)
        return {"prompt_features": prompts, "completion_features": completions, **self.labels(rows)}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])

    def features(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """`finite_features` of some judgments."""
        return finite_features(self.table, self.items, rows)

    def sample_features(self, limit: int, seed: int) -> tuple[Tensor, Tensor]:
        """A seeded sample of prompt and completion features, each (rows, width), for `InputNorm.fit`."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:limit])
        prompts, completions = self.features(chosen)
        return prompts, completions[self.table.exists(chosen)]


def collate_features(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """`FeatureDataset` gives whole batches; nothing is left to do."""
    return batch
