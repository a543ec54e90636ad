"""A sparse non-negative factor head after BNRM (arXiv 2602.10623): Weibull posterior, Gamma prior.

Written from the abstract's description alone: factors z >= 0 of prompt and completion, z_j ~ Weibull(k_j, s_j) with
prior Gamma(a, b), loadings w >= 0, reward r = sum_j w_j z_j. The closed-form KL is that of WHAI (Zhang et al. 2018).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.likelihoods.base import Judgments
from vrm.core.likelihoods.comparison import comparison_log_likelihood
from vrm.core.losses import LossTerms
from vrm.core.posteriors import Posteriors, RatingModel
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.heads.base import InputNorm

EULER = 0.5772156649015329
PRIOR_SHAPE, PRIOR_RATE = 0.5, 1.0
"""Gamma prior of a factor; a shape under 1 has its mode at zero, which is what makes factors sparse."""

SAMPLES = 4


def weibull_gamma_kl(shape: Tensor, scale: Tensor, prior_shape: float, prior_rate: float) -> Tensor:
    """KL(Weibull(shape, scale) || Gamma(prior_shape, prior_rate)) in nats, elementwise."""
    return (
        EULER * prior_shape / shape
        - prior_shape * scale.log()
        + shape.log()
        + prior_rate * scale * (1.0 + 1.0 / shape).lgamma().exp()
        - EULER
        - 1.0
        - prior_shape * math.log(prior_rate)
        + math.lgamma(prior_shape)
    )


def weibull_moments(shape: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance, elementwise."""
    first, second = ((1.0 + power / shape).lgamma().exp() for power in (1.0, 2.0))
    return scale * first, scale.square() * (second - first.square())


class FactorHead(nn.Module):
    """Posterior of the factors; its predictive distribution is a Gaussian of the same mean and variance."""

    def __init__(self, config: VRMConfig, num_factors: int = 32) -> None:
        super().__init__()
        self.completion_norm = InputNorm(config.num_blocks, config.backbone_hidden_size)
        hidden = config.hidden_size_head
        self.features = nn.Sequential(
            nn.Linear(config.feature_size, hidden),
            nn.GELU(),
            nn.Dropout(config.head_dropout),
            nn.Linear(hidden, 2 * num_factors),
        )
        self.raw_loading = nn.Parameter(torch.zeros(num_factors))
        self.register_buffer("prior_concentration", torch.ones(1))
        self.shape_scale: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """As the package's heads start."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=1.0 / math.sqrt(module.in_features))
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.raw_loading, mean=-1.0, std=0.5)

    @property
    def loading(self) -> Tensor:
        """w >= 0, (num_factors,)."""
        return nn.functional.softplus(self.raw_loading)

    def forward(self, prompts: Tensor, completions: Tensor) -> Posteriors:
        """Moments of the factors as `Posteriors` of one objective; the Weibull's parameters are kept for the loss."""
        raw_shape, raw_scale = self.features(self.completion_norm(completions)).chunk(2, -1)
        shape = 0.2 + nn.functional.softplus(raw_shape + 1.0)
        scale = 1e-3 + nn.functional.softplus(raw_scale)
        self.shape_scale = (shape, scale)
        mean, variance = weibull_moments(shape, scale)
        one = prompts.new_ones(1)
        weights = ObjectiveWeights(prompts.new_ones(len(prompts), 1))
        return Posteriors(
            weights, SemanticFeatures(mean, variance), self.loading[None], RatingModel(one[0], one * 0, one)
        )


def factor_terms(head: FactorHead, found: Posteriors, judgments: Judgments) -> LossTerms:
    """Comparison term by reparameterized Weibull samples, and the KL of both completions' factors."""
    assert head.shape_scale is not None
    shape, scale = head.shape_scale
    uniform = torch.rand(SAMPLES, *shape.shape).clamp(1e-6, 1.0 - 1e-6)
    factors = scale * (-torch.log1p(-uniform)).pow(1.0 / shape)
    rewards = factors @ head.loading
    margin = judgments.labels.get("margin", 0.0)
    utility = rewards[..., 0] - rewards[..., 1] - margin
    comparison = comparison_log_likelihood(utility, judgments.preference).mean(0)
    zeros = torch.zeros_like(comparison)
    kl = weibull_gamma_kl(shape, scale, PRIOR_SHAPE, PRIOR_RATE).sum((-2, -1))
    return LossTerms({"comparison": comparison}, zeros, kl)
