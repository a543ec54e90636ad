"""From what the model says about a judgment to what a request asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vrm.core.predictive import log_probabilities, pessimistic_reward
from vrm.core.reward import objective_scores
from vrm.inference.judged import JudgedBatch
from vrm.inference.score import numbers
from vrm.model.configuration_vrm import VRMConfig
from vrm.serve.errors import RequestError


@dataclass(frozen=True)
class RewardChoice:
    """Which reward is wanted.

    Attributes:
        reward_scale: `raw` or `standardized`; None: as the model is set.
        kappa: takes kappa standard deviations off; None: the mean.
    """

    reward_scale: str | None = None
    kappa: float | None = None

    def check(self, config: VRMConfig) -> None:
        """Raise RequestError if this model cannot follow it."""
        if self.kappa is not None and not config.has_reward_uncertainty:
            raise RequestError(
                f"kappa: head '{config.head}' has no uncertainty, so kappa would change nothing: leave it out", "kappa"
            )


@dataclass(frozen=True)
class Rewards:
    """Rewards of one judgment's completions, in the scale that was asked for.

    Attributes:
        mean: E[r] (9).
        std: square root of (10).
        pessimistic: E[r] - kappa sqrt(Var[r]); None without kappa.
        loc: what the scale takes off a raw reward.
        scale: what it then divides by.
    """

    mean: list[float]
    std: list[float]
    pessimistic: list[float] | None
    loc: float
    scale: float

    @property
    def chosen(self) -> list[float]:
        """The pessimistic rewards if there are any, else the means."""
        return self.mean if self.pessimistic is None else self.pessimistic


def rewards_of(row: JudgedBatch, config: VRMConfig, choice: RewardChoice) -> Rewards:
    """Rewards of a judged row.

    Raises:
        NumericsError: if one is not finite.
    """
    (judgment,) = row.judgments
    moments, count = row.moments, len(judgment.completions)
    standardized = (choice.reward_scale or config.reward_scale) == "standardized"
    loc, scale = (config.reward_mean, config.reward_std) if standardized else (0.0, 1.0)

    def listed(values: Tensor) -> list[float]:
        return numbers(values[0, :count], judgment)

    pessimistic = None
    if choice.kappa is not None:
        pessimistic = listed((pessimistic_reward(moments, choice.kappa) - loc) / scale)
    return Rewards(listed((moments.mean - loc) / scale), listed(moments.std / scale), pessimistic, loc, scale)


def named_weights(row: JudgedBatch) -> dict[str, float]:
    """{objective: E[w]} of a judged row."""
    values = numbers(row.posteriors.weights.mean[0], row.judgments[0])
    return dict(zip(row.objectives, values, strict=True))


def total_concentration(row: JudgedBatch) -> float | None:
    """Of a judged row's weights; None where they carry no uncertainty."""
    total = row.posteriors.weights.total
    return numbers(total, row.judgments[0])[0] if math.isfinite(float(total)) else None


def named_scores(row: JudgedBatch, rewards: Rewards) -> list[dict[str, float]]:
    """{objective: score} of every completion of a judged row, in the rewards' scale."""
    (judgment,) = row.judgments
    # Weights sum to 1, so shifting every objective score by the mean keeps r = w . o.
    scores = (objective_scores(row.posteriors.features.loc[0], row.posteriors.decoder) - rewards.loc) / rewards.scale
    return [
        dict(zip(row.objectives, numbers(values, judgment), strict=True))
        for values in scores[: len(judgment.completions)]
    ]


def preference_matrix(row: JudgedBatch) -> list[list[float]]:
    """Probabilities that completion i is preferred to completion j under the same weights, for all i and j."""
    (judgment,) = row.judgments
    count, posteriors = len(judgment.completions), row.posteriors
    matrix = torch.full((count, count), 0.5)
    if count > 1:
        first, second = torch.triu_indices(count, count, offset=1)
        rows = torch.zeros_like(first)
        log_first, log_second = log_probabilities(
            posteriors.weights,
            posteriors.features.take(rows, first),
            posteriors.features.take(rows, second),
            posteriors.decoder,
        )
        matrix[first, second], matrix[second, first] = log_first.exp(), log_second.exp()
    return [numbers(values, judgment) for values in matrix]
