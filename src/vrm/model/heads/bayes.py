"""The head `bayes`: Bayesian logistic regression on random features of frozen hidden states, equation (20)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vrm.core.distributions import SemanticFeatures
from vrm.model.heads.base import HeadSettings, JudgmentHead

COMPONENTS, WAVES = 256, 256
"""Principal components, and random Fourier features of them: the width r of phi is their sum."""

PCA_SAMPLE = 4096
"""Completions whose components are computed."""


class RandomFeatures(nn.Module):
    """phi: principal components h of the inputs, and random Fourier features of h.

    A component has its own spread to some power: 0 whitens the inputs, 1 leaves them as they are, more trusts the first
    components more.

    sqrt(2 / WAVES) cos(omega . h / l + b), omega ~ N(0, I), b uniform, has the Gaussian kernel of length l as its
    expected inner product (Rahimi and Recht 2007). The mean square of |h| is 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        components = min(COMPONENTS, width)
        self.groups = (components, WAVES)
        self.spreads = torch.ones(components)
        self.register_buffer("projection", torch.zeros(width, components, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(components, dtype=torch.float32))
        self.register_buffer("frequencies", torch.zeros(components, WAVES, dtype=torch.float32))
        self.register_buffer("phases", torch.zeros(WAVES, dtype=torch.float32))
        self.register_buffer("length", torch.ones((), dtype=torch.float32))
        self.register_buffer("centre", torch.zeros(components + WAVES, dtype=torch.float32))

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardized inputs (..., width) to phi (..., components + WAVES)."""
        components = inputs @ self.projection * self.scale
        waves = math.sqrt(2.0 / WAVES) * (components @ self.frequencies / self.length + self.phases).cos()
        return torch.cat([components, waves], -1) - self.centre

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Random directions in the place of components."""
        nn.init.normal_(self.projection, std=1.0 / math.sqrt(self.projection.numel()))
        nn.init.normal_(self.frequencies)
        nn.init.uniform_(self.phases, 0.0, 2.0 * math.pi)
        self.scale.fill_(1.0)
        self.length.fill_(1.0)
        self.centre.zero_()

    @torch.no_grad()
    def fit(self, inputs: Tensor) -> None:
        """Set the components by standardized inputs (rows, width), at least two rows."""
        rank = min(self.groups[0], len(inputs) - 1)
        # A few more than are kept: the last ones of a random sketch are rough.
        _, values, vectors = torch.pca_lowrank(inputs, q=min(rank + 16, *inputs.shape), niter=4)
        self.projection.zero_()
        self.projection[:, :rank] = vectors[:, :rank]
        self.spreads = torch.ones_like(self.scale)
        self.spreads[:rank] = values[:rank] / math.sqrt(len(inputs) - 1)

    @torch.no_grad()
    def set_shape(self, power: float, length: float, inputs: Tensor) -> None:
        """Set the power of the spreads and l, and take the mean of phi over inputs (rows, width) for its origin."""
        spreads = self.spreads.clamp_min(1e-3 * float(self.spreads.max()))
        scale = spreads.pow(power - 1.0)
        self.scale.copy_(scale / (inputs @ self.projection * scale).square().sum(-1).mean().sqrt())
        self.length.fill_(length)
        self.centre.zero_()
        self.centre.copy_(self(inputs).mean(0))


class BayesHead(JudgmentHead):
    """r = theta . phi with theta ~ N(mean, F F^T): its variance is doubt about parameters, and small near known texts.

    `vrm.train.closed_form` fits it.
    """

    is_scalar = True
    has_parameter_uncertainty = True
    fits_in_closed_form = True
    description = "Bayesian logistic regression on principal components and random Fourier features"

    def __init__(self, config: HeadSettings) -> None:
        super().__init__(config)
        self.register_buffer("factor", torch.zeros(*2 * [self._last_layer().in_features], dtype=torch.float32))

    def feature_network(self, config: HeadSettings, outputs: int) -> nn.Module:
        """phi, and the mean of theta as a linear layer."""
        basis = RandomFeatures(config.feature_size)
        return nn.Sequential(basis, nn.Linear(sum(basis.groups), outputs))

    @property
    def basis(self) -> RandomFeatures:
        """phi of standardized inputs."""
        basis: RandomFeatures = self.features[0]
        return basis

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The prior of precision 1, but for a mean that tells completions apart."""
        super().reset_parameters()
        self.basis.reset_parameters()
        nn.init.eye_(self.factor)

    def fit_inputs(self, prompt_features: Tensor, completion_features: Tensor) -> None:
        """Standardize the inputs, and set the components of phi by them."""
        super().fit_inputs(prompt_features, completion_features)
        count = len(completion_features)
        if count > 1:
            rows = torch.linspace(0, count - 1, min(count, PCA_SAMPLE)).long()
            self.basis.fit(self.completion_norm(completion_features[rows]))

    @torch.no_grad()
    def set_posterior(self, mean: Tensor, factor: Tensor) -> None:
        """Set what is known of theta: mean (r,) and F (r, r)."""
        self._last_layer().weight.copy_(mean.unsqueeze(0))
        self.factor.copy_(factor)

    def semantic_features(self, completion_features: Tensor) -> SemanticFeatures:
        """The mean reward of the completions, (batch, num_completions, 1), and the coordinates phi F of its doubt."""
        phi = self.basis(self.completion_norm(completion_features))
        loc = self._last_layer()(phi)
        return SemanticFeatures(loc, torch.zeros_like(loc), doubt=phi @ self.factor)
