"""Ranked lists, Plackett-Luce under one w: the rewards are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from vrm.core.likelihoods.base import DrawnOutcome, Judgments


def plackett_luce_log_likelihood(rewards: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """Plackett-Luce log-likelihood of a ranking by scores, in nats; tied scores as Breslow (1974) treats ties.

    Each completion competes with those whose score is not higher. For two completions this is (4) with p = 1, and
    with equal scores twice (4) with p = 1/2.

    Args:
        rewards: (..., num_completions).
        scores: (..., num_completions), higher is better; entries outside the mask are ignored.
        mask: (..., num_completions) bool, which completions exist.

    Returns:
        (...,); zero where fewer than two completions exist.
    """
    not_higher = scores.unsqueeze(-2) <= scores.unsqueeze(-1)
    competes = not_higher & mask.unsqueeze(-2)
    # A row outside the mask competes with itself alone, so that no logsumexp runs over an empty set.
    competes = competes | torch.eye(rewards.shape[-1], dtype=torch.bool, device=rewards.device)
    rewards = rewards.masked_fill(~mask, 0.0)
    others = rewards.unsqueeze(-2).expand(competes.expand(*rewards.shape, rewards.shape[-1]).shape)
    log_total = others.masked_fill(~competes, float("-inf")).logsumexp(-1)
    return ((rewards - log_total) * mask).sum(-1)


class Ranking(DrawnOutcome):
    """Reads `scores`, (batch, num_completions) of ranked lists, higher is better, NaN elsewhere."""

    label = "scores"

    def _observed(self, judgments: Judgments) -> Tensor:
        return _ranked(judgments).sum(-1) >= 2

    def log_likelihood(self, rewards: Tensor, judgments: Judgments) -> Tensor:
        """Plackett-Luce given the rewards."""
        return plackett_luce_log_likelihood(rewards, judgments.scores.nan_to_num(), _ranked(judgments))


def _ranked(judgments: Judgments) -> Tensor:
    return judgments.mask & ~judgments.scores.isnan()
