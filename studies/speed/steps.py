"""Training steps without a trainer around them, for what must be measured inside a step; regions are named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from studies.speed.measure import autocast
from studies.speed.routes import take_route
from torch import Tensor
from torch.profiler import record_function

from vrm.config import LoraSettings
from vrm.data.collate import target_keys
from vrm.data.tokenized import TokenizedJudgment
from vrm.inference.targets import target_encoder
from vrm.model import VRMForSequenceClassification
from vrm.train.adapters import with_adapters
from vrm.train.loss import TrainingLoss
from vrm.train.passes import PASSES, JudgmentCollator, PassCollator, passes_of

LOADING, HEAD, OPTIMIZER = "region: data loading", "region: head and loss", "region: optimizer"
ROUTES = ("padded", "packed")


@dataclass(frozen=True)
class PaddedPasses:
    """Collates so many judgments to a padded pass, in the order given."""

    collate: JudgmentCollator
    size: int

    def __call__(self, items: Sequence[TokenizedJudgment]) -> dict[str, Any]:
        """As `PassCollator` gives them."""
        groups = (items[first : first + self.size] for first in range(0, len(items), self.size))
        return {PASSES: [self.collate(group) for group in groups]}


@dataclass
class Stepper:
    """Collating, forward, backward, clipping and AdamW as `VRMTrainer` does them.

    Attributes:
        model: in training mode, with or without adapters around it.
        collate: judgments to passes.
        precision: `float32` or `bfloat16`, by autocast.
        device: `cpu` or `cuda`.
        optimizer: fused AdamW.
        loss: which loss, with which multipliers.
    """

    model: Any
    collate: Callable[[Sequence[TokenizedJudgment]], Any]
    precision: str
    device: str
    optimizer: torch.optim.Optimizer
    loss: TrainingLoss

    @classmethod
    def of(
        cls,
        model: VRMForSequenceClassification,
        route: str,
        precision: str,
        size: int,
        device: str = "cpu",
        adapters: bool = False,
    ) -> Stepper:
        """For a model, by one of `ROUTES`; `size` of a pass is in token positions if packed, in judgments if padded.

        With `adapters`, those of `vrm train` and the head are trained, and nothing else.
        """
        targets, pad = target_encoder(model.config), int(model.config.pad_token_id or 0)
        collate: Any = PaddedPasses(JudgmentCollator(targets, pad), size)
        if route == "packed":
            collate = PassCollator.of(model, targets, pad, size)
            if not collate.packed:
                raise RuntimeError(f"the backbone's rows are not packed: {model.packing_problem}")
        else:
            take_route(model, "padded")
        trained = with_adapters(model, LoraSettings()) if adapters else model
        parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
        trained.train()
        trained.score.register_forward_pre_hook(lambda *_: _enter(trained))
        return cls(trained, collate, precision, device, optimizer, TrainingLoss())

    def passes(self, items: Sequence[TokenizedJudgment]) -> list[dict[str, Any]]:
        """Collated, on the device."""
        with record_function(LOADING):
            return [_to(part, self.device) for part in passes_of(self.collate(items))]

    def forward(self, part: dict[str, Any]) -> Tensor:
        """Mean loss of a pass."""
        inputs = {key: value for key, value in part.items() if key not in target_keys()}
        with autocast(self.precision, self.device):
            output = self.model(**inputs)
        labels = {key: part[key] for key in target_keys()}
        terms = self.loss.terms(output, labels, self.model.score.prior_concentration)
        loss = self.loss.loss(terms).loss.mean()
        _leave(self.model)
        return loss

    def step(self, items: Sequence[TokenizedJudgment]) -> Tensor:
        """One optimizer step; the loss."""
        return self.step_on(self.passes(items), len(items))

    def step_on(self, passes: Sequence[dict[str, Any]], judgments: int) -> Tensor:
        """One optimizer step on collated passes."""
        losses = []
        for part in passes:
            loss = self.forward(part) * (len(part["mask"]) / judgments)
            loss.backward()
            losses.append(loss.detach())
        with record_function(OPTIMIZER):
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return torch.stack(losses).sum()


def _enter(model: Any) -> None:
    """The region of head and loss begins where the head is called, inside the model's forward."""
    model._region = record_function(HEAD)
    model._region.__enter__()


def _leave(model: Any) -> None:
    model._region.__exit__(None, None, None)
    del model._region


def _to(part: dict[str, Any], device: str) -> dict[str, Any]:
    return {
        key: _to(value, device) if isinstance(value, dict) else value.to(device, non_blocking=True)
        for key, value in part.items()
    }
