"""From a batch and the model's output to the loss of each judgment; the formulas are in `vrm.core.losses`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from vrm.choices import LossName
from vrm.core.likelihoods.base import Judgments
from vrm.core.losses import LossTerms, LossWeights, WeightedLoss, marginal_terms, variational_terms, weighted_loss
from vrm.labels import likelihoods
from vrm.model.modeling_vrm import VRMOutput

DEFAULT_SAMPLES = {LossName.VARIATIONAL: 4, LossName.MARGINAL: 8, LossName.STAGED: 1}
"""Draws of w by loss. The log of a mean in (7') is biased with few (docs/decisions/0020); (7) is not.
The weights of the first stage of (19) are points."""


@dataclass(frozen=True)
class TrainingLoss:
    """A loss by name, and the multipliers of its terms.

    Attributes:
        name: `variational` (7), `marginal` (7'), or `staged`, whose first stage is (7) for heads of means (19).
        weights: multipliers of the raw terms, those of the KLs at the end of their warm-up.
        num_samples: draws of w.
        num_nodes: Gauss-Hermite nodes.
        kl_warmup: share of training over which the multipliers of the KLs rise linearly from zero.
    """

    name: str = "variational"
    weights: LossWeights = field(default_factory=LossWeights)
    num_samples: int = 4
    num_nodes: int = 16
    kl_warmup: float = 0.0

    def terms(self, output: VRMOutput, batch: dict[str, Tensor], prior_concentration: Tensor) -> LossTerms:
        """Raw terms of each judgment of a batch, (batch,)."""
        function = marginal_terms if self.name == LossName.MARGINAL else variational_terms
        return function(
            output.posteriors,
            Judgments(**batch),
            prior_concentration,
            self.num_samples,
            self.num_nodes,
            likelihoods=likelihoods(),
        )

    def weights_at(self, progress: float) -> LossWeights:
        """Multipliers after this share of training, in [0, 1]."""
        rise = 1.0 if self.kl_warmup <= 0 else min(1.0, progress / self.kl_warmup)
        rise = 0.0 if math.isnan(rise) else rise
        full = self.weights
        return LossWeights(full.likelihoods, full.beta_weights * rise, full.beta_features * rise)

    def loss(self, terms: LossTerms, progress: float = 1.0) -> WeightedLoss:
        """Weighted loss of each judgment."""
        return weighted_loss(terms, self.weights_at(progress))
