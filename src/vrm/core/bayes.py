"""Rewards as a Gaussian process on fixed features, equation (20) with one objective: the posterior in closed form.

r = theta . phi with theta ~ N(0, 1 / lambda), one precision lambda a group of features. The posterior of theta is the
Laplace approximation: its mode by Newton's method, its precision H the curvature there. The lambdas maximize the
evidence, by MacKay's (1992) fixed point. Everything is in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vrm.errors import NumericsError

RewardLikelihood = Callable[[Tensor, slice], Tensor]
"""From rewards (rows, num_completions) of some judgments, and which they are, to log-likelihoods (rows,) in nats."""

CHUNK = 4096
"""Judgments whose features are held in float64 at once."""

MAX_STEPS = 50
TOLERANCE = 1e-9
"""A Newton step that promises fewer nats than this is not taken."""

PRECISION_RANGE = (1e-4, 1e8)
"""Precisions that the fixed point may reach: at the upper end a group is off."""


@dataclass(frozen=True)
class RewardPosterior:
    """theta | judgments ~ N(mean, F F^T).

    Attributes:
        mean: (width,).
        factor: F, (width, width); phi F are the coordinates whose squared distance is V_e.
        precisions: lambda, one a group.
        log_evidence: log-probability of the labels with theta integrated out, in nats, by the Laplace approximation.
    """

    mean: Tensor
    factor: Tensor
    precisions: tuple[float, ...]
    log_evidence: float


@dataclass(frozen=True)
class _Local:
    """What is known at one theta: the log of likelihood and prior, its gradient, and H = L L^T, minus its curvature."""

    theta: Tensor
    value: float
    gradient: Tensor
    cholesky: Tensor

    @property
    def direction(self) -> Tensor:
        """Of Newton's step, (width,)."""
        return torch.cholesky_solve(self.gradient.unsqueeze(-1), self.cholesky).squeeze(-1)


class RewardRegression:
    """Judgments, as differences of the features of their completions, and how likely their labels are given rewards.

    Args:
        differences: (rows, num_completions - 1, width) features of every completion but the first, minus the first's;
            zeros where there is no completion. Rewards are known up to a constant a judgment.
        log_likelihood: concave in the rewards.
        groups: number of features of each group; they add up to the width.
    """

    def __init__(self, differences: Tensor, log_likelihood: RewardLikelihood, groups: Sequence[int]) -> None:
        self.differences, self.log_likelihood, self.groups = differences, log_likelihood, tuple(groups)

    def posterior(self, precisions: Sequence[float], rounds: int = 0, start: Tensor | None = None) -> RewardPosterior:
        """The posterior of theta, its precisions raised to higher evidence for some rounds.

        A round is one Newton step, after which every group's lambda becomes gamma / |theta|^2. gamma = width - lambda
        tr(Cov) is the number of the group's coefficients that the judgments fix.

        Args:
            precisions: lambda, one a group, > 0; with rounds, where they begin.
            rounds: at most; it ends before where no lambda changes by a hundredth.
            start: (width,) theta to begin from.

        Raises:
            NumericsError: if Newton's method does not converge.
        """
        width, chosen = self.differences.shape[-1], tuple(precisions)
        theta = torch.zeros(width, dtype=torch.float64) if start is None else start.double()
        for _ in range(rounds):
            local = self._local(theta, chosen)
            theta, _ = self._stepped(local, chosen)
            before, chosen = chosen, self._raised(theta, local.cholesky, chosen)
            if max(abs(math.log(new / old)) for new, old in zip(chosen, before, strict=True)) < 0.01:
                break
        for _ in range(MAX_STEPS):
            local = self._local(theta, chosen)
            theta, is_mode = self._stepped(local, chosen)
            if is_mode:
                return self._posterior_at(local, chosen)
        raise NumericsError(f"Newton's method for the rewards did not come to its end within {MAX_STEPS} steps")

    def rewards(self, theta: Tensor, rows: slice = slice(None)) -> Tensor:
        """Rewards of the completions of some judgments, (rows, num_completions) in float64; the first's is 0."""
        others = self.differences[rows].double() @ theta
        return torch.cat([torch.zeros_like(others[:, :1]), others], -1)

    def log_likelihoods(self, theta: Tensor) -> Tensor:
        """Of all judgments at one theta, their sum, in nats."""
        return torch.stack(
            [self.log_likelihood(self.rewards(theta, rows), rows).sum() for rows in self._chunks()]
        ).sum()

    def _chunks(self) -> Iterator[slice]:
        return (slice(first, first + CHUNK) for first in range(0, len(self.differences), CHUNK))

    def _prior(self, precisions: Sequence[float]) -> Tensor:
        """Precision of every feature, (width,)."""
        return torch.tensor(precisions, dtype=torch.float64).repeat_interleave(torch.tensor(self.groups))

    def _value(self, theta: Tensor, precisions: Sequence[float]) -> float:
        """Log of likelihood and prior, without the prior's constant."""
        return float(self.log_likelihoods(theta) - 0.5 * (self._prior(precisions) * theta.square()).sum())

    def _local(self, theta: Tensor, precisions: Sequence[float]) -> _Local:
        prior = self._prior(precisions)
        value, gradient, curvature = -0.5 * (prior * theta.square()).sum(), -prior * theta, torch.diag(prior)
        for rows in self._chunks():
            values, slope, information = reward_derivatives(self.log_likelihood, self.rewards(theta, rows), rows)
            features = self.differences[rows].double()
            value = value + values.sum()
            gradient = gradient + torch.einsum("nc,ncr->r", slope[:, 1:], features)
            weighted = (_root(information[:, 1:, 1:]) @ features).flatten(0, 1)
            curvature = curvature + weighted.T @ weighted
        return _Local(theta, float(value), gradient, torch.linalg.cholesky(curvature))

    def _stepped(self, local: _Local, precisions: Sequence[float]) -> tuple[Tensor, bool]:
        """Theta after one step, the longest of shorter and shorter ones that gains enough; whether it was the mode."""
        direction = local.direction
        gain, length = float(local.gradient @ direction), 1.0
        while gain >= TOLERANCE and length > 1e-6:
            moved = local.theta + length * direction
            if self._value(moved, precisions) - local.value >= 1e-4 * length * gain:
                return moved, False
            length /= 2
        return local.theta, True

    def _raised(self, theta: Tensor, cholesky: Tensor, precisions: Sequence[float]) -> tuple[float, ...]:
        """The next precisions of the fixed point."""
        variances = torch.cholesky_inverse(cholesky).diagonal()
        chosen = []
        for precision, values, spread in zip(
            precisions, theta.split(self.groups), variances.split(self.groups), strict=True
        ):
            fixed = max(len(values) - precision * float(spread.sum()), 1e-9)
            least, most = PRECISION_RANGE
            chosen.append(min(max(fixed / max(float(values.square().sum()), 1e-12), least), most))
        return tuple(chosen)

    def _posterior_at(self, local: _Local, precisions: tuple[float, ...]) -> RewardPosterior:
        identity = torch.eye(len(local.theta), dtype=torch.float64)
        factor = torch.linalg.solve_triangular(local.cholesky, identity, upper=False).T
        occam = 0.5 * self._prior(precisions).log().sum() - local.cholesky.diagonal().log().sum()
        return RewardPosterior(local.theta, factor, precisions, local.value + float(occam))


def reward_derivatives(
    log_likelihood: RewardLikelihood, rewards: Tensor, rows: slice = slice(None)
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-likelihoods (rows,), their gradient (rows, c) and minus their second derivatives (rows, c, c).

    Args:
        log_likelihood: of each judgment by its own rewards.
        rewards: (rows, c).
        rows: which judgments they are.
    """
    with torch.enable_grad():
        leaf = rewards.detach().requires_grad_()
        values = log_likelihood(leaf, rows)
        (gradient,) = torch.autograd.grad(values.sum(), leaf, create_graph=True)
        columns = [torch.autograd.grad(column.sum(), leaf, retain_graph=True)[0] for column in gradient.unbind(-1)]
    return values.detach(), gradient.detach(), -torch.stack(columns, -1)


def _root(information: Tensor) -> Tensor:
    """R with R^T R = B for positive semi-definite matrices B, (rows, c, c); what rounding takes below 0 is 0."""
    if information.shape[-1] == 1:
        return information.clamp_min(0.0).sqrt()
    values, vectors = torch.linalg.eigh(information)
    return values.clamp_min(0.0).sqrt().unsqueeze(-1) * vectors.transpose(-1, -2)
