"""Objective scores and rewards, equation (3), and the units that rewards are given in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

Values = TypeVar("Values", float, Tensor)


def objective_scores(features: Tensor, decoder: Tensor) -> Tensor:
    """o(z) = A z: features (..., num_features) and A (num_objectives, num_features) to (..., num_objectives)."""
    return features @ decoder.T


def reward(weights: Tensor, scores: Tensor) -> Tensor:
    """r = w . o: weights and objective scores (..., num_objectives), broadcast, to (...,)."""
    return (weights * scores).sum(-1)


@dataclass(frozen=True)
class RewardUnits:
    """Units of rewards; the defaults are those of raw rewards.

    Attributes:
        loc: a raw reward that counts as 0.
        scale: raw rewards in one unit, > 0.
    """

    loc: float = 0.0
    scale: float = 1.0

    def of(self, values: Values) -> Values:
        """Raw rewards, or raw objective scores, in these units.

        Weights sum to 1, so r = w . o holds for the scores in these units too.
        """
        return (values - self.loc) / self.scale

    def spread(self, std: Values) -> Values:
        """Standard deviations of raw rewards in these units."""
        return std / self.scale
