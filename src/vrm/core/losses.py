"""The two losses, (7) `variational` and (7') `marginal`, as raw terms for each judgment.

Nothing here is reduced over the batch and nothing is weighted before it is named: `LossTerms` holds raw terms,
`weighted_loss` is the only place where weights meet them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures, kl_objective_weights, kl_semantic_features
from vrm.core.nuisance import offset_margin
from vrm.core.preference import plackett_luce_log_likelihood
from vrm.core.quadrature import (
    DEFAULT_NODES,
    VARIANCE_JITTER,
    MarginGivenWeights,
    expected_comparison,
    log_mean_exp,
    log_preference_probability,
    margin_given_weights,
)
from vrm.core.ratings import RatingModel, condition_on_ratings, expected_rating_log_likelihood
from vrm.core.votes import dirichlet_multinomial_log_likelihood, expected_vote_log_likelihood, weights_given_votes


class PromptIgnoredWarning(UserWarning):
    """The weight KL is under 0.01 nats: the objective weights no longer depend on the prompt."""


MIN_WEIGHT_KL = 0.01
"""Weight KL in nats under which the prompt counts as ignored."""

RANKING_DRAWS = 8
"""Draws of the rewards of a ranked list for each draw of w, half of them mirror images of the others."""


def warn_if_prompt_ignored(mean_kl_weights: float) -> bool:
    """Warn with `PromptIgnoredWarning` where the mean raw weight KL is under `MIN_WEIGHT_KL`; whether it did.

    A small KL shows that the weights are the prior's for every prompt. The converse does not hold: a large KL may be
    the same departure from the prior everywhere.

    Args:
        mean_kl_weights: mean of `LossTerms.kl_weights` over judgments, in nats, unweighted. Heads whose weights are
            a point mass have none, and should not be asked.
    """
    if mean_kl_weights >= MIN_WEIGHT_KL:
        return False
    message = (
        f"the mean KL of the objective weights is {mean_kl_weights:.2g} nats, under {MIN_WEIGHT_KL}: the weights no "
        "longer depend on the prompt. Lower the multiplier of the weight KL, train longer, or add objective votes"
    )
    warnings.warn(message, PromptIgnoredWarning, stacklevel=2)
    return True


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


@dataclass(frozen=True)
class Judgments:
    """What the judges said about a batch, padded to the largest number of completions.

    Attributes:
        mask: (batch, num_completions) bool, which completions exist.
        preference: (batch,) p that the first of two is preferred, NaN without a comparison; or None.
        margin: (batch,) target margin t; or None for 0.
        scores: (batch, num_completions) of ranked lists, NaN elsewhere; or None.
        ratings: (batch, num_completions, num_objectives), standardized, NaN where missing; or None.
        votes: (batch, num_objectives), zero rows where missing; or None.
        offsets: (batch, num_completions) factor h(nu) of (14), added to the rewards in comparisons and ranked lists
            alone; or None for 0.
    """

    mask: Tensor
    preference: Tensor | None = None
    margin: Tensor | None = None
    scores: Tensor | None = None
    ratings: Tensor | None = None
    votes: Tensor | None = None
    offsets: Tensor | None = None

    @property
    def is_ranked(self) -> Tensor:
        """(batch,) bool: which judgments are ranked lists."""
        if self.scores is None:
            return self.mask.new_zeros(self.mask.shape[0])
        return (~self.scores.isnan() & self.mask).sum(-1) >= 2

    @property
    def is_comparison(self) -> Tensor:
        """(batch,) bool: which judgments are comparisons."""
        if self.preference is None or self.mask.shape[1] < 2:
            return self.mask.new_zeros(self.mask.shape[0])
        return ~self.preference.isnan()


@dataclass(frozen=True)
class LossTerms:
    """Raw log-likelihoods and KLs, each (batch,), in nats, unweighted, zero where a judgment does not have them."""

    comparison: Tensor
    ranking: Tensor
    ratings: Tensor
    votes: Tensor
    kl_weights: Tensor
    kl_features: Tensor

    def as_dict(self) -> dict[str, Tensor]:
        """The terms by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


@dataclass(frozen=True)
class LossWeights:
    """Multipliers of the raw terms: lambda_r, lambda_v, and beta_w, beta_z of (7) or eta_w, eta_z of (7')."""

    ratings: float = 1.0
    votes: float = 1.0
    kl_weights: float = 0.0
    kl_features: float = 0.0


@dataclass(frozen=True)
class WeightedLoss:
    """The loss of each judgment, (batch,), and its weighted parts by name, each (batch,), signed as they enter."""

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


def weighted_loss(terms: LossTerms, weights: LossWeights) -> WeightedLoss:
    """Minus the weighted log-likelihoods plus the weighted KLs, for each judgment."""
    parts = {
        "comparison": -terms.comparison,
        "ranking": -terms.ranking,
        "ratings": -weights.ratings * terms.ratings,
        "votes": -weights.votes * terms.votes,
        "kl_weights": weights.kl_weights * terms.kl_weights,
        "kl_features": weights.kl_features * terms.kl_features,
    }
    return WeightedLoss(torch.stack(list(parts.values())).sum(0), parts)


def variational_terms(
    posteriors: Posteriors,
    judgments: Judgments,
    prior_concentration: Tensor,
    num_samples: int = 4,
    num_nodes: int = DEFAULT_NODES,
) -> LossTerms:
    """Terms of (7): expectations of the log-likelihoods under q, and the KLs to text-blind priors.

    Args:
        posteriors: q(w | x) and q(z | x, y).
        judgments: the outcomes.
        prior_concentration: alpha0, (num_objectives,).
        num_samples: reparameterized draws of w.
        num_nodes: Gauss-Hermite nodes for (8).
    """
    weights, features = posteriors.weights, posteriors.features
    samples = weights.rsample(num_samples)
    zeros = torch.zeros_like(weights.mean[:, 0])
    comparison = ranking = ratings = votes = zeros
    if judgments.preference is not None and bool(judgments.is_comparison.any()):
        margins = _pair_margins(samples, features, posteriors.decoder, judgments)
        label = judgments.preference.nan_to_num(0.5)
        comparison = _where(judgments.is_comparison, expected_comparison(margins, label, num_nodes))
    if judgments.scores is not None:
        ranking = _where(judgments.is_ranked, _ranking_samples(samples, posteriors, judgments).mean(0))
    if judgments.ratings is not None:
        entries = expected_rating_log_likelihood(
            judgments.ratings, features, posteriors.decoder, posteriors.rating_model
        )
        observed = (~judgments.ratings.isnan()).sum((-2, -1))
        ratings = entries.sum((-2, -1)) / observed.clamp_min(1)
    if judgments.votes is not None:
        votes = _where(judgments.votes.sum(-1) > 0, expected_vote_log_likelihood(judgments.votes, weights))
    return LossTerms(comparison, ranking, ratings, votes, *_kl_terms(posteriors, judgments, prior_concentration))


def marginal_terms(
    posteriors: Posteriors,
    judgments: Judgments,
    prior_concentration: Tensor,
    num_samples: int = 8,
    num_nodes: int = DEFAULT_NODES,
) -> LossTerms:
    """Terms of (7'): the likelihood of everything observed, by the chain rule votes, ratings, then label given both.

    Arguments as for `variational_terms`; the KL terms are those of the learned conditional priors to Dir(alpha0)
    and N(0, I).
    """
    weights, features = posteriors.weights, posteriors.features
    zeros = torch.zeros_like(weights.mean[:, 0])
    comparison = ranking = ratings = votes = zeros
    if judgments.votes is not None:
        votes = _where(judgments.votes.sum(-1) > 0, dirichlet_multinomial_log_likelihood(judgments.votes, weights))
        weights = weights_given_votes(judgments.votes, weights)
    if judgments.ratings is not None and bool((posteriors.features.variance > 0).all()):
        ratings, features = _condition_rated(judgments.ratings, posteriors)
    elif judgments.ratings is not None:
        # Zero variance: the marginal is the likelihood itself and there is nothing left to learn about z.
        entries = expected_rating_log_likelihood(
            judgments.ratings, features, posteriors.decoder, posteriors.rating_model
        )
        ratings = entries.sum((-2, -1))
    samples = weights.rsample(num_samples)
    given = Posteriors(weights, features, posteriors.decoder, posteriors.rating_model)
    if judgments.preference is not None and bool(judgments.is_comparison.any()):
        margins = _pair_margins(samples, features, posteriors.decoder, judgments)
        first, second = log_preference_probability(margins, num_nodes, correct_bias=True)
        label = judgments.preference.nan_to_num(0.5)
        comparison = _where(judgments.is_comparison, label * first + (1 - label) * second)
    if judgments.scores is not None:
        logs = _ranking_samples(samples, given, judgments)
        ranking = _where(judgments.is_ranked, log_mean_exp(logs, correct_bias=True))
    return LossTerms(comparison, ranking, ratings, votes, *_kl_terms(posteriors, judgments, prior_concentration))


def _pair_margins(
    samples: Tensor, features: SemanticFeatures, decoder: Tensor, judgments: Judgments
) -> MarginGivenWeights:
    margin: Tensor | float = 0.0 if judgments.margin is None else judgments.margin
    if judgments.offsets is not None:
        target = judgments.offsets.new_zeros(len(judgments.mask)) if judgments.margin is None else judgments.margin
        margin = offset_margin(target, judgments.offsets[:, 0], judgments.offsets[:, 1])
    return margin_given_weights(samples, features.completion(0), features.completion(1), decoder, margin)


def _condition_rated(ratings: Tensor, posteriors: Posteriors) -> tuple[Tensor, SemanticFeatures]:
    """log p(ratings), (batch,), and z | ratings; only rated completions pay for the linear algebra."""
    features = posteriors.features
    rated = (~ratings.isnan()).any(-1)
    if not bool(rated.any()):
        return torch.zeros_like(features.loc[:, 0, 0]), features
    chosen = SemanticFeatures(features.loc[rated], features.variance[rated])
    conditioned = condition_on_ratings(ratings[rated], chosen, posteriors.decoder, posteriors.rating_model)
    if bool(rated.all()):
        loc, variance = conditioned.features.loc, conditioned.features.variance
        full = SemanticFeatures(loc.view_as(features.loc), variance.view(*rated.shape, *variance.shape[-2:]), True)
        return conditioned.log_likelihood.view_as(rated).sum(-1), full
    place = (rated,)
    loc = features.loc.index_put(place, conditioned.features.loc)
    variance = features.variance.diag_embed().index_put(place, conditioned.features.variance)
    log_likelihood = torch.zeros_like(features.loc[..., 0]).index_put(place, conditioned.log_likelihood)
    return log_likelihood.sum(-1), SemanticFeatures(loc, variance, full=True)


def _ranking_samples(samples: Tensor, posteriors: Posteriors, judgments: Judgments) -> Tensor:
    """log PL of every ranked list for draws of w and z, (num_draws, batch).

    Given w the rewards of a list are independent Gaussians (8), so one normal for each completion stands for its z.
    """
    assert judgments.scores is not None
    features = posteriors.features
    direction = (samples @ posteriors.decoder).unsqueeze(-2)
    rewards = (direction * features.loc).sum(-1)
    if judgments.offsets is not None:
        rewards = rewards + judgments.offsets
    if not bool((features.variance == 0).all()):
        half = torch.randn(RANKING_DRAWS // 2, *rewards.shape, dtype=rewards.dtype, device=rewards.device)
        scale = (features.variance_along(direction) + VARIANCE_JITTER).sqrt()
        rewards = (rewards + scale * torch.cat([half, -half])).flatten(0, 1)
    ranked = judgments.mask & ~judgments.scores.isnan()
    return plackett_luce_log_likelihood(rewards, judgments.scores.nan_to_num(), ranked)


def _kl_terms(posteriors: Posteriors, judgments: Judgments, prior_concentration: Tensor) -> tuple[Tensor, Tensor]:
    per_completion = kl_semantic_features(posteriors.features)
    features = (per_completion * judgments.mask).sum(-1)
    return kl_objective_weights(posteriors.weights, prior_concentration), features


def _where(observed: Tensor, values: Tensor) -> Tensor:
    return torch.where(observed, values, torch.zeros_like(values))
