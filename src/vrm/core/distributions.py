"""The two latents: objective weights, equation (1), and semantic features, equation (2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Dirichlet, Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from vrm.core.records import BatchRecord
from vrm.errors import ConfigError

MIN_CONCENTRATION = 1e-2
"""Floor of every concentration: below about 1e-3 Dirichlet samples and their gradients break in any precision."""

LOG_TOTAL_RANGE = (math.log(1e-2), math.log(1e4))
"""Range of the log of the total concentration above the floor."""


def concentration_from_logits(logits: Tensor, log_total: Tensor) -> Tensor:
    """Concentration of (1): 1e-2 + exp(clamp(c)) softmax(logits), a mean and a total apart.

    Args:
        logits: (..., num_objectives).
        log_total: (...,), c; clamped to `LOG_TOTAL_RANGE`.

    Returns:
        (..., num_objectives), each entry at least 1e-2.
    """
    total = log_total.clamp(*LOG_TOTAL_RANGE).exp()
    return MIN_CONCENTRATION + total.unsqueeze(-1) * logits.softmax(-1)


@dataclass(frozen=True)
class ObjectiveWeights(BatchRecord):
    """Objective weights w: a Dirichlet, or a point mass for heads that do not sample.

    An index picks rows, and `weights[:, None]` broadcasts against the completions of a row.

    Attributes:
        mean: (..., num_objectives), on the simplex.
        concentration: (..., num_objectives), or None for a point mass at `mean`.
    """

    mean: Tensor
    concentration: Tensor | None = None

    @classmethod
    def from_concentration(cls, concentration: Tensor) -> ObjectiveWeights:
        """Dirichlet weights with this concentration."""
        return cls(concentration / concentration.sum(-1, keepdim=True), concentration)

    @property
    def is_point_mass(self) -> bool:
        """Whether the weights carry no uncertainty."""
        return self.concentration is None

    @property
    def total(self) -> Tensor:
        """Total concentration (...,), infinite for a point mass: what C of (10) is divided by, but for 1."""
        if self.concentration is None:
            return self.mean.new_full(self.mean.shape[:-1], math.inf)
        return self.concentration.sum(-1)

    @property
    def total_concentration(self) -> Tensor | None:
        """Total concentration (...,) as models report it; None for a point mass."""
        return None if self.concentration is None else self.total

    @property
    def distribution(self) -> Dirichlet:
        """The Dirichlet; raises ConfigError for a point mass."""
        return Dirichlet(self.require_concentration("their distribution"))

    def require_concentration(self, purpose: str) -> Tensor:
        """The concentration, (..., num_objectives); ConfigError, naming the purpose, for a point mass."""
        if self.concentration is None:
            raise ConfigError(
                f"these weights are a point mass, without a concentration, so {purpose} is not defined; "
                "use a head that models the uncertainty of the weights ('vrm')"
            )
        return self.concentration

    def rsample(self, num_samples: int) -> Tensor:
        """Reparameterized samples (num_samples, ..., num_objectives); one sample, the mean, for a point mass."""
        if self.concentration is None:
            return self.mean.unsqueeze(0)
        return self.distribution.rsample(torch.Size([num_samples]))

    def covariance_form(self, vector: Tensor) -> Tensor:
        """v^T C v with C = (diag(m) - m m^T) / (total + 1), as used by (10) and (11).

        Args:
            vector: (..., num_objectives), broadcast against the mean.

        Returns:
            (...,), never negative.
        """
        # Centred first: E[v^2] - E[v]^2 would cancel where the objective scores are large and alike.
        centred = vector - (self.mean * vector).sum(-1, keepdim=True)
        return (self.mean * centred.square()).sum(-1) / (self.total + 1.0)


@dataclass(frozen=True)
class SemanticFeatures(BatchRecord):
    """Semantic features z: a Gaussian with diagonal, or after conditioning on ratings full, covariance.

    An index picks rows, and completions of them.

    Attributes:
        loc: (..., num_features).
        variance: (..., num_features) diagonal, or (..., num_features, num_features) if `full`.
        full: whether `variance` holds full covariance matrices.
    """

    loc: Tensor
    variance: Tensor
    full: bool = False

    @property
    def distribution(self) -> Distribution:
        """The Gaussian over the last dimension."""
        if self.full:
            return MultivariateNormal(self.loc, covariance_matrix=self.variance)
        return Independent(Normal(self.loc, self.variance.sqrt()), 1)

    def rsample(self, num_samples: int) -> Tensor:
        """Reparameterized samples (num_samples, ..., num_features)."""
        return self.distribution.rsample(torch.Size([num_samples]))

    def variance_along(self, direction: Tensor) -> Tensor:
        """a^T Cov[z] a for directions (..., num_features), broadcast against `loc`; (...,)."""
        if self.full:
            return torch.einsum("...i,...ij,...j->...", direction, self.variance, direction)
        return (direction.square() * self.variance).sum(-1)

    def completion(self, index: int) -> SemanticFeatures:
        """The features of one completion, from features (batch, num_completions, ...)."""
        return self[:, index]


def kl_objective_weights(weights: ObjectiveWeights, prior_concentration: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(alpha0)) in nats, (...,); zero for a point mass, which has no density.

    In float64: at a total of 1e4 the log-gammas are near 1e5 and float32 would lose the second decimal.
    """
    if weights.concentration is None:
        return torch.zeros_like(weights.mean[..., 0])
    posterior = Dirichlet(weights.concentration.double())
    prior = Dirichlet(prior_concentration.double().expand_as(weights.concentration))
    return kl_divergence(posterior, prior).to(weights.mean.dtype)


def kl_semantic_features(features: SemanticFeatures) -> Tensor:
    """KL(N(mu, Cov) || N(0, I)) in nats, (...,); zero where the variance is exactly zero everywhere (no density)."""
    if features.full:
        loc = features.loc
        identity = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        return kl_divergence(features.distribution, MultivariateNormal(torch.zeros_like(loc), identity))
    return gaussian_kl_per_feature(features).sum(-1)


def gaussian_kl_per_feature(features: SemanticFeatures) -> Tensor:
    """KL of each feature to N(0, 1) in nats, (..., num_features); a feature is active where its mean is above 0.01.

    Features of zero variance (deterministic heads) have no density; theirs is reported as zero.
    """
    degenerate = features.variance == 0
    scale = torch.where(degenerate, torch.ones_like(features.variance), features.variance).sqrt()
    loc = torch.where(degenerate, torch.zeros_like(features.loc), features.loc)
    return kl_divergence(Normal(loc, scale), Normal(torch.zeros_like(loc), torch.ones_like(scale)))
