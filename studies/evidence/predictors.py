"""What every kind of reward model says of a fold, through one interface: log-probabilities, margins, rewards."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from studies.evidence.fitting import Transform, posteriors
from studies.evidence.folds import Features, Fold
from torch import Tensor, nn

from vrm.core.posteriors import Posteriors
from vrm.core.predictive import (
    NUM_NODES,
    PredictiveMoments,
    fixed_weight_draws,
    margin_moments,
    reward_moments,
)
from vrm.core.quadrature import MarginGivenWeights, log_preference_probability, margin_given_weights
from vrm.inference.engine import RewardEngine

BATCH = 512


@dataclass(frozen=True)
class Said:
    """Predictions for a fold; pairs are the first two completions.

    Attributes:
        rewards: (n, c) mean.
        spreads: (n, c) standard deviation.
        margin: (n,) mean.
        variance: (n, 3): feature, weight, interaction.
        given: (8) for each draw of the weights, or each member of an ensemble.
    """

    rewards: np.ndarray
    spreads: np.ndarray
    margin: np.ndarray
    variance: np.ndarray
    given: MarginGivenWeights

    def logs(self, scale: float = 1.0) -> np.ndarray:
        """log P(a > b) and log P(b > a), (n, 2), with rewards divided by a temperature."""
        scaled = MarginGivenWeights(self.given.mean / scale, self.given.variance / scale**2)
        return torch.stack(log_preference_probability(scaled, NUM_NODES), -1).double().numpy()


class Predictor(Protocol):
    """A trained reward model."""

    def say(self, fold: Fold) -> Said:
        """Predictions for a fold."""


class PosteriorPredictor(ABC):
    """Whatever gives `Posteriors`."""

    @abstractmethod
    def posteriors(self, fold: Fold, rows: slice) -> Posteriors:
        """Distributions of some rows."""

    @torch.inference_mode()
    def say(self, fold: Fold) -> Said:
        """Predictions for a fold."""
        parts = []
        for start in range(0, len(fold), BATCH):
            found = self.posteriors(fold, slice(start, start + BATCH))
            first, second = found.features.completion(0), found.features.completion(1)
            margin = margin_moments(found.weights, first, second, found.decoder)
            draws = fixed_weight_draws(found.weights)
            parts.append((_rewards(found), margin, margin_given_weights(draws, first, second, found.decoder)))
        return _said(parts)


@dataclass(frozen=True)
class HeadPredictor(PosteriorPredictor):
    """One head of the package, or one that gives the same `Posteriors`."""

    head: nn.Module
    features: Features
    transform: Transform | None = None

    def posteriors(self, fold: Fold, rows: slice) -> Posteriors:
        """Distributions of some rows."""
        return posteriors(self.head, self.features, fold, self.transform, rows)


@dataclass(frozen=True)
class EnginePredictor(PosteriorPredictor):
    """A model that was saved: its backbone may have been tuned."""

    engine: RewardEngine

    def posteriors(self, fold: Fold, rows: slice) -> Posteriors:
        """Distributions of some rows."""
        return self.engine.judge(fold.judgments[rows]).posteriors


def _rewards(found: Posteriors) -> PredictiveMoments:
    weights = type(found.weights)(
        found.weights.mean.unsqueeze(-2),
        None if found.weights.concentration is None else found.weights.concentration.unsqueeze(-2),
    )
    return reward_moments(weights, found.features, found.decoder)


def _said(parts: list[tuple[PredictiveMoments, PredictiveMoments, MarginGivenWeights]]) -> Said:
    def joined(tensors: list[Tensor]) -> np.ndarray:
        return torch.cat(tensors).double().numpy()

    return Said(
        joined([rewards.mean for rewards, _, _ in parts]),
        joined([rewards.std for rewards, _, _ in parts]),
        joined([margin.mean for _, margin, _ in parts]),
        joined([torch.stack([m.feature_variance, m.weight_variance, m.interaction_variance], -1) for _, m, _ in parts]),
        MarginGivenWeights(
            torch.cat([given.mean for _, _, given in parts], 1), torch.cat([given.variance for _, _, given in parts], 1)
        ),
    )


@dataclass(frozen=True)
class Ensemble:
    """Several heads: probabilities averaged; the spread of their rewards is the uncertainty."""

    members: list[HeadPredictor]

    def say(self, fold: Fold) -> Said:
        """Predictions for a fold."""
        said = [member.say(fold) for member in self.members]
        # Each member's rewards are known up to a constant a prompt.
        rewards = np.stack([entry.rewards - entry.rewards.mean(1, keepdims=True) for entry in said])
        margins = np.stack([entry.margin for entry in said])
        variance = np.zeros((len(fold), 3))
        variance[:, 0] = margins.var(0, ddof=1)
        given = MarginGivenWeights(
            torch.cat([entry.given.mean for entry in said]), torch.cat([entry.given.variance for entry in said])
        )
        return Said(rewards.mean(0), rewards.std(0, ddof=1), margins.mean(0), variance, given)


class LastLayerLaplace:
    """An `mlp` head with a Laplace posterior over its last layer, by `laplace-torch`.

    A comparison is a two-class problem whose logits are +-w . (phi_a - phi_b) / 2, so the last layer of the classifier
    that the library sees is w/2 and -w/2, without bias.
    """

    def __init__(self, head: nn.Module, features: Features, train: Fold) -> None:
        from laplace import Laplace
        from torch.utils.data import DataLoader, TensorDataset

        self.head, self.features = head, features
        half = head.features[-1].weight.detach() / 2
        last = nn.Linear(half.shape[1], 2, bias=False)
        last.weight.data = torch.cat([half, -half])
        clear = train.where(lambda row: row.preference != 0.5)
        hidden = self._hidden(clear)
        classes = torch.tensor([0 if row.preference > 0.5 else 1 for row in clear.judgments])
        loader = DataLoader(TensorDataset(hidden[:, 0] - hidden[:, 1], classes), batch_size=1024)
        self.laplace = Laplace(
            nn.Sequential(nn.Identity(), last),
            "classification",
            subset_of_weights="last_layer",
            hessian_structure="full",
        )
        self.laplace.fit(loader)
        self.laplace.optimize_prior_precision(method="marglik")

    @torch.inference_mode()
    def _hidden(self, fold: Fold) -> Tensor:
        parts = []
        for start in range(0, len(fold), BATCH):
            _, completions = self.features.of(fold, slice(start, start + BATCH))
            parts.append(self.head.features[:-1](self.head.completion_norm(completions)))
        return torch.cat(parts)

    def _moments(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the difference of the two logits, any leading shape."""
        flat = inputs.flatten(0, -2).clone()
        mean, covariance = self.laplace._glm_predictive_distribution(flat)
        contrast = covariance.new_tensor([1.0, -1.0])
        variance = torch.einsum("i,nij,j->n", contrast, covariance, contrast)
        return (mean @ contrast).view(inputs.shape[:-1]).detach(), variance.view(inputs.shape[:-1]).detach()

    def say(self, fold: Fold) -> Said:
        """Predictions for a fold."""
        hidden = self._hidden(fold)
        rewards, spread = self._moments(hidden - hidden.mean(1, keepdim=True))
        margin, variance = self._moments(hidden[:, 0] - hidden[:, 1])
        parts = np.zeros((len(fold), 3))
        parts[:, 0] = variance.numpy()
        given = MarginGivenWeights(margin[None], variance[None])
        numbers = (value.double().numpy() for value in (rewards, spread.clamp_min(0).sqrt(), margin))
        return Said(*numbers, parts, given)


def calibrated_scale(predictor: Predictor, fold: Fold) -> float:
    """Temperature that minimizes the NLL of a fold; within e^-3 to e^4."""
    label = np.array([row.preference for row in fold.judgments])
    said = predictor.say(fold)

    def nll(log_scale: float) -> float:
        logs = said.logs(math.exp(log_scale))
        return -float((label * logs[:, 0] + (1 - label) * logs[:, 1]).mean())

    found: Any = minimize_scalar(nll, bounds=(-3.0, 4.0), method="bounded", options={"xatol": 0.01})
    return math.exp(found.x)
