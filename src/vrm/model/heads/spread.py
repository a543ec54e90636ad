"""What the second stage of (19) has found, applied to a head of means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from vrm.choices import StagePart
from vrm.core.posteriors import Posteriors
from vrm.core.second_stage import StageNumbers, spread_features, spread_weights
from vrm.model.heads.inputs import InputAxes

NUM_AXES = 8
"""Principal components that variances and concentrations may depend on."""


class SpreadSettings(Protocol):
    """What is read of `VRMConfig`."""

    stage_parts: list[str]

    @property
    def num_blocks(self) -> int:
        """Pooled vectors in the head's input."""

    @property
    def backbone_hidden_size(self) -> int:
        """Width of one of them."""


class Spread(nn.Module):
    """Variances of features and concentrations of weights, those that were kept; without any it changes nothing.

    The temperature and the tie threshold of the second stage are in the head's own parameters.
    """

    def __init__(self, config: SpreadSettings, num_features: int) -> None:
        super().__init__()
        self.parts = frozenset(config.stage_parts)
        blocks, width = config.num_blocks, config.backbone_hidden_size
        num_axes = min(NUM_AXES, blocks * width)
        self.prompt_axes = InputAxes(blocks, width, num_axes)
        self.completion_axes = InputAxes(blocks, width, num_axes)
        self.register_buffer("feature_scale", torch.ones(num_features, dtype=torch.float32))
        for name in ("variance", "log_total"):
            self.register_buffer(name, torch.zeros(1 + num_axes, dtype=torch.float32))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """As before any second stage."""
        for name, values in self.named_buffers():
            values.fill_(float(name == "feature_scale"))

    @torch.no_grad()
    def adopt(self, parts: Iterable[StagePart], feature_scale: Tensor, numbers: StageNumbers) -> None:
        """Take over the parts that were kept, with their numbers and Var[mu_i], (num_features,)."""
        self.parts = frozenset(map(str, parts))
        self.feature_scale.copy_(feature_scale)
        for buffer, values in ((self.variance, numbers.variance), (self.log_total, numbers.log_total)):
            if values is not None:
                buffer.copy_(values)

    def forward(self, posteriors: Posteriors, prompt_features: Tensor, completion_features: Tensor) -> Posteriors:
        """The posteriors with the same means and the spread that was kept; features as the head is given them."""
        weights, features = posteriors.weights, posteriors.features
        if StagePart.CONCENTRATION in self.parts:
            weights = spread_weights(weights, self.prompt_axes(prompt_features), self.log_total)
        if StagePart.VARIANCE in self.parts:
            axes = self.completion_axes(completion_features)
            features = spread_features(features, axes, self.variance, self.feature_scale)
        return replace(posteriors, weights=weights, features=features)
