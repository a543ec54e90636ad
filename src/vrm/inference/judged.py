"""What a model says about a batch of judgments."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import PredictiveMoments
from vrm.data.schema import Judgment
from vrm.model.modeling_vrm import completion_moments


@dataclass(frozen=True)
class JudgedBatch:
    """Judgments and what the model says about them, steering applied; on the CPU, without gradients.

    Attributes:
        judgments: the rows, in the order given.
        mask: (batch, num_completions) bool.
        posteriors: distributions of the batch.
        objectives: names of the objectives the posteriors range over.
    """

    judgments: list[Judgment]
    mask: Tensor
    posteriors: Posteriors
    objectives: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.judgments)

    @property
    def moments(self) -> PredictiveMoments:
        """Moments of every reward, (batch, num_completions), in raw units."""
        return completion_moments(self.posteriors)

    def row(self, index: int) -> JudgedBatch:
        """One judgment as a batch of one, its padding removed."""
        count = max(len(self.judgments[index].completions), 1)
        weights, features = self.posteriors.weights, self.posteriors.features
        concentration = None if weights.concentration is None else weights.concentration[index : index + 1]
        posteriors = Posteriors(
            ObjectiveWeights(weights.mean[index : index + 1], concentration),
            SemanticFeatures(features.loc[index : index + 1, :count], features.variance[index : index + 1, :count]),
            self.posteriors.decoder,
            self.posteriors.rating_model,
        )
        return JudgedBatch([self.judgments[index]], self.mask[index : index + 1, :count], posteriors, self.objectives)
