"""The two latents: objective weights, equation (1), and semantic features, equation (2); fixed draws of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Dirichlet, Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from vrm.errors import ConfigError


@dataclass(frozen=True)
class TensorRecord:
    """Base of dataclasses whose fields are tensors, further records, and values that are left alone."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The record with every tensor in it, however deep, passed through a function."""
        changed: dict[str, Any] = {}
        for name, value in self._values():
            if isinstance(value, TensorRecord):
                changed[name] = value.map(function)
            elif isinstance(value, Tensor):
                changed[name] = function(value)
        return replace(self, **changed)

    def on_cpu(self) -> Self:
        """The record on the CPU, without gradients."""
        return self.map(lambda values: values.detach().cpu())

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor in the record, however deep."""
        for _, value in self._values():
            if isinstance(value, TensorRecord):
                yield from value.tensors()
            elif isinstance(value, Tensor):
                yield value

    def _values(self) -> Iterator[tuple[str, Any]]:
        return ((entry.name, getattr(self, entry.name)) for entry in fields(self))


@dataclass(frozen=True)
class BatchRecord(TensorRecord):
    """Base of records whose tensors share their leading dimensions."""

    def __getitem__(self, index: Any) -> Self:
        """The same places of every tensor; an index over the leading dimensions, as for one tensor."""
        return self.map(lambda values: values[index])

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """One batch after the other."""
        tensors = zip(*(part.tensors() for part in parts), strict=True)
        joined = iter([torch.cat(values) for values in tensors])
        return parts[0].map(lambda _: next(joined))


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
class Tilt:
    """What a rater adds to the weights, b ~ N(loc, covariance) of (16): u gains b . delta. One for a whole batch.

    Attributes:
        loc: (num_objectives,), signed.
        covariance: (num_objectives, num_objectives).
    """

    loc: Tensor
    covariance: Tensor

    def mean(self, scores: Tensor) -> Tensor:
        """E[b] . o for objective scores, or differences of them, (..., num_objectives); (...,)."""
        return scores @ self.loc.to(scores)

    def variance(self, scores: Tensor) -> Tensor:
        """o^T Cov[b] o, (...,)."""
        return ((scores @ self.covariance.to(scores)) * scores).sum(-1)

    def kept(self, keep: Tensor) -> Tilt:
        """The tilt of some of the objectives, by (num_objectives,) bool."""
        return Tilt(self.loc[keep], self.covariance[keep][:, keep])


@dataclass(frozen=True)
class ObjectiveWeights(BatchRecord):
    """Objective weights w: a Dirichlet, or a point mass for heads that do not sample.

    An index picks rows, and `weights[:, None]` broadcasts against the completions of a row.

    Attributes:
        mean: (..., num_objectives), on the simplex.
        concentration: (..., num_objectives), or None for a point mass at `mean`.
        tilt: what the rater adds whose judgments are asked for; None for the population. The mean is without it.
    """

    mean: Tensor
    concentration: Tensor | None = None
    tilt: Tilt | None = None

    @classmethod
    def from_concentration(cls, concentration: Tensor, tilt: Tilt | None = None) -> ObjectiveWeights:
        """Dirichlet weights with this concentration."""
        return cls(concentration / concentration.sum(-1, keepdim=True), concentration, tilt)

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

    An index picks rows, and completions of them. Given the texts the features of completions are independent. What a
    model doubts of its own parameters all of them share: its effect on a reward is N(0, I) times `doubt`.

    Attributes:
        loc: (..., num_features).
        variance: (..., num_features) diagonal, or (..., num_features, num_features) if `full`.
        full: whether `variance` holds full covariance matrices.
        doubt: (..., num_doubts), in units of the reward; None for models that do not doubt their parameters.
    """

    loc: Tensor
    variance: Tensor
    full: bool = False
    doubt: Tensor | None = None

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
            return self.covariance_along(direction, direction)
        return (direction.square() * self.variance).sum(-1)

    def covariance_along(self, one: Tensor, other: Tensor) -> Tensor:
        """a^T Cov[z] b for directions (..., num_features), broadcast against `loc`; (...,)."""
        if self.full:
            return torch.einsum("...i,...ij,...j->...", one, self.variance, other)
        return (one * self.variance * other).sum(-1)

    def doubt_variance(self, other: SemanticFeatures | None = None) -> Tensor:
        """V_e, the variance that doubt about parameters gives a reward (...,), or its difference to another's; >= 0.

        The squared distance of the two `doubt`. Zero for models without any.
        """
        if self.doubt is None:
            return torch.zeros_like(self.loc[..., 0])
        doubt = self.doubt if other is None or other.doubt is None else self.doubt - other.doubt
        return doubt.square().sum(-1)

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


SHAPE_BOOST = 4
"""Gammas are drawn at shape alpha + 4, where 99 of 100 proposals are accepted, and brought back down."""


def dirichlet_draws(concentration: Tensor, num_draws: int, seed: int = 0) -> Tensor:
    """Draws of w ~ Dir(concentration), (num_draws, batch, num_objectives), from one private generator.

    Every row sees the same uniforms and normals, so that a row's draws do not depend on its batch. Marsaglia and
    Tsang's (2000) rejection at shape alpha + 4, brought down by Gamma(a) = Gamma(a + 1) U^(1/a), all in logs, which
    neither underflows nor rounds to a corner at concentrations of 1e-2. Between the rare changes of an accepted
    proposal the draws are smooth in the concentration, and gradients flow through them; these are the gradients of
    this surface, which differ by about a percent from those of the expectation.

    Args:
        concentration: (batch, num_objectives), float64, on the CPU.
        num_draws: draws a row.
        seed: of the private generator.

    Returns:
        Draws; NaN for a row whose concentration is not finite.
    """
    noise = DrawNoise(num_draws, concentration.shape[-1], seed)
    log_gamma = _log_gamma_draws(concentration + SHAPE_BOOST, noise)
    for step, log_uniform in enumerate(noise.boosts()):
        log_gamma = log_gamma + log_uniform.unsqueeze(1) / (concentration + step)
    return log_gamma.softmax(-1)


@dataclass(frozen=True)
class DrawNoise:
    """The random numbers behind the draws of `dirichlet_draws`, the same for every concentration; float64.

    Attributes:
        num_draws: draws a row.
        num_objectives: entries of a draw.
        seed: of the private generator.
    """

    num_draws: int
    num_objectives: int
    seed: int = 0

    @property
    def _shape(self) -> torch.Size:
        return torch.Size([self.num_draws, self.num_objectives])

    def _generators(self) -> tuple[torch.Generator, torch.Generator]:
        # A private child generator: the number of trials depends on the batch, the boosts must not.
        generator = torch.Generator().manual_seed(self.seed)
        child = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator)))
        return generator, child

    def boosts(self) -> list[Tensor]:
        """log U of each step from shape alpha + 4 down to alpha, `SHAPE_BOOST` of (num_draws, num_objectives)."""
        generator, _ = self._generators()
        return [_log_uniform(self._shape, generator) for _ in range(SHAPE_BOOST)]

    def trials(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The normal and the log U of each proposal, (num_draws, num_objectives); endless."""
        _, child = self._generators()
        while True:
            normal = torch.randn(self._shape, generator=child, dtype=torch.float64)
            yield normal, _log_uniform(self._shape, child)


def _log_uniform(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64).log()


def _log_gamma_draws(alpha: Tensor, noise: DrawNoise) -> Tensor:
    """log Gamma(alpha) for alpha > 1: the first accepted proposal of each entry, (num_draws, batch, num_objectives)."""
    offset = alpha - 1.0 / 3.0
    scale = (9.0 * offset).rsqrt()
    # A concentration that is not finite accepts no draw: its row is NaN from the start.
    finite = torch.isfinite(alpha)
    result = torch.where(finite, 0.0, torch.nan).to(torch.float64).expand(noise.num_draws, *alpha.shape)
    pending = finite.expand(result.shape)
    trials = noise.trials()
    while bool(pending.any()):
        normal, log_uniform = (values.unsqueeze(1) for values in next(trials))
        root = 1.0 + scale * normal
        log_cube = 3.0 * root.clamp_min(1e-3).log()
        bound = 0.5 * normal.square() + offset * (1.0 - root.pow(3) + log_cube)
        accepted = pending & (root > 1e-3) & (log_uniform < bound)
        result = torch.where(accepted, offset.log() + log_cube, result)
        pending = pending & ~accepted
    return result
