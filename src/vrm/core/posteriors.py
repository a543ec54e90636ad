"""What a head says about judgments: distributions (1) and (2), and the parameters that likelihoods need."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures

MIN_RATING_SCALE = 0.1
"""Floor of tau, in standard deviations of a rating."""


@dataclass(frozen=True)
class RatingModel:
    """rho_k | z ~ N(g o_k(z) + e_k, tau_k^2), equation (5).

    Attributes:
        slope: g > 0, a scalar shared by all objectives (a slope each would let scores and weights trade scale).
        offset: e, (num_objectives,).
        scale: tau >= 0.1, (num_objectives,).
    """

    slope: Tensor
    offset: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Posteriors:
    """What a head says about a batch of judgments.

    Attributes:
        weights: objective weights, (batch, num_objectives).
        features: semantic features, (batch, num_completions, num_features).
        decoder: A, (num_objectives, num_features).
        rating_model: the parameters of (5).
    """

    weights: ObjectiveWeights
    features: SemanticFeatures
    decoder: Tensor
    rating_model: RatingModel
