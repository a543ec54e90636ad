"""A batch of judgments with the distributions that a model gives them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vrm.core.disagreement import PairVotes, reported_votes
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import PredictiveMoments, completion_moments, log_probabilities, margin_moments
from vrm.core.steering import emphasize, without
from vrm.data.schema import Judgment
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import ConfigError
from vrm.inference.steering import Steering


@dataclass(frozen=True)
class JudgedBatch:
    """Judgments with the distributions that the model gives them, on the CPU and without gradients.

    Attributes:
        tokenized: the rows as the model read them, in the order given.
        mask: (batch, num_completions) bool.
        posteriors: distributions of the batch, steering applied.
        objectives: names of the objectives the posteriors range over.
        steering: that was applied; None without any.
    """

    tokenized: list[TokenizedJudgment]
    mask: Tensor
    posteriors: Posteriors
    objectives: tuple[str, ...]
    steering: Steering | None = None

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
        """How several raters vote on pairs (15); arguments as in `log_probabilities`."""
        return reported_votes(*self._pairs(rows, first, second), self.posteriors.tie_threshold)

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
        return replace(
            self,
            posteriors=replace(posteriors, weights=weights, decoder=decoder, rating_model=rating),
            objectives=steering.remaining(names),
            steering=steering,
        )
