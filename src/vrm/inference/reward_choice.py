"""Which reward is wanted. Loads neither torch nor transformers: options are checked before a model is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from vrm.choices import RewardScale, Risk
from vrm.errors import ConfigError, check_choice


@dataclass(frozen=True)
class RewardChoice:
    """Which reward is wanted.

    Attributes:
        reward_scale: `raw` or `standardized` (by the stored mean and spread of rewards); None: as the model is set.
        kappa: >= 0, asks for the pessimistic reward E[r] - kappa sqrt(Var[r]) too; None for the mean alone.
        beta: > 0, asks for the effective reward -beta log E exp(-r / beta) too, in the rewards' units; not with kappa.
        risk: one of `vrm.choices.Risk`, with its number: `pessimistic` with kappa, `exponential` with beta; None: as
            the number says.

    Raises:
        ConfigError: for a value that is not allowed.
    """

    reward_scale: str | None = None
    kappa: float | None = None
    beta: float | None = field(default=None, kw_only=True)
    risk: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.reward_scale is not None:
            check_choice("reward_scale", self.reward_scale, RewardScale)
        if self.kappa is not None:
            check_kappa(self.kappa)
        if self.beta is not None:
            check_beta(self.beta)
        if self.risk is not None or None not in (self.kappa, self.beta):
            _check_risk(self.risk or Risk.EXPONENTIAL, self.kappa, self.beta)


RAW = RewardChoice(RewardScale.RAW)
"""E[r] in raw units, however the model is set."""


def check_kappa(kappa: float) -> None:
    """Raise ConfigError unless kappa is finite and at least 0."""
    if not 0 <= kappa < math.inf:
        raise ConfigError(f"kappa must be finite and >= 0, got {kappa}")


def check_beta(beta: float) -> None:
    """Raise ConfigError unless beta is finite and above 0."""
    if not 0 < beta < math.inf:
        raise ConfigError(f"beta must be finite and > 0, got {beta}")


def _check_risk(risk: str, kappa: float | None, beta: float | None) -> None:
    """Raise ConfigError unless this kind of risk has its own number, and not the other's."""
    check_choice("risk", risk, Risk)
    numbers = {Risk.PESSIMISTIC: ("kappa", kappa), Risk.EXPONENTIAL: ("beta", beta)}
    for kind, (name, value) in numbers.items():
        if kind == risk and value is None:
            raise ConfigError(f"risk '{risk}' needs {name}: give a number")
        if kind != risk and value is not None:
            raise ConfigError(f"{name} is of risk '{kind}', and risk is '{risk}': leave one of them out")
