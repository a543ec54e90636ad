"""What a kind of label must offer so that both losses can use it, and what most of them are computed from.

In (7) every kind has an expectation under q. In (7') kinds differ by what they are about, and so they stand in two
classes. `Evidence` is about one latent alone (votes: w, ratings: z). Its likelihood has a closed form, and that latent
is conditioned on it. An `Outcome` depends on both latents (comparisons, ranked lists). Its likelihood comes last in the
chain rule, under the latents given all evidence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vrm.core.posteriors import Posteriors
from vrm.core.quadrature import DEFAULT_NODES, VARIANCE_JITTER, log_mean_exp

REWARD_DRAWS = 8
"""Draws of a row's rewards for each draw of w, half of them mirror images of the others."""


class Judgments:
    """What the judges said about a batch, padded to the largest number of completions.

    A tensor of labels is also an attribute: `judgments.votes` is `judgments.labels["votes"]`.

    Attributes:
        mask: (batch, num_completions) bool, which completions exist.
        offsets: (batch, num_completions) factor h(nu) of (14), added to the rewards in outcomes alone; or None for 0.
        labels: the tensors of the labels by name, the first axis the batch's. Each likelihood says what it reads and
            how a row without its label looks.
    """

    def __init__(self, mask: Tensor, *, offsets: Tensor | None = None, **labels: Tensor | None) -> None:
        self.mask, self.offsets = mask, offsets
        self.labels = {name: values for name, values in labels.items() if values is not None}

    def __getattr__(self, name: str) -> Tensor:
        try:
            return vars(self)["labels"][name]
        except KeyError:
            raise AttributeError(f"these judgments have no labels {name!r}") from None


@dataclass(frozen=True)
class Latents:
    """The latents that an expectation is taken over.

    Attributes:
        posteriors: (1) and (2); in (7') given all evidence.
        weight_samples: draws of w, (num_samples, batch, num_objectives).
        num_nodes: Gauss-Hermite nodes for (8).
    """

    posteriors: Posteriors
    weight_samples: Tensor
    num_nodes: int = DEFAULT_NODES

    def reward_draws(self, offsets: Tensor | None = None) -> Tensor:
        """Draws of every completion's reward, (num_draws, batch, num_completions); `offsets` as in `Judgments`.

        Given w the rewards of a row are independent Gaussians (8), so one normal for each completion stands for its z.
        What the model doubts of its parameters is drawn once for all completions of a row.
        """
        features = self.posteriors.features
        direction = (self.weight_samples @ self.posteriors.decoder).unsqueeze(-2)
        rewards = (direction * features.loc).sum(-1)
        if offsets is not None:
            rewards = rewards + offsets
        if bool((features.variance == 0).all()) and features.doubt is None:
            return rewards
        half = torch.randn(REWARD_DRAWS // 2, *rewards.shape, dtype=rewards.dtype, device=rewards.device)
        noise = (features.variance_along(direction) + VARIANCE_JITTER).sqrt() * half
        if features.doubt is not None:
            shared = torch.randn(*noise.shape[:-1], features.doubt.shape[-1], 1, dtype=noise.dtype, device=noise.device)
            noise = noise + (features.doubt @ shared).squeeze(-1)
        return (rewards + torch.cat([noise, -noise])).flatten(0, 1)


class Likelihood(ABC):
    """How likely the labels of one kind are.

    Attributes:
        label: the tensor of `Judgments` that says which rows have this kind.
    """

    label: ClassVar[str]

    def observed(self, judgments: Judgments) -> Tensor:
        """(batch,) bool: which rows have this kind of label."""
        if self.label not in judgments.labels:
            return judgments.mask.new_zeros(len(judgments.mask))
        return self._observed(judgments)

    def _observed(self, judgments: Judgments) -> Tensor:
        """As `observed`, where the batch has the tensor: rows in which it holds anything but NaN."""
        return (~judgments.labels[self.label].isnan()).unsqueeze(-1).flatten(1).any(-1)

    @abstractmethod
    def expected(self, judgments: Judgments, latents: Latents) -> Tensor:
        """E_q of the log-likelihood, (batch,) in nats: the term of (7).

        Rows without the label may hold any finite number: they are masked, and so is their gradient.
        """


class Evidence(Likelihood):
    """A kind of label about one latent alone, whose likelihood under (7') is closed."""

    @abstractmethod
    def condition(self, judgments: Judgments, posteriors: Posteriors) -> tuple[Tensor, Posteriors]:
        """Log of the marginal likelihood, (batch,) in nats, and the latents given the labels."""


class Outcome(Likelihood):
    """A kind of label that follows from the rewards, and so from both latents."""

    @abstractmethod
    def marginal(self, judgments: Judgments, latents: Latents) -> Tensor:
        """Log of the likelihood's mean over the latents, (batch,) in nats: the term of (7')."""


class DrawnOutcome(Outcome):
    """An outcome known by its log-likelihood given the rewards, which are drawn."""

    @abstractmethod
    def log_likelihood(self, rewards: Tensor, judgments: Judgments) -> Tensor:
        """(num_draws, batch) in nats, given rewards of shape (num_draws, batch, num_completions)."""

    def expected(self, judgments: Judgments, latents: Latents) -> Tensor:
        """Mean of the log-likelihoods over the draws."""
        return self.log_likelihood(latents.reward_draws(judgments.offsets), judgments).mean(0)

    def marginal(self, judgments: Judgments, latents: Latents) -> Tensor:
        """Log of the mean over the draws, its bias corrected (docs/decisions/0020)."""
        logs = self.log_likelihood(latents.reward_draws(judgments.offsets), judgments)
        return log_mean_exp(logs, correct_bias=True)
