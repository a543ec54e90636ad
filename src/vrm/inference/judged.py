"""A batch of judgments with the distributions that a model gives them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vrm.core.disagreement import PairVotes, reported_votes
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import (
    PredictiveMoments,
    completion_moments,
    log_probabilities,
    margin_moments,
    objective_scores,
)
from vrm.core.steering import emphasize, without
from vrm.data.schema import Judgment
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import ConfigError
from vrm.inference.known_raters import KnownRaters, Rater
from vrm.inference.steering import Steering
from vrm.model_files import unknown_rater


@dataclass(frozen=True)
class JudgedBatch:
    """Judgments with the distributions that the model gives them, on the CPU and without gradients.

    Attributes:
        tokenized: the rows as the model read them, in the order given.
        mask: (batch, num_completions) bool.
        posteriors: distributions of the batch, steering applied.
        objectives: names of the objectives the posteriors range over.
        steering: that was applied; None without any.
        raters: that the model knows; None without any.
    """

    tokenized: list[TokenizedJudgment]
    mask: Tensor
    posteriors: Posteriors
    objectives: tuple[str, ...]
    steering: Steering | None = None
    raters: KnownRaters | None = None

    def __len__(self) -> int:
        return len(self.tokenized)

    @property
    def judgments(self) -> list[Judgment]:
        """The rows themselves."""
        return [item.judgment for item in self.tokenized]

    @property
    def moments(self) -> PredictiveMoments:
        """Moments of every reward, (batch, num_completions), in raw units.

        Computed in float64 and rounded: in float32 the place in a batch decides the last digit, and equal completions
        would not tie.
        """
        dtype = self.posteriors.features.loc.dtype
        return completion_moments(self.posteriors.double()).map(lambda values: values.to(dtype))

    def log_probabilities(
        self, rows: Tensor, first: Tensor, second: Tensor, target_margin: Tensor | float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """log P(first > second) and log P(second > first) by (8), each (pairs,).

        Args:
            rows: (pairs,) judgment of each pair.
            first: (pairs,) position of its first completion.
            second: (pairs,) position of its second.
            target_margin: (pairs,) or a number; see `vrm.core.predictive.log_probabilities`.
        """
        return log_probabilities(*self._pairs(rows, first, second), target_margin=target_margin)

    def margin_moments(self, rows: Tensor, first: Tensor, second: Tensor) -> PredictiveMoments:
        """Moments (11) of the margins of pairs, each (pairs,); arguments as in `log_probabilities`."""
        return margin_moments(*self._pairs(rows, first, second))

    def votes(self, rows: Tensor, first: Tensor, second: Tensor) -> PairVotes:
        """How several raters vote on pairs (15); arguments as in `log_probabilities`.

        Where the model knows raters, and none is asked for, they are further raters like those (16): what all share is
        added, and V_w has the spread of their tilts too.
        """
        batch = self.as_voted
        return reported_votes(*batch._pairs(rows, first, second), batch.posteriors.tie_threshold)

    @property
    def as_voted(self) -> JudgedBatch:
        """The batch as raters judge it who are drawn anew, unless it is a known rater's."""
        if self.raters is None or self.posteriors.weights.tilt is not None:
            return self
        return self._of_rater(self.raters.unknown)

    @property
    def rater(self) -> Rater | None:
        """Whose judgments are asked for; None for the population's."""
        name = None if self.steering is None else self.steering.rater
        if name is None:
            return None
        if self.raters is None:
            raise unknown_rater(name, ())
        return self.raters.of(name)

    def score_differences(self, rows: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """o(mu) of the first completions minus that of the second, (pairs, num_objectives)."""
        _, one, other, decoder = self._pairs(rows, first, second)
        return objective_scores(one.loc - other.loc, decoder)

    def _pairs(
        self, rows: Tensor, first: Tensor, second: Tensor
    ) -> tuple[ObjectiveWeights, SemanticFeatures, SemanticFeatures, Tensor]:
        posteriors = self.posteriors
        one, other = (posteriors.features[rows, places] for places in (first, second))
        return posteriors.weights[rows], one, other, posteriors.decoder

    def row(self, index: int) -> JudgedBatch:
        """One judgment as a batch of one, its padding removed."""
        return self.part(index, index + 1)

    def part(self, start: int, stop: int) -> JudgedBatch:
        """The judgments from `start` to before `stop`, with no more padding than these need."""
        tokenized, rows = self.tokenized[start:stop], torch.arange(start, stop)
        width = max([1, *(len(item.completions) for item in tokenized)])
        posteriors = self.posteriors.rows(rows, width)
        return replace(self, tokenized=tokenized, mask=self.mask[rows, :width], posteriors=posteriors)

    def steered(self, steering: Steering | None) -> JudgedBatch:
        """The batch as an engine with this steering would have judged it; without steering the batch itself.

        Args:
            steering: that `Steering.check` has let pass.

        Raises:
            ConfigError: if the batch is steered already, or the head cannot follow.
            CannotFollowError: for a rater that the model does not know.
        """
        if steering is None:
            return self
        if self.steering is not None:
            raise ConfigError("the batch is steered already; steer what an engine without steering has judged")
        posteriors, names = self.posteriors, self.objectives
        weights, decoder, rating = posteriors.weights, posteriors.decoder, posteriors.rating_model
        if steering.emphasis:
            weights = emphasize(weights, torch.tensor([float(steering.emphasis.get(name, 0.0)) for name in names]))
        if steering.without:
            keep = torch.tensor([name not in steering.without for name in names])
            weights, decoder = without(weights, decoder, keep)
            rating = replace(rating, offset=rating.offset[keep], scale=rating.scale[keep])
        posteriors = replace(posteriors, weights=weights, decoder=decoder, rating_model=rating)
        steered = replace(self, posteriors=posteriors, objectives=steering.remaining(names), steering=steering)
        return steered._of_rater(steered.rater)

    def _of_rater(self, rater: Rater | None) -> JudgedBatch:
        if rater is None:
            return self
        weights = replace(self.posteriors.weights, tilt=rater.tilt_of(self.objectives))
        posteriors = replace(self.posteriors, weights=weights)
        if posteriors.tie_threshold is not None and rater.tie_threshold is not None:
            posteriors = replace(posteriors, tie_threshold=rater.tie_threshold.to(posteriors.tie_threshold))
        return replace(self, posteriors=posteriors)
