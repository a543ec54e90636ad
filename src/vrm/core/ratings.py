"""Multi-attribute ratings: equation (5), and their exact marginal and conditional for (7')."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vrm.core.distributions import SemanticFeatures

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


def _invert(matrix: Tensor) -> tuple[Tensor, Tensor]:
    inverse, log_determinant = _InverseAndLogDeterminant.apply(matrix)
    return inverse, log_determinant


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
    covariance, log_information = _invert(information)
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
