"""Objective scores and rewards, equation (3)."""

from __future__ import annotations

from torch import Tensor


def objective_scores(features: Tensor, decoder: Tensor) -> Tensor:
    """o(z) = A z: features (..., num_features) and A (num_objectives, num_features) to (..., num_objectives)."""
    return features @ decoder.T


def reward(weights: Tensor, scores: Tensor) -> Tensor:
    """r = w . o: weights and objective scores (..., num_objectives), broadcast, to (...,)."""
    return (weights * scores).sum(-1)
