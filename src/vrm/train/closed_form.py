"""Heads that are fitted at once to the features of a frozen backbone, by `vrm.core.bayes`, and not by steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from vrm.choices import Tuning
from vrm.config import ModelConfig
from vrm.core.bayes import RewardPosterior, RewardRegression
from vrm.core.likelihoods.base import Judgments
from vrm.core.losses import LossWeights, marginal_terms, weighted_loss
from vrm.core.posteriors import Posteriors
from vrm.errors import ConfigError
from vrm.labels import likelihoods
from vrm.model.heads.registry import head_class
from vrm.train.passes import FeatureDataset

EVIDENCE_ROWS = 4096
"""Judgments by which shape, precisions and tie threshold are chosen; the posterior is that of all."""

POWERS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Powers of the components' spreads that are tried, with the middle length."""

LENGTHS = (0.5, 1.0, 2.0)
"""Lengths of the Gaussian kernel that are tried, in units of the root mean square of |h|."""

ROUNDS = 30
"""Of the evidence's fixed point, at most."""

TIE_ROUNDS = 3
"""Turns between theta and the tie threshold."""


def check_closed_form(settings: ModelConfig) -> None:
    """Raise ConfigError where a head that is fitted in closed form is to tune its backbone."""
    if head_class(settings.head).fits_in_closed_form and settings.tuning != Tuning.FROZEN:
        raise ConfigError(
            f"model.tuning is '{settings.tuning}', but head '{settings.head}' is fitted in closed form to the features "
            "of a frozen backbone: set model.tuning to frozen, or choose another head"
        )


@dataclass(frozen=True)
class ClosedFormFit:
    """What was chosen, and how likely it makes the labels.

    Attributes:
        judgments: that the posterior is of.
        power: of the components' spreads.
        length: of the Gaussian kernel.
        spreads: prior standard deviation of a reward's linear part, and of its part by the kernel.
        log_evidence: of a judgment of those that chose, in nats.
    """

    judgments: int
    power: float
    length: float
    spreads: tuple[float, float]
    log_evidence: float

    def render(self) -> str:
        """One line."""
        linear, kernel = self.spreads
        return (
            f"fitted in closed form to {self.judgments:,} judgments: log evidence {self.log_evidence:.4f} nats a "
            f"judgment, prior standard deviation of a reward {linear:.2g} by components (spread to the power of "
            f"{self.power:g}) and {kernel:.2g} by a Gaussian kernel of length {self.length:g}"
        )


def fit_in_closed_form(head: Any, data: FeatureDataset, weights: LossWeights, seed: int) -> ClosedFormFit:
    """Fit a head that says `fits_in_closed_form` to all rows of a data set.

    The shape of phi, the prior's precisions and the tie threshold of (15) are those of the highest evidence on a sample
    of the rows.

    Args:
        head: of the model.
        data: its inputs and labels.
        weights: multipliers of the kinds of label.
        seed: of the sample.
    """
    everything = np.arange(len(data))
    sample = np.sort(np.random.default_rng(seed).permutation(everything)[:EVIDENCE_ROWS])
    with torch.no_grad():
        inputs = head.completion_norm(data.sample_features(EVIDENCE_ROWS, seed)[1].to(_device(head)))

    def fitted(shape: tuple[float, float]) -> RewardPosterior:
        head.basis.set_shape(*shape, inputs)
        return _regression(head, data, sample, weights).posterior((1.0, 1.0), ROUNDS)

    def best(shapes: list[tuple[float, float]]) -> tuple[float, float]:
        fits.update({shape: fitted(shape) for shape in shapes if shape not in fits})
        return max(fits, key=lambda shape: fits[shape].log_evidence)

    fits: dict[tuple[float, float], RewardPosterior] = {}
    power, _ = best([(power, LENGTHS[1]) for power in POWERS])
    power, length = best([(power, length) for length in LENGTHS])
    head.basis.set_shape(power, length, inputs)
    chosen = fits[power, length]
    if head.tie_threshold() is not None:
        chosen = _with_ties(head, _regression(head, data, sample, weights), chosen)
    posterior = chosen
    if len(sample) < len(data):
        regression = _regression(head, data, everything, weights)
        posterior = regression.posterior(chosen.precisions, start=chosen.mean)
    head.set_posterior(posterior.mean, posterior.factor)
    linear, kernel = (1.0 / math.sqrt(precision) for precision in chosen.precisions)
    return ClosedFormFit(len(data), power, length, (linear, kernel), chosen.log_evidence / len(sample))


def _with_ties(head: Any, regression: RewardRegression, posterior: RewardPosterior) -> RewardPosterior:
    """Theta and the tie threshold in turns, each as the other has it."""
    for _ in range(TIE_ROUNDS):
        threshold = _likeliest_threshold(head, regression, posterior.mean)
        head.start_votes(threshold, None)
        posterior = regression.posterior(posterior.precisions, ROUNDS, posterior.mean)
    return posterior


def _likeliest_threshold(head: Any, regression: RewardRegression, theta: Tensor) -> float:
    """c at these rewards, between exp(-5) and exp(2)."""

    def loss(log_threshold: float) -> float:
        head.start_votes(math.exp(log_threshold), None)
        return -float(regression.log_likelihoods(theta))

    found: Any = minimize_scalar(loss, bounds=(-5.0, 2.0), method="bounded", options={"xatol": 1e-3})
    return math.exp(found.x)


def _regression(head: Any, data: FeatureDataset, rows: NDArray[np.int64], weights: LossWeights) -> RewardRegression:
    """Some rows of a data set as the head sees them now."""
    labels = data.labels(rows)
    present = likelihoods()

    def log_likelihood(rewards: Tensor, part: slice) -> Tensor:
        threshold = head.tie_threshold()
        posteriors = Posteriors.of_rewards(rewards, None if threshold is None else threshold.detach().to(rewards))
        judgments = Judgments(**{name: values[part] for name, values in labels.items()})
        terms = marginal_terms(posteriors, judgments, rewards.new_ones(1), likelihoods=present)
        return -weighted_loss(terms, weights).loss

    return RewardRegression(_differences(head, data, rows), log_likelihood, head.basis.groups)


@torch.no_grad()
def _differences(head: Any, data: FeatureDataset, rows: NDArray[np.int64]) -> Tensor:
    """phi of every completion but the first, minus the first's, (rows, num_completions - 1, width); 0 for padding."""
    parts = []
    for part in np.array_split(rows, math.ceil(len(rows) / 1024)):
        _, completions = data.features(part)
        phi = head.basis(head.completion_norm(completions.to(_device(head)))).cpu()
        exists = data.table.exists(part)[:, 1:].unsqueeze(-1)
        parts.append((phi[:, 1:] - phi[:, :1]) * exists)
    return torch.cat(parts)


def _device(head: Any) -> torch.device:
    device: torch.device = next(head.parameters()).device
    return device
