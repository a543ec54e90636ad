"""Where in torch's stream of random numbers a run's head finds its initial weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PretrainedConfig

from vrm.model.configuration_vrm import backbone_loader

MOST_DRAWS = 1_000_000_000
"""Numbers that are drawn at most: a few seconds. A backbone of 135 million weights takes 270 million."""


def draw_as_random_backbone(config: PretrainedConfig) -> None:
    """Move torch's generator on as if a backbone with random weights were made.

    Runs used to make one, and to put the pretrained one in its place. The head's initial weights are drawn after that,
    so that without these draws every seed would mean another head. Nothing is kept of them but room for the largest
    weight. After `MOST_DRAWS` numbers the rest of a large backbone is passed over.
    """
    with _DrawnInPassing():
        backbone_loader(config).from_config(config, dtype=torch.get_default_dtype())


class _DrawnInPassing(TorchDispatchMode):
    """Makes weights without memory, on the device `meta`; all draws for them go into the same room."""

    def __init__(self) -> None:
        super().__init__()
        self._left = MOST_DRAWS
        self._room = torch.empty(0)

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if operation is torch.ops.aten.empty.memory_format:
            return operation(*args, **kwargs | {"device": torch.device("meta")})
        weight = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if weight is not None and weight.is_meta and torch.Tag.nondeterministic_seeded in operation.tags:
            self._left -= weight.numel()
            if self._left >= 0:
                operation(self._room_for(weight), *args[1:], **kwargs)
        return operation(*args, **kwargs)

    def _room_for(self, weight: Tensor) -> Tensor:
        if self._room.numel() < weight.numel() or self._room.dtype != weight.dtype:
            self._room = torch.empty(weight.numel(), dtype=weight.dtype)
        return self._room[: weight.numel()]
