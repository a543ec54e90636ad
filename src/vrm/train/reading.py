"""Rows of a run as the trained model reads them: what its head is given, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from vrm.core.posteriors import Posteriors
from vrm.data.schema import Judgment
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.train.passes import PASSES, FeatureDataset, TokenizedDataset, passes_of
from vrm.train.prepare import PreparedRows
from vrm.train.trainer import VRMTrainer


@dataclass(frozen=True)
class HeadPass:
    """One pass.

    Attributes:
        judgments: its rows.
        inputs: of the model, on its device.
        prompts: what the head is given of them, (batch, features).
        completions: the same, (batch, num_completions, features).
        posteriors: what the head answers.
        rewards: (batch, num_completions), with numbers of no meaning where `inputs["mask"]` is False.
    """

    judgments: list[Judgment]
    inputs: dict[str, Any]
    prompts: Tensor
    completions: Tensor
    posteriors: Posteriors
    rewards: Tensor


@dataclass(frozen=True)
class Reader:
    """Reads rows in the precision of training and evaluation, every row in every process.

    Attributes:
        model: as it will be saved.
        trainer: gives device, precision and batch size.
        data: gives the collator.
    """

    model: VRMForSequenceClassification
    trainer: VRMTrainer
    data: PreparedRows

    @torch.no_grad()
    def passes(
        self, rows: FeatureDataset | TokenizedDataset, numbers: Sequence[int] | None = None
    ) -> Iterator[HeadPass]:
        """All passes over some rows by number, or over all."""
        numbers = range(len(rows)) if numbers is None else numbers
        seen: list[tuple[Any, ...]] = []
        hook = self.model.score.register_forward_hook(lambda head, inputs, output: seen.append((*inputs, output)))
        self.model.eval()
        first = 0
        # Not the trainer's own loader, which gives every process its share alone.
        loader = DataLoader(
            Subset(rows, numbers), self.trainer.args.per_device_eval_batch_size, collate_fn=self.data.collator
        )
        try:
            for batch in loader:
                parts = passes_of(batch)
                count = sum(len(part["mask"]) for part in parts)
                places = iter(batch["judgments"].tolist() if PASSES in batch else range(count))
                for part in parts:
                    inputs = self.trainer._prepare_inputs(part)
                    with self.trainer.compute_loss_context_manager():
                        rewards = self.model(**inputs).logits
                    judgments = [
                        rows.items[numbers[first + place]].judgment for place in islice(places, len(part["mask"]))
                    ]
                    yield HeadPass(judgments, inputs, *seen.pop(), rewards)
                first += count
        finally:
            hook.remove()
