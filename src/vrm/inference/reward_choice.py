"""Which reward is wanted. Loads neither torch nor transformers: options are checked before a model is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vrm.choices import RewardScale
from vrm.errors import ConfigError, check_choice


@dataclass(frozen=True)
class RewardChoice:
    """Which reward is wanted.

    Attributes:
        reward_scale: `raw` or `standardized` (by the stored mean and spread of rewards); None: as the model is set.
        kappa: >= 0, asks for the pessimistic reward E[r] - kappa sqrt(Var[r]) too; None for the mean alone.

    Raises:
        ConfigError: for a value that is not allowed.
    """

    reward_scale: str | None = None
    kappa: float | None = None

    def __post_init__(self) -> None:
        if self.reward_scale is not None:
            check_choice("reward_scale", self.reward_scale, RewardScale)
        if self.kappa is not None:
            check_kappa(self.kappa)


RAW = RewardChoice(RewardScale.RAW)
"""E[r] in raw units, however the model is set."""


def check_kappa(kappa: float) -> None:
    """Raise ConfigError unless kappa is finite and at least 0."""
    if not 0 <= kappa < math.inf:
        raise ConfigError(f"kappa must be finite and >= 0, got {kappa}")
