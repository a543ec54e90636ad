"""The head `bt`: the plain Bradley-Terry reward model."""

from __future__ import annotations

from torch import nn

from vrm.model.heads.base import HeadSettings, JudgmentHead


class BTHead(JudgmentHead):
    """One deterministic feature by a linear map; it is the reward, and A is 1."""

    is_scalar = True
    description = "one linear layer (Bradley-Terry)"

    def feature_network(self, config: HeadSettings, outputs: int) -> nn.Module:
        """A single linear layer."""
        return nn.Linear(config.feature_size, outputs)
