"""The prototype of equation (20) with several objectives: variational Bayes for theta, and weights of the prompt.

o_k = theta_k . phi, theta ~ MN(0, I, I / lambda), q(theta) = MN(M, U, V), w(x) = softmax of a linear map of the
prompt's principal components. Under q u is Gaussian, with mean w^T M dphi and variance (w^T U w)(dphi^T V dphi).
The weights are points here: their Dirichlet would add tr(C U), which one judgment a pair cannot tell from the rest.

M and the map by gradients of the evidence bound, U, V and lambda by its stationary points,
    V^-1 = (lambda tr(U) I + sum_i h_i (w_i^T U w_i) dphi_i dphi_i^T) / K
    U^-1 = (lambda tr(V) I + sum_i h_i (dphi_i^T V dphi_i) w_i w_i^T) / r,       h_i = E[sigma(u_i) sigma(-u_i)]
    lambda = K r / (|M|^2 + tr(U) tr(V))
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from vrm.core.quadrature import VARIANCE_JITTER, gauss_hermite

STEPS = 600
EVERY = 30
"""Gradient steps between two updates of U, V and lambda."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """What is not inferred.

    Attributes:
        objectives: K.
        map_precision: of the Gaussian prior of the map to the weights.
    """

    objectives: int = 4
    map_precision: float = 10.0


class GaussianObjectives:
    """Objectives that are Gaussian processes, fitted to comparisons.

    Args:
        differences: (rows, r) features of the first completion minus those of the second, scaled so that the prior of
            a reward with one objective has precision 1.
        prompts: (rows, p) of unit variance.
        preference: (rows,) soft labels.
        start: (r,) mean of theta with one objective.
        settings: K and the prior of the map.
        seed: of the start.
    """

    def __init__(
        self,
        differences: Tensor,
        prompts: Tensor,
        preference: Tensor,
        start: Tensor,
        settings: ObjectiveSettings,
        seed: int,
    ) -> None:
        self.differences, self.prompts, self.preference = differences, prompts, preference
        self.settings = settings
        generator = torch.Generator().manual_seed(seed)
        k, r = settings.objectives, differences.shape[1]
        noise = torch.randn(k, r, generator=generator, dtype=differences.dtype)
        self.mean = start + noise * start.norm() / r**0.5
        self.map = 0.1 * torch.randn(prompts.shape[1] + 1, k, generator=generator, dtype=differences.dtype)
        self.across, self.along = torch.eye(k, dtype=differences.dtype), torch.eye(r, dtype=differences.dtype)
        self.precision = 1.0 / k
        self._update()
        self._fit()

    def weights(self, prompts: Tensor, weight_map: Tensor | None = None) -> Tensor:
        """w(x), (rows, K)."""
        chosen = self.map if weight_map is None else weight_map
        return (prompts @ chosen[:-1] + chosen[-1]).softmax(-1)

    def margin(self, differences: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of u, each (rows,)."""
        weights = self.weights(prompts)
        mean = (weights * (differences @ self.mean.T)).sum(-1)
        return mean, _form(weights, self.across) * _form(differences, self.along)

    def _fit(self) -> None:
        parameters = [self.mean.requires_grad_(), self.map.requires_grad_()]
        optimizer = torch.optim.Adam(parameters, lr=0.02)
        for step in range(STEPS):
            optimizer.zero_grad()
            loss = self._loss()
            loss.backward()
            optimizer.step()
            if (step + 1) % EVERY == 0:
                self._update()
        self.mean, self.map = self.mean.detach(), self.map.detach()

    def _loss(self) -> Tensor:
        """Minus the evidence bound, but for what M and the map do not change."""
        weights = self.weights(self.prompts)
        mean = (weights * (self.differences @ self.mean.T)).sum(-1)
        variance = _form(weights, self.across) * self._lengths
        nodes, log_q = gauss_hermite(16, mean)
        utility = mean.unsqueeze(-1) + (variance + VARIANCE_JITTER).sqrt().unsqueeze(-1) * nodes
        terms = logsigmoid(utility) - (1.0 - self.preference).unsqueeze(-1) * utility
        prior = self.precision * self.mean.square().sum() + self.settings.map_precision * self.map[:-1].square().sum()
        return 0.5 * prior - (terms * log_q.exp()).sum()

    @torch.no_grad()
    def _update(self) -> None:
        """U, V and lambda at M and the map."""
        k, r = self.mean.shape
        weights = self.weights(self.prompts)
        for _ in range(3):
            mean, variance = self.margin(self.differences, self.prompts)
            nodes, log_q = gauss_hermite(16, mean)
            chance = torch.sigmoid(mean.unsqueeze(-1) + variance.sqrt().unsqueeze(-1) * nodes)
            curvature = (chance * (1.0 - chance) * log_q.exp()).sum(-1)
            scale = (curvature * _form(weights, self.across)).sqrt().unsqueeze(-1)
            scaled = self.differences * scale
            ridge = self.precision * self.across.trace() * torch.eye(r, dtype=scaled.dtype)
            self.along = k * torch.cholesky_inverse(torch.linalg.cholesky(ridge + scaled.T @ scaled))
            lengths = (curvature * _form(self.differences, self.along)).sqrt().unsqueeze(-1)
            tall = weights * lengths
            ridge = self.precision * self.along.trace() * torch.eye(k, dtype=scaled.dtype)
            self.across = r * torch.cholesky_inverse(torch.linalg.cholesky(ridge + tall.T @ tall))
            spread = float(self.mean.square().sum() + self.across.trace() * self.along.trace())
            self.precision = k * r / spread
        self._lengths = _form(self.differences, self.along)


def _form(rows: Tensor, matrix: Tensor) -> Tensor:
    """x^T A x of every row x."""
    return ((rows @ matrix) * rows).sum(-1)
