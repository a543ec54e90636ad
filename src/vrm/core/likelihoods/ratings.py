"""Multi-attribute ratings: equation (5), and their exact marginal and conditional for (7')."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vrm.core.distributions import SemanticFeatures
from vrm.core.likelihoods.base import Evidence, Judgments, Latents
from vrm.core.posteriors import Posteriors, RatingModel


def expected_rating_log_likelihood(
    ratings: Tensor, features: SemanticFeatures, decoder: Tensor, model: RatingModel
) -> Tensor:
    """E_q[(5)] entry by entry in nats, zero where a rating is missing.

    Args:
        ratings: (..., num_objectives), standardized; NaN where missing.
        features: `loc` (..., num_features), diagonal.
        decoder: A, (num_objectives, num_features).
        model: the rating model.

    Returns:
        (..., num_objectives).
    """
    observed = ~ratings.isnan()
    residual = ratings.nan_to_num() - model.slope * (features.loc @ decoder.T) - model.offset
    spread = model.slope.square() * (features.variance @ decoder.square().T)
    variance = model.scale.square()
    terms = -0.5 * (2 * math.pi * variance).log() - (residual.square() + spread) / (2 * variance)
    return torch.where(observed, terms, torch.zeros_like(terms))


@dataclass(frozen=True)
class ConditionedOnRatings:
    """Exact Gaussian conditioning on ratings.

    Attributes:
        log_likelihood: (...,) log density of the observed ratings under the marginal, in nats; zero without any.
        features: z | rho, with full covariance; the unconditioned ones where nothing was observed.
    """

    log_likelihood: Tensor
    features: SemanticFeatures


class _InverseAndLogDeterminant(torch.autograd.Function):
    """Inverse and log-determinant of symmetric positive matrices by Cholesky.

    The backward pass of a batched Cholesky factor would cost more than all the rest of conditioning; the gradients
    of these two functions of the matrix need two products: -C G C and g C.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        factor = torch.linalg.cholesky(matrix)
        inverse = torch.cholesky_inverse(factor)
        ctx.save_for_backward(inverse)
        return inverse, 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        of_inverse, of_determinant = gradients
        return of_determinant[..., None, None] * inverse - inverse @ of_inverse @ inverse


def condition_on_ratings(
    ratings: Tensor, features: SemanticFeatures, decoder: Tensor, model: RatingModel
) -> ConditionedOnRatings:
    """Marginal of (7'), rho ~ N(g A mu + e, g^2 A diag(s2) A^T + diag tau^2), and z | rho.

    Works in the num_features-dimensional information form, so that missing entries are zero precision and the
    determinant comes from the matrix determinant lemma.

    Args:
        ratings: (..., num_objectives); NaN where missing.
        features: `loc` and diagonal `variance`, (..., num_features).
        decoder: A, (num_objectives, num_features).
        model: the rating model.
    """
    observed = ~ratings.isnan()
    precision = observed / model.scale.square()
    residual = torch.where(
        observed,
        ratings.nan_to_num() - model.slope * (features.loc @ decoder.T) - model.offset,
        torch.zeros_like(ratings),
    )
    loading = model.slope * decoder
    outer = (loading.unsqueeze(-1) * loading.unsqueeze(-2)).flatten(-2)
    information = (precision @ outer).unflatten(-1, 2 * loading.shape[-1:])
    information = information + torch.diag_embed(1.0 / features.variance)
    covariance, log_information = _InverseAndLogDeterminant.apply(information)
    shift = (precision * residual) @ loading
    update = (covariance @ shift.unsqueeze(-1)).squeeze(-1)
    log_determinant = log_information + features.variance.log().sum(-1) + (observed * 2 * model.scale.log()).sum(-1)
    # The Mahalanobis distance as a sum of squares at the posterior mean; r'Pr - shift'update would cancel.
    remaining = residual - update @ loading.T
    distance = (precision * remaining.square()).sum(-1) + (update.square() / features.variance).sum(-1)
    log_likelihood = -0.5 * (distance + log_determinant + observed.sum(-1) * math.log(2 * math.pi))
    any_observed = observed.any(-1)
    conditioned = SemanticFeatures(features.loc + update, covariance, full=True)
    return ConditionedOnRatings(
        torch.where(any_observed, log_likelihood, torch.zeros_like(log_likelihood)), conditioned
    )


class Ratings(Evidence):
    """Evidence about z. Reads `ratings`, (batch, num_completions, num_objectives), standardized, NaN where missing."""

    label = "ratings"

    def expected(self, judgments: Judgments, latents: Latents) -> Tensor:
        """The closed expectation of (5), as the mean over a row's observed entries."""
        observed = (~judgments.ratings.isnan()).sum((-2, -1))
        return _sum_of_expected(judgments, latents.posteriors) / observed.clamp_min(1)

    def condition(self, judgments: Judgments, posteriors: Posteriors) -> tuple[Tensor, Posteriors]:
        """The Gaussian marginal, summed over a row's completions, and z given the ratings."""
        if not bool((posteriors.features.variance > 0).all()):
            # Zero variance: the marginal is the likelihood itself and there is nothing left to learn about z.
            return _sum_of_expected(judgments, posteriors), posteriors
        log_likelihood, features = _condition_rated(judgments.ratings, posteriors)
        return log_likelihood, replace(posteriors, features=features)


def _sum_of_expected(judgments: Judgments, posteriors: Posteriors) -> Tensor:
    return expected_rating_log_likelihood(
        judgments.ratings, posteriors.features, posteriors.decoder, posteriors.rating_model
    ).sum((-2, -1))


def _condition_rated(ratings: Tensor, posteriors: Posteriors) -> tuple[Tensor, SemanticFeatures]:
    """log p(ratings), (batch,), and z | ratings; only rated completions pay for the linear algebra."""
    features = posteriors.features
    rated = (~ratings.isnan()).any(-1)
    conditioned = condition_on_ratings(ratings[rated], features[rated], posteriors.decoder, posteriors.rating_model)
    if bool(rated.all()):
        loc, variance = conditioned.features.loc, conditioned.features.variance
        full = SemanticFeatures(loc.view_as(features.loc), variance.view(*rated.shape, *variance.shape[-2:]), True)
        return conditioned.log_likelihood.view_as(rated).sum(-1), full
    place = (rated,)
    loc = features.loc.index_put(place, conditioned.features.loc)
    variance = features.variance.diag_embed().index_put(place, conditioned.features.variance)
    log_likelihood = torch.zeros_like(features.loc[..., 0]).index_put(place, conditioned.log_likelihood)
    return log_likelihood.sum(-1), SemanticFeatures(loc, variance, full=True)
