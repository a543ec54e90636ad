"""Objective votes, equation (6): which objectives decided; their expectation for (7) and exact forms for (7')."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights
from vrm.core.likelihoods.base import Evidence, Judgments, Latents
from vrm.core.posteriors import Posteriors
from vrm.errors import DataError


def normalize_votes(votes: Tensor, total: float = 1.0) -> Tensor:
    """Scale every row of (..., num_objectives) counts to this total; rows of zeros (no votes) stay zero."""
    counts = votes.sum(-1, keepdim=True)
    return torch.where(counts > 0, votes * (total / counts.clamp_min(torch.finfo(votes.dtype).tiny)), votes)


def ratings_as_votes(ratings: Tensor) -> Tensor:
    """The paper's regularizer of the weights: ratings normalized over the objectives and averaged over completions.

    Args:
        ratings: (..., num_completions, num_objectives) on their own, non-negative scale; NaN where missing.

    Returns:
        (..., num_objectives) votes with a total of 1, zero where nothing was rated.

    Raises:
        DataError: if a rating is negative (a share of a negative number means nothing).
    """
    if bool((ratings < 0).any()):
        raise DataError(f"ratings_as_votes needs ratings >= 0, got a minimum of {ratings.nan_to_num().min().item()}")
    shares = normalize_votes(ratings.nan_to_num())
    return normalize_votes(shares.sum(-2))


def expected_vote_log_likelihood(votes: Tensor, weights: ObjectiveWeights) -> Tensor:
    """E_q[(6)] = sum_k v_k (psi(alpha_k) - psi(sum_j alpha_j)) in nats, (...,); for a point mass sum_k v_k log w_k.

    Args:
        votes: (..., num_objectives), zero rows where missing.
        weights: (..., num_objectives).
    """
    if weights.concentration is None:
        return (votes * weights.mean.clamp_min(torch.finfo(weights.mean.dtype).tiny).log()).sum(-1)
    expected_log = weights.concentration.digamma() - weights.total.digamma().unsqueeze(-1)
    return (votes * expected_log).sum(-1)


def dirichlet_multinomial_log_likelihood(votes: Tensor, weights: ObjectiveWeights) -> Tensor:
    """log p(v) with w integrated out, (...,) in nats: the votes term of (7').

    With n = sum v: log Gamma(n + 1) / prod Gamma(v_k + 1) + log B(alpha + v) / B(alpha); gamma functions carry it to
    fractional votes. In float64, as differences of large log-gammas. For a point mass, the multinomial log-likelihood.
    """
    coefficient = torch.lgamma(votes.sum(-1) + 1) - torch.lgamma(votes + 1).sum(-1)
    if weights.concentration is None:
        return expected_vote_log_likelihood(votes, weights) + coefficient
    alpha, counts = weights.concentration.double(), votes.double()
    total, number = alpha.sum(-1), counts.sum(-1)
    ratio = (
        torch.lgamma(total)
        - torch.lgamma(total + number)
        + (torch.lgamma(alpha + counts) - torch.lgamma(alpha)).sum(-1)
    )
    return ratio.to(votes.dtype) + coefficient


def weights_given_votes(votes: Tensor, weights: ObjectiveWeights) -> ObjectiveWeights:
    """w | v ~ Dir(alpha + v), conjugate; a point mass does not learn."""
    if weights.concentration is None:
        return weights
    return ObjectiveWeights.from_concentration(weights.concentration + votes)


class Votes(Evidence):
    """Evidence about w. Reads `votes`, (batch, num_objectives), rows of zeros where missing."""

    label = "votes"

    def _observed(self, judgments: Judgments) -> Tensor:
        return judgments.votes.sum(-1) > 0

    def expected(self, judgments: Judgments, latents: Latents) -> Tensor:
        """The closed expectation of (6)."""
        return expected_vote_log_likelihood(judgments.votes, latents.posteriors.weights)

    def condition(self, judgments: Judgments, posteriors: Posteriors) -> tuple[Tensor, Posteriors]:
        """The Dirichlet-multinomial, and w given the votes."""
        votes, weights = judgments.votes, posteriors.weights
        log_likelihood = dirichlet_multinomial_log_likelihood(votes, weights)
        return log_likelihood, replace(posteriors, weights=weights_given_votes(votes, weights))
