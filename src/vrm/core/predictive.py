"""Rewards (3), their distribution in closed form, (9)-(12), and probabilities by (8) over fixed draws of w."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures, TensorRecord, dirichlet_draws
from vrm.core.posteriors import Posteriors
from vrm.core.quadrature import log_preference_probability, margin_given_weights

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


NUM_DRAWS = 64
"""Fixed draws of w behind every reported probability."""

NUM_NODES = 32
"""Gauss-Hermite nodes behind every reported probability: more than in training, where the samples of w are few."""


@dataclass(frozen=True)
class PredictiveMoments(TensorRecord):
    """Mean and variance of a reward or of a margin, the variance in its named parts; each (...,).

    Attributes:
        mean: E[r] (9) or E[u] (11).
        feature_variance: "how good is it?", m^T S m.
        weight_variance: "what matters here?", o^T C o.
        interaction_variance: tr(C S).
        parameter_variance: "does it know such texts?", V_e of (20), from doubt about the model's own parameters.
    """

    mean: Tensor
    feature_variance: Tensor
    weight_variance: Tensor
    interaction_variance: Tensor
    parameter_variance: Tensor

    @property
    def variance(self) -> Tensor:
        """Var[r] (10) or Var[u] (11)."""
        return self.feature_variance + self.weight_variance + self.interaction_variance + self.parameter_variance

    @property
    def std(self) -> Tensor:
        """Standard deviation."""
        return self.variance.sqrt()


def reward_moments(weights: ObjectiveWeights, features: SemanticFeatures, decoder: Tensor) -> PredictiveMoments:
    """Equations (9) and (10). Weights (..., num_objectives) and features (..., num_features) broadcast.

    Of a rater (16), the tilt's part of the mean is b . o(mu), and its variance is doubt about weights.
    """
    scores = objective_scores(features.loc, decoder)
    feature = features.variance_along(weights.mean @ decoder)
    # tr(C S) = (sum_k m_k S_kk - m^T S m) / (total + 1): of S only the diagonal is needed.
    if features.full:
        diagonal = torch.einsum("ki,...ij,kj->...k", decoder, features.variance, decoder)
    else:
        diagonal = features.variance @ decoder.square().T
    trace = ((weights.mean * diagonal).sum(-1) - feature).clamp_min(0.0) / (weights.total + 1.0)
    mean, weight = reward(weights.mean, scores), weights.covariance_form(scores)
    if weights.tilt is not None:
        mean, weight = mean + weights.tilt.mean(scores), weight + weights.tilt.variance(scores)
    return PredictiveMoments(mean, feature, weight, trace, features.doubt_variance())


def completion_moments(posteriors: Posteriors) -> PredictiveMoments:
    """Moments (9), (10) of every completion of every judgment, (batch, num_completions)."""
    return reward_moments(posteriors.weights[:, None], posteriors.features, posteriors.decoder)


def margin_moments(
    weights: ObjectiveWeights, first: SemanticFeatures, second: SemanticFeatures, decoder: Tensor
) -> PredictiveMoments:
    """Equation (11): the margin r_a - r_b of two completions judged under one w; the target margin is left out.

    Both sides with diagonal, or both with full, covariance.
    """
    doubt = None if first.doubt is None or second.doubt is None else first.doubt - second.doubt
    difference = SemanticFeatures(first.loc - second.loc, first.variance + second.variance, first.full, doubt)
    return reward_moments(weights, difference, decoder)


def probit_probability(moments: PredictiveMoments) -> Tensor:
    """Equation (12), P(a > b) ~= sigma(E[u] / sqrt(1 + pi/8 Var[u])), (...,); for display only."""
    return torch.sigmoid(moments.mean / (1.0 + math.pi / 8.0 * moments.variance).sqrt())


def pessimistic_reward(moments: PredictiveMoments, kappa: float) -> Tensor:
    """E[r] - kappa sqrt(Var[r]), (...,)."""
    return moments.mean - kappa * moments.std


def exponential_reward(posteriors: Posteriors, beta: float, num_draws: int = NUM_DRAWS) -> Tensor:
    """The effective reward -beta log E exp(-r / beta) of every completion, (batch, num_completions).

    What a judge with constant absolute risk aversion 1 / beta would take for certain. Given w the reward is Gaussian
    and the expectation closed; over w it is the mean over the fixed draws, moved to have the exact mean. At most E[r];
    it tends to E[r] for large beta and to the worst case for small. In float64.

    Args:
        posteriors: of the batch.
        beta: > 0, in raw units of reward.
        num_draws: of w, fixed.
    """
    exact = posteriors.double()
    draws = fixed_weight_draws(exact.weights, num_draws).unsqueeze(-2)
    scores = objective_scores(exact.features.loc, exact.decoder)
    given_weights = reward(draws, scores)
    away = given_weights - given_weights.mean(0)
    variance = exact.features.variance_along(draws @ exact.decoder) + exact.features.doubt_variance()
    if exact.weights.tilt is not None:
        variance = variance + exact.weights.tilt.variance(scores)
    log_mean = (variance / (2.0 * beta**2) - away / beta).logsumexp(0) - math.log(len(draws))
    return (completion_moments(exact).mean - beta * log_mean).to(posteriors.features.loc)


def fixed_weight_draws(weights: ObjectiveWeights, num_draws: int = NUM_DRAWS, seed: int = 0) -> Tensor:
    """Deterministic draws of w, (num_draws, batch, num_objectives), the same for a row whatever batch it is in.

    Torch's generators are left alone, and nothing is differentiated; see `dirichlet_draws`.

    Args:
        weights: (batch, num_objectives); a point mass gives its mean, once.
        num_draws: draws a row.
        seed: of the generator.
    """
    if weights.concentration is None:
        return weights.mean.unsqueeze(0)
    draws = dirichlet_draws(weights.concentration.detach().double().cpu(), num_draws, seed)
    return draws.to(weights.mean)


def log_probabilities(
    weights: ObjectiveWeights,
    first: SemanticFeatures,
    second: SemanticFeatures,
    decoder: Tensor,
    num_draws: int = NUM_DRAWS,
    num_nodes: int = NUM_NODES,
    target_margin: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor]:
    """log P(a > b) and log P(b > a), each (batch,): (8) averaged over fixed draws of w; what every metric uses.

    `target_margin`, (batch,) or a number, is 0 for quality metrics; for rater metrics it is minus the offset of (14).
    """
    draws = fixed_weight_draws(weights, num_draws)
    margins = margin_given_weights(draws, first, second, decoder, target_margin)
    if weights.tilt is not None:
        margins = margins.tilted(weights.tilt, objective_scores(first.loc - second.loc, decoder))
    return log_preference_probability(margins, num_nodes)


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
    doubt = None if features.doubt is None else features.doubt - (share * features.doubt).sum(-2, keepdim=True)
    if features.full:
        share = share.unsqueeze(-1)
    dimension = -3 if features.full else -2
    each = share.amax(dimension, keepdim=True)  # 1 / N
    average = (share * features.variance).sum(dimension, keepdim=True)
    variance = (1.0 - 2.0 * each) * features.variance + each * average
    relative = SemanticFeatures(features.loc - loc, variance, features.full, doubt)
    return reward_moments(weights[..., None, :], relative, decoder)
