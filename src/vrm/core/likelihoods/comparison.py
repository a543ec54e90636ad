"""Comparisons of two completions, equation (4): a label p in [0, 1] that the first is preferred."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from vrm.core.likelihoods.base import Judgments, Latents, Outcome
from vrm.core.quadrature import (
    DEFAULT_NODES,
    MarginGivenWeights,
    log_preference_probability,
    margin_given_weights,
    offset_margin,
)


def comparison_log_likelihood(utility: Tensor, preference: Tensor) -> Tensor:
    """Bradley-Terry log-likelihood with soft labels: p log sigma(u) + (1 - p) log sigma(-u), in nats.

    Written as log sigma(u) - (1 - p) u, the same number with one transcendental and no cancellation.

    Args:
        utility: (...,) u = r_a - r_b - t.
        preference: (...,) p in [0, 1], 1 where the first is preferred, 0.5 for a tie.
    """
    return logsigmoid(utility) - (1.0 - preference) * utility


def expected_comparison(margins: MarginGivenWeights, preference: Tensor, num_nodes: int = DEFAULT_NODES) -> Tensor:
    """E[(4)] over z by quadrature and over w by the mean of the samples, (batch,), in nats: the term of loss (7)."""
    values, log_weights = margins.nodes(num_nodes)
    terms = comparison_log_likelihood(values, preference.unsqueeze(-1))
    return (terms * log_weights.exp()).sum(-1).mean(0)


class Comparison(Outcome):
    """Reads `preference`, (batch,) p that the first of two is preferred, NaN without a comparison; and where there is
    one `margin`, (batch,) the target margin t.
    """

    label = "preference"

    def _observed(self, judgments: Judgments) -> Tensor:
        return ~judgments.preference.isnan() & (judgments.mask.shape[1] > 1)

    def expected(self, judgments: Judgments, latents: Latents) -> Tensor:
        """Quadrature over (8), and the mean over the draws of w."""
        return expected_comparison(_margins(judgments, latents), _preference(judgments), latents.num_nodes)

    def marginal(self, judgments: Judgments, latents: Latents) -> Tensor:
        """Label-weighted log-probabilities, each the log of the mean over the draws of w."""
        first, second = log_preference_probability(_margins(judgments, latents), latents.num_nodes, correct_bias=True)
        preference = _preference(judgments)
        return preference * first + (1 - preference) * second


def _preference(judgments: Judgments) -> Tensor:
    return judgments.preference.nan_to_num(0.5)


def target_margin(judgments: Judgments) -> Tensor | float:
    """t of every row's two completions, (batch,) or 0, lowered by the offsets of (14) where there are any."""
    target = judgments.labels.get("margin")
    if judgments.offsets is None:
        return 0.0 if target is None else target
    first, second = judgments.offsets[:, 0], judgments.offsets[:, 1]
    return offset_margin(torch.zeros_like(first) if target is None else target, first, second)


def _margins(judgments: Judgments, latents: Latents) -> MarginGivenWeights:
    features, decoder = latents.posteriors.features, latents.posteriors.decoder
    first, second = features.completion(0), features.completion(1)
    return margin_given_weights(latents.weight_samples, first, second, decoder, target_margin(judgments))
