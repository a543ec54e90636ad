"""Rewards relative to a prompt's average completion: the part of a reward that comparisons can know."""

from __future__ import annotations

from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.predictive import PredictiveMoments, reward_moments


def relative_moments(
    weights: ObjectiveWeights, features: SemanticFeatures, decoder: Tensor, mask: Tensor | None = None
) -> PredictiveMoments:
    """Moments of r_y - mean_j r_j among the completions j of one prompt, all judged under one w, (..., N).

    (11) with the prompt's average completion as the other side. The features of completions are independent, so those
    of z_y - mean_j z_j have variance (1 - 2/N) S_y + mean_j S_j / N. Rewards, and with them their objective scores, are
    known up to a constant a prompt. That constant drops out of these moments, but not out of (10), whose o(mu)^T C
    o(mu) grows with it (Zhu, Jiao and Jordan 2023 subtract a reference in their lower bound for the same reason).

    Args:
        weights: (..., num_objectives), one distribution a prompt.
        features: (..., N, num_features); `variance` with one dimension more if `full`.
        decoder: (num_objectives, num_features).
        mask: (..., N) bool, False for padding, whose moments mean nothing; None where there is none.
    """
    given = features.loc.new_ones(features.loc.shape[:-1]) if mask is None else mask.to(features.loc)
    share = (given / given.sum(-1, keepdim=True).clamp_min(1.0)).unsqueeze(-1)
    # A reference for every completion of the prompt: kept as a dimension of size 1.
    loc = (share * features.loc).sum(-2, keepdim=True)
    if features.full:
        share = share.unsqueeze(-1)
    dimension = -3 if features.full else -2
    each = share.amax(dimension, keepdim=True)  # 1 / N
    average = (share * features.variance).sum(dimension, keepdim=True)
    variance = (1.0 - 2.0 * each) * features.variance + each * average
    relative = SemanticFeatures(features.loc - loc, variance, features.full)
    return reward_moments(weights[..., None, :], relative, decoder)
