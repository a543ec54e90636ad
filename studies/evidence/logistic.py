"""What chooses labels: a Bayesian logistic regression on differences of features, equation (20)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import softplus

from vrm.core.bayes import RewardPosterior, RewardRegression
from vrm.core.likelihoods.comparison import comparison_log_likelihood
from vrm.core.quadrature import gauss_hermite

NODES = 32
ROUNDS = 12
"""Of the fixed point of the precisions; a fit that goes on from an earlier one needs fewer."""


@dataclass(frozen=True)
class LogisticPosterior:
    """Doubt about the parameters of margins.

    Attributes:
        theta: its posterior.
        groups: number of features of each group that has a precision of its own.
    """

    theta: RewardPosterior
    groups: tuple[int, ...]

    def doubt(self, inputs: Tensor) -> Tensor:
        """Rows whose inner products are the covariances of margins; (n, r) to (n, r)."""
        return inputs.double() @ self.theta.factor

    def moments(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance V_e of the margins, (n,) each."""
        return inputs.double() @ self.theta.mean, self.doubt(inputs).square().sum(-1)

    def refitted(self, inputs: Tensor, labels: Tensor) -> LogisticPosterior:
        """To other labels, at the same precisions."""
        theta = _regression(inputs, labels, self.groups).posterior(self.theta.precisions, start=self.theta.mean)
        return replace(self, theta=theta)


def fit_logistic(
    inputs: Tensor, labels: Tensor, groups: tuple[int, ...], near: LogisticPosterior | None = None
) -> LogisticPosterior:
    """The posterior at precisions of the highest evidence.

    Args:
        inputs: (n, r) phi_a - phi_b.
        labels: (n,) in [0, 1], 1 where a is preferred.
        groups: number of features of each group; they add up to r.
        near: where to begin.
    """
    # Inputs have lengths of about sqrt(r): margins begin with a standard deviation of about one.
    precisions = near.theta.precisions if near else tuple(map(float, groups))
    start = near.theta.mean if near else None
    return LogisticPosterior(_regression(inputs, labels, groups).posterior(precisions, ROUNDS, start), groups)


def _regression(inputs: Tensor, labels: Tensor, groups: tuple[int, ...]) -> RewardRegression:
    def log_likelihood(rewards: Tensor, rows: slice) -> Tensor:
        return comparison_log_likelihood(rewards[:, 0] - rewards[:, 1], labels[rows])

    return RewardRegression(-inputs.unsqueeze(1), log_likelihood, groups)


def information(mean: Tensor, variance: Tensor) -> Tensor:
    """I = H(E p) - E H(p) in nats, (n,): what a pair's label says about theta; p = sigma(u), u ~ N(mean, variance).

    What remains when theta is known, E H(p), is doubt that no label of this pair removes.
    """
    nodes, log_weights = gauss_hermite(NODES, mean)
    margins = mean.unsqueeze(-1) + variance.sqrt().unsqueeze(-1) * nodes
    weights = log_weights.exp()
    average = (margins.sigmoid() * weights).sum(-1)
    # H(sigma(u)) = softplus(u) - u sigma(u), without a logarithm of 0.
    inner = ((softplus(margins) - margins * margins.sigmoid()) * weights).sum(-1)
    return (binary_entropy(average) - inner).clamp_min(0.0)


def binary_entropy(probability: Tensor) -> Tensor:
    """H(p) in nats."""
    return torch.special.entr(probability) + torch.special.entr(1.0 - probability)
