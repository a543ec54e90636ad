"""Expectations of (4) over the semantic features: Gauss-Hermite quadrature (8)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch import Tensor
from torch.nn.functional import logsigmoid

from vrm.core.distributions import SemanticFeatures, Tilt
from vrm.errors import ConfigError

VARIANCE_JITTER = 1e-8
"""Added under the square root of (8), so that its gradient stays finite at zero variance."""

DEFAULT_NODES = 16


@lru_cache(maxsize=16)
def _nodes(num_nodes: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    points, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    return tuple(points.tolist()), tuple(np.log(weights / weights.sum()).tolist())


def gauss_hermite(num_nodes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and log-weights, each (num_nodes,), for expectations under N(0, 1); dtype and device as `like`."""
    points, log_weights = _nodes(num_nodes)
    return like.new_tensor(points), like.new_tensor(log_weights)


@dataclass(frozen=True)
class MarginGivenWeights:
    """The Gaussian of u given w, equation (8). `mean` and `variance` are (num_samples, batch)."""

    mean: Tensor
    variance: Tensor

    def tilted(self, tilt: Tilt, scores: Tensor) -> MarginGivenWeights:
        """With a rater's tilt (16), for differences of the objective scores, (batch, num_objectives)."""
        return MarginGivenWeights(self.mean + tilt.mean(scores), self.variance + tilt.variance(scores))

    def nodes(self, num_nodes: int = DEFAULT_NODES) -> tuple[Tensor, Tensor]:
        """Values of u (num_samples, batch, num_nodes) and the log-weights (num_nodes,)."""
        points, log_weights = gauss_hermite(num_nodes, self.mean)
        scale = (self.variance + VARIANCE_JITTER).sqrt()
        return self.mean.unsqueeze(-1) + scale.unsqueeze(-1) * points, log_weights


def margin_given_weights(
    weight_samples: Tensor,
    first: SemanticFeatures,
    second: SemanticFeatures,
    decoder: Tensor,
    target_margin: Tensor | float = 0.0,
) -> MarginGivenWeights:
    """Mean and variance of u = r_a - r_b - t given w, equation (8), doubt about parameters included.

    Args:
        weight_samples: (num_samples, batch, num_objectives).
        first: features of completion a, `loc` (batch, num_features).
        second: features of completion b.
        decoder: A, (num_objectives, num_features).
        target_margin: t, (batch,) or a number; a nuisance offset (14) enters here as t - (h_a - h_b).
    """
    direction = weight_samples @ decoder
    mean = (direction * (first.loc - second.loc)).sum(-1) - target_margin
    variance = first.variance_along(direction) + second.variance_along(direction)
    return MarginGivenWeights(mean, variance + first.doubt_variance(second))


def offset_margin(target_margin: Tensor, first: Tensor, second: Tensor, factor: float = 1.0) -> Tensor:
    """Target margin t - factor (h_a - h_b): so that u of (4) gains the nuisance offset of (14).

    Args:
        target_margin: t, (batch,).
        first: h(nu_a), (batch,).
        second: h(nu_b), (batch,).
        factor: in [0, 1], chosen on a dev fold.

    Raises:
        ConfigError: for a factor outside [0, 1].
    """
    if not 0.0 <= factor <= 1.0:
        raise ConfigError(f"factor must be in [0, 1], got {factor}")
    return target_margin - factor * (first - second)


def log_preference_probability(
    margins: MarginGivenWeights, num_nodes: int = DEFAULT_NODES, correct_bias: bool = False
) -> tuple[Tensor, Tensor]:
    """log P(a > b) and log P(b > a), each (batch,): the log of the mean over samples of GH[sigma(u)], as (7') needs.

    Args:
        margins: (8) for each sample of w.
        num_nodes: Gauss-Hermite nodes.
        correct_bias: see `log_mean_exp`; for training, where samples are few.
    """
    values, log_weights = margins.nodes(num_nodes)
    given_weights = ((logsigmoid(u) + log_weights).logsumexp(-1) for u in (values, -values))
    first, second = (log_mean_exp(logs, correct_bias) for logs in given_weights)
    return first, second


def log_mean_exp(logs: Tensor, correct_bias: bool = False) -> Tensor:
    """Log of the mean over samples of probabilities given by their logs, (num_samples, batch) to (batch,).

    The log of a mean p of S samples is too low by Var / (2 S p^2) to first order, which teaches weights that are too
    sure. `correct_bias` adds that term as estimated from the samples; it is at most 1/2, and zero for one sample.
    """
    number = logs.shape[0]
    log_mean = logs.logsumexp(0) - math.log(number)
    if not correct_bias or number == 1:
        return log_mean
    relative_variance = ((logs - log_mean).exp() - 1.0).square().sum(0) / (number - 1)
    return log_mean + relative_variance / (2 * number)
