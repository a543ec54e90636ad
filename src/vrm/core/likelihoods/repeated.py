"""Several judgments of one pair, equation (15): what the raters' votes share decides how much they tell."""

from __future__ import annotations

from torch import Tensor

from vrm.core.disagreement import pair_votes
from vrm.core.likelihoods.base import Judgments, Latents, Outcome
from vrm.core.likelihoods.comparison import target_margin


class RepeatedJudgments(Outcome):
    """Reads `vote_counts`, (batch, 3): votes for the first of two, for the second, and ties; zeros without judgments.

    Where there is one, `margin` as for comparisons.
    """

    label = "vote_counts"

    def _observed(self, judgments: Judgments) -> Tensor:
        return judgments.vote_counts.sum(-1) > 0

    def expected(self, judgments: Judgments, latents: Latents) -> Tensor:
        """The log-likelihood (15) itself, in (7) too.

        An expectation of logs is a sum over the raters, in which what they share cannot be seen.
        """
        return self.marginal(judgments, latents)

    def marginal(self, judgments: Judgments, latents: Latents) -> Tensor:
        """log p(v_1, ..., v_R), by the moments of the latents; the draws of w are not needed."""
        posteriors = latents.posteriors
        first, second = posteriors.features.completion(0), posteriors.features.completion(1)
        votes = pair_votes(
            posteriors.weights,
            first,
            second,
            posteriors.decoder,
            posteriors.tie_threshold,
            target_margin(judgments),
            latents.num_nodes,
        )
        return votes.log_likelihood(judgments.vote_counts)
