"""What a head says about judgments: distributions (1) and (2), and the parameters that likelihoods need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures, TensorRecord
from vrm.core.unfamiliarity import Unfamiliarity

MIN_RATING_SCALE = 0.1
"""Floor of tau, in standard deviations of a rating."""


@dataclass(frozen=True)
class RatingModel(TensorRecord):
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
class Posteriors(TensorRecord):
    """What a head says about a batch of judgments.

    Attributes:
        weights: objective weights, (batch, num_objectives).
        features: semantic features, (batch, num_completions, num_features).
        decoder: A, (num_objectives, num_features).
        rating_model: the parameters of (5).
        tie_threshold: c > 0 of (15), a scalar; None where the model has seen no ties, for c = 0.
        unfamiliarity: how unlike the training texts each completion is; None where the model keeps nothing of them.
    """

    weights: ObjectiveWeights
    features: SemanticFeatures
    decoder: Tensor
    rating_model: RatingModel
    tie_threshold: Tensor | None = None
    unfamiliarity: Unfamiliarity | None = None

    @classmethod
    def of_rewards(cls, rewards: Tensor, tie_threshold: Tensor | None = None) -> Posteriors:
        """Rewards (batch, num_completions) that are known: one objective of weight 1, one feature without variance."""
        one, features = rewards.new_ones(1), rewards.unsqueeze(-1)
        weights = ObjectiveWeights(rewards.new_ones(len(rewards), 1))
        known = SemanticFeatures(features, torch.zeros_like(features))
        return cls(weights, known, one.unsqueeze(-1), RatingModel(one[0], 0.0 * one, one), tie_threshold)

    @classmethod
    def concatenate(cls, parts: Sequence[Posteriors]) -> Posteriors:
        """One batch after the other, all of one head."""
        weights = ObjectiveWeights.concatenate([part.weights for part in parts])
        features = SemanticFeatures.concatenate([part.features for part in parts])
        known = [part.unfamiliarity for part in parts if part.unfamiliarity is not None]
        unfamiliarity = Unfamiliarity.concatenate(known) if known else None
        return replace(parts[0], weights=weights, features=features, unfamiliarity=unfamiliarity)

    def rows(self, rows: Tensor, num_completions: int | None = None) -> Posteriors:
        """Some judgments of the batch, and of their completions the first `num_completions`."""
        unfamiliarity = None if self.unfamiliarity is None else self.unfamiliarity[rows, :num_completions]
        features = self.features[rows, :num_completions]
        return replace(self, weights=self.weights[rows], features=features, unfamiliarity=unfamiliarity)

    def double(self) -> Posteriors:
        """In float64; the mean weights are computed anew, so that they add up to 1 as exactly."""
        doubled = self.map(Tensor.double)
        concentration = doubled.weights.concentration
        if concentration is None:
            return doubled
        return replace(doubled, weights=ObjectiveWeights.from_concentration(concentration, doubled.weights.tilt))
