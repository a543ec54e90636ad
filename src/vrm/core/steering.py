"""Steering without training, equation (13), and the counts of a group of users fitted by MAP; tilts: `raters`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures, dirichlet_draws
from vrm.core.quadrature import log_preference_probability, margin_given_weights
from vrm.errors import ConfigError

MAX_LOG_COUNT = 8.0
"""Bound of the log of a fitted count: beyond e^8 votes the weights are a point for every purpose."""


def emphasize(weights: ObjectiveWeights, counts: Tensor) -> ObjectiveWeights:
    """alpha' = alpha + n, as if n further votes had been seen (13).

    Args:
        weights: (..., num_objectives), a Dirichlet.
        counts: n >= 0, (num_objectives,).

    Raises:
        ConfigError: for a point mass, which has no counts to add to, or a negative or non-finite count.
    """
    concentration = weights.require_concentration("emphasis")
    if not bool((torch.isfinite(counts) & (counts >= 0)).all()):
        raise ConfigError(f"emphasis counts must be finite and >= 0, got {counts.tolist()}")
    return ObjectiveWeights.from_concentration(concentration + counts, weights.tilt)


def without(weights: ObjectiveWeights, decoder: Tensor, keep: Tensor) -> tuple[ObjectiveWeights, Tensor]:
    """Leave objectives out (13): the remaining weights, renormalized, are exactly Dir(alpha of the remaining).

    Args:
        weights: (..., num_objectives).
        decoder: A, (num_objectives, num_features).
        keep: (num_objectives,) bool.

    Returns:
        Weights (..., num_kept) and the kept rows of A.

    Raises:
        ConfigError: if nothing is kept.
    """
    if not bool(keep.any()):
        raise ConfigError(f"all {keep.numel()} objectives were left out; at least one must remain")
    tilt = None if weights.tilt is None else weights.tilt.kept(keep)
    if weights.concentration is None:
        kept = weights.mean[..., keep]
        return ObjectiveWeights(kept / kept.sum(-1, keepdim=True), tilt=tilt), decoder[keep]
    return ObjectiveWeights.from_concentration(weights.concentration[..., keep], tilt), decoder[keep]


@dataclass(frozen=True)
class Comparisons:
    """A few comparisons of one group of users: weights (batch, num_objectives) and both sides' features."""

    weights: ObjectiveWeights
    first: SemanticFeatures
    second: SemanticFeatures
    preference: Tensor


def fit_tilt(
    comparisons: Comparisons, decoder: Tensor, prior_mean: float = 1.0, num_draws: int = 256, steps: int = 50
) -> Tensor:
    """One global tilt n >= 0 of a group, (num_objectives,), by MAP over its comparisons; use it with `emphasize`.

    The prior is an exponential of this mean for each count, so few comparisons move the weights little. The draws of
    w are a fixed function of the concentration, which makes the surface smooth enough for L-BFGS and the result
    deterministic; torch's generators are left alone.

    Args:
        comparisons: the group's judgments, all with Dirichlet weights.
        decoder: A, (num_objectives, num_features).
        prior_mean: prior mean of each count, in votes.
        num_draws: draws of w in every evaluation.
        steps: L-BFGS iterations.

    Returns:
        n, (num_objectives,), at most e^8.

    Raises:
        ConfigError: for point-mass weights or a prior mean that is not positive.
    """
    alpha = comparisons.weights.require_concentration("a tilt").detach().double().cpu()
    if not prior_mean > 0:
        raise ConfigError(f"prior_mean must be > 0, got {prior_mean}")
    log_counts = torch.full((alpha.shape[-1],), -2.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_counts], max_iter=steps, line_search_fn="strong_wolfe")

    def negative_log_posterior() -> Tensor:
        optimizer.zero_grad()
        counts = log_counts.clamp(max=MAX_LOG_COUNT).exp()
        loss = counts.sum() / prior_mean - _log_likelihood(comparisons, decoder, alpha + counts, num_draws)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(negative_log_posterior)
    return log_counts.detach().clamp(max=MAX_LOG_COUNT).exp().to(comparisons.weights.mean)


def _log_likelihood(comparisons: Comparisons, decoder: Tensor, concentration: Tensor, num_draws: int) -> Tensor:
    samples = dirichlet_draws(concentration, num_draws)
    first, second = (side.on_cpu().map(Tensor.double) for side in (comparisons.first, comparisons.second))
    margins = margin_given_weights(samples, first, second, decoder.detach().double().cpu())
    log_first, log_second = log_preference_probability(margins)
    label = comparisons.preference.double().cpu()
    return (label * log_first + (1 - label) * log_second).sum()
