"""Rewards as a reader wants them: scale, pessimism, steering, names, and numbers that are finite.

Everything that gives rewards out reads them through `RewardView`: files, server, trainers, benchmarks and audit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vrm.core.disagreement import TIE, PairVotes, log_vote_probabilities
from vrm.core.predictive import exponential_reward, objective_scores, pessimistic_reward
from vrm.data.schema import Judgment
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import CannotFollowError, NumericsError
from vrm.inference.judged import JudgedBatch
from vrm.inference.reward_choice import RewardChoice
from vrm.inference.steering import Steering
from vrm.model.configuration_vrm import VRMConfig


class RewardView:
    """How rewards of a model are read.

    Args:
        config: of the model.
        choice: scale and pessimism.
        steering: applied to batches that were judged without any; None leaves them as they are. Whether its rater is
            known is told by the batch, or before by `RewardEngine.check_steering`.

    Raises:
        CannotFollowError: if this model cannot follow the choice or the steering.
        ConfigError: for a count of emphasis that is not allowed.
    """

    def __init__(self, config: VRMConfig, choice: RewardChoice | None = None, steering: Steering | None = None) -> None:
        choice = choice or RewardChoice()
        if choice.kappa is not None and not config.has_reward_uncertainty:
            raise CannotFollowError(
                f"{config.head_in_words} has no uncertainty, so kappa would change nothing: leave it out", "kappa"
            )
        if choice.beta is not None and not config.has_reward_uncertainty:
            raise CannotFollowError(
                f"{config.head_in_words} has no uncertainty, so risk would change nothing: leave it out", "risk"
            )
        if steering is not None:
            steering.check(config)
        self.config, self.kappa, self.beta, self.steering = config, choice.kappa, choice.beta, steering
        self.reward_scale: str = choice.reward_scale or config.reward_scale
        self.units = config.reward_units(self.reward_scale)

    def __call__(self, batch: JudgedBatch) -> BatchRewards:
        """Rewards of a judged batch.

        Raises:
            NumericsError: if one is not finite.
        """
        return BatchRewards(batch.steered(self.steering), self)


class BatchRewards:
    """Rewards of a batch in the units of a view; tensors are on the CPU, and padding means nothing.

    Attributes:
        batch: the judgments, steered.
        config: of the model.
        moments: of the rewards, (batch, num_completions), raw.
        mean: E[r] (9), (batch, num_completions).
        std: square root of (10), same shape.
        pessimistic: E[r] - kappa sqrt(Var[r]), same shape; None without kappa.
        effective: -beta log E exp(-r / beta), same shape; None without beta.
    """

    def __init__(self, batch: JudgedBatch, view: RewardView) -> None:
        self.batch, self.moments, self.units, self.config = batch, batch.moments, view.units, view.config
        self.mean, self.std = self.units.of(self.moments.mean), self.units.spread(self.moments.std)
        self.pessimistic: Tensor | None = None
        if view.kappa is not None:
            self.pessimistic = self.units.of(pessimistic_reward(self.moments, view.kappa))
        self.effective: Tensor | None = None
        if view.beta is not None:
            self.effective = self.units.of(exponential_reward(batch.posteriors, view.beta * self.units.scale))
        for values in (self.mean, self.std, self.chosen):
            if not bool(torch.isfinite(values[batch.mask]).all()):
                for judgment, row, mask in zip(batch.judgments, values, batch.mask, strict=True):
                    check_finite(row[mask], judgment)

    @property
    def chosen(self) -> Tensor:
        """The pessimistic or effective rewards if there are any, else the means."""
        lowered = self.effective if self.pessimistic is None else self.pessimistic
        return self.mean if lowered is None else lowered

    @property
    def weights(self) -> Tensor:
        """E[w], (batch, num_objectives)."""
        return self.batch.posteriors.weights.mean

    @property
    def tilt(self) -> Tensor | None:
        """What a rater adds to the weights (16), (num_objectives,); None for the population."""
        tilt = self.batch.posteriors.weights.tilt
        return None if tilt is None else tilt.loc.to(self.weights)

    @property
    def applied_weights(self) -> Tensor:
        """What objective scores are multiplied by, (batch, num_objectives): E[w], and a rater's tilt."""
        return self.weights if self.tilt is None else self.weights + self.tilt

    @property
    def total_concentration(self) -> Tensor | None:
        """Total of the weights' Dirichlet, (batch,); None where the weights carry no uncertainty."""
        return self.batch.posteriors.weights.total_concentration

    @property
    def unfamiliarity(self) -> Tensor | None:
        """How unlike the training texts each completion is, (batch, num_completions); None for older models."""
        found = self.batch.posteriors.unfamiliarity
        return None if found is None else found.distance

    @cached_property
    def scores(self) -> Tensor:
        """o(mu), (batch, num_completions, num_objectives), in the view's units."""
        posteriors = self.batch.posteriors
        return self.units.of(objective_scores(posteriors.features.loc, posteriors.decoder))

    @cached_property
    def lists(self) -> dict[str, list[list[float]]]:
        """The rewards by the names of their attributes, as lists: reading a tensor row by row takes longer."""
        named = {"mean": self.mean, "std": self.std, "pessimistic": self.pessimistic, "effective": self.effective}
        named["unfamiliarity"] = self.unfamiliarity
        return {name: values.tolist() for name, values in named.items() if values is not None}

    def rows(self) -> Iterator[RowRewards]:
        """The judgments one by one."""
        return (RowRewards(self, index) for index in range(len(self.batch)))


class RowRewards:
    """Rewards of one judgment as finite numbers, one a completion, in the fewest digits that a float32 needs.

    Attributes:
        mean: E[r] (9).
        std: square root of (10).
        pessimistic: E[r] - kappa sqrt(Var[r]); None without kappa.
        effective: -beta log E exp(-r / beta); None without beta.
        unfamiliarity: how unlike the training texts each completion is; None for models that keep nothing of them.
    """

    def __init__(self, rewards: BatchRewards, index: int) -> None:
        self._rewards, self._index = rewards, index
        listed = {name: self._numbers(values[index]) for name, values in rewards.lists.items()}
        self.mean, self.std = listed["mean"], listed["std"]
        self.pessimistic, self.effective = listed.get("pessimistic"), listed.get("effective")
        self.unfamiliarity = listed.get("unfamiliarity")

    def _numbers(self, values: list[float]) -> list[float]:
        return numbers(values[: len(self.tokenized.completions)], self.tokenized.judgment)

    def _named(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self._rewards.batch.objectives, numbers(values, self.tokenized.judgment), strict=True))

    @property
    def tokenized(self) -> TokenizedJudgment:
        """The judgment as the model read it."""
        return self._rewards.batch.tokenized[self._index]

    @property
    def chosen(self) -> list[float]:
        """The pessimistic or effective rewards if there are any, else the means."""
        lowered = self.effective if self.pessimistic is None else self.pessimistic
        return self.mean if lowered is None else lowered

    def to_dict(self) -> dict[str, Any]:
        """The fields of a judgment in `vrm score` and the native API.

        `pessimistic_rewards` are there only with kappa, `effective_rewards` only with beta, `rater_tilt` only where a
        rater was named, `unfamiliarity` only where the model keeps something of its training texts.

        Raises:
            NumericsError: if a weight or an objective score is not finite.
        """
        total, tilt = self._rewards.total_concentration, self._rewards.tilt
        scores = self._rewards.scores[self._index, : len(self.tokenized.completions)]
        return {
            "rewards": self.mean,
            "reward_std": self.std,
            **({} if self.pessimistic is None else {"pessimistic_rewards": self.pessimistic}),
            **({} if self.effective is None else {"effective_rewards": self.effective}),
            **({} if self.unfamiliarity is None else {"unfamiliarity": self.unfamiliarity}),
            "objective_weights": self._named(self._rewards.weights[self._index]),
            **({} if tilt is None else {"rater_tilt": self._named(tilt)}),
            "total_concentration": None if total is None else shortest(float(total[self._index])),
            "objective_scores": [self._named(values) for values in scores],
        }

    def preference_matrix(self) -> list[list[float]]:
        """P(completion i is preferred to completion j) under the same weights by (8), for all i and j."""
        count = len(self.tokenized.completions)
        matrix = torch.full((count, count), 0.5)
        if count > 1:
            first, second = torch.triu_indices(count, count, offset=1)
            log_first, log_second = self._rewards.batch.log_probabilities(
                torch.full_like(first, self._index), first, second
            )
            matrix[first, second], matrix[second, first] = log_first.exp(), log_second.exp()
        return [numbers(values, self.tokenized.judgment) for values in matrix]

    def vote_matrices(self) -> tuple[list[list[float]] | None, list[list[float]] | None]:
        """For all i and j by (15): P(a rater calls completions i and j a tie), and P(two raters differ on them).

        On the diagonal a completion stands against itself. None for either where training does not tell.
        """
        count, batch, config = len(self.tokenized.completions), self._rewards.batch, self._rewards.config
        if not config.knows_ties:
            return None, None
        itself = PairVotes(log_vote_probabilities(torch.zeros(1, 1), batch.posteriors.tie_threshold), torch.zeros(1))
        first, second = torch.triu_indices(count, count, offset=1)
        pairs = batch.votes(torch.full_like(first, self._index), first, second)

        def symmetric(diagonal: Tensor, values: Tensor) -> list[list[float]]:
            matrix = diagonal.repeat(count, count)
            matrix[first, second] = matrix[second, first] = values
            return [numbers(row, self.tokenized.judgment) for row in matrix]

        return (
            symmetric(itself.share()[:, TIE], pairs.share()[:, TIE]),
            symmetric(itself.disagreement(), pairs.disagreement()) if config.learned_disagreement else None,
        )


def check_finite(values: Tensor | Sequence[float], judgment: Judgment) -> None:
    """Raise NumericsError, which names the row, unless all values are finite."""
    listed = [float(value) for value in values]
    if not all(map(math.isfinite, listed)):
        raise NumericsError(
            f"{judgment.file}:{judgment.line}: the model gives {listed}, which is not finite. Its weights or its "
            "precision are at fault: check the training run, or use precision float32"
        )


def numbers(values: Tensor | Sequence[float], judgment: Judgment) -> list[float]:
    """Finite numbers of a tensor (n,), in the fewest digits that a float32 needs; NumericsError names the row."""
    listed: Sequence[float] = values.tolist() if isinstance(values, Tensor) else values
    check_finite(listed, judgment)
    return [shortest(value) for value in listed]


def shortest(value: float) -> float:
    """A number in the fewest digits that a float32 needs."""
    return float(f"{value:.7g}")
