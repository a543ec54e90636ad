"""What several judgments of a pair show and one does not: V_z, V_w and c from simulated raters, equation (15)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Dirichlet

from vrm.core.disagreement import log_vote_probabilities, pair_votes, votes_without_texts
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures

PAIRS = 3_000
MEAN = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
SCALE, VARIANCE, TOTAL, THRESHOLD = TRUTH = (1.0, 4.0, 3.0, 0.5)
"""Of scores, of each objective's shared noise, the weights' total concentration (which V_w falls with), and c."""


class Study:
    """Raters of pairs whose scores are known up to a scale, and their mean weights; four numbers are to be found.

    V_z is scale^2 variance |m|^2. V_w is how much the objectives conflict on a pair, over the total concentration.
    """

    def __init__(self, raters: int) -> None:
        self.difference = 2.0 * torch.randn(PAIRS, 4, dtype=torch.float64)
        shared = self.difference + math.sqrt(VARIANCE) * torch.randn(PAIRS, 4, dtype=torch.float64)
        weights = Dirichlet(TOTAL * MEAN).sample(torch.Size([PAIRS, raters]))
        utility = (weights * shared.unsqueeze(1)).sum(-1)
        votes = Categorical(logits=log_vote_probabilities(utility, torch.tensor(THRESHOLD).double())).sample()
        self.counts = torch.stack([(votes == outcome).sum(1) for outcome in range(3)], -1).double()

    def log_likelihood(self, logs: Tensor) -> Tensor:
        """Of all votes, given the logs of the four numbers."""
        scale, variance, total, threshold = logs.exp()
        loc = scale * self.difference
        spread = (0.5 * scale.square() * variance).expand_as(loc)
        sides = SemanticFeatures(loc, spread), SemanticFeatures(torch.zeros_like(loc), spread)
        weights = ObjectiveWeights.from_concentration((total * MEAN).expand_as(loc))
        return pair_votes(weights, *sides, torch.eye(4).double(), threshold).log_likelihood(self.counts).sum()

    def fit(self, held: Mapping[int, float] | None = None) -> tuple[list[float], float]:
        """The likeliest numbers, some held, and the log-likelihood in nats."""
        free = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        given = torch.full((4,), math.nan, dtype=torch.float64)
        for index, value in (held or {}).items():
            given[index] = math.log(value)
        optimizer = torch.optim.LBFGS([free], max_iter=25, line_search_fn="strong_wolfe")

        def logs() -> Tensor:
            return torch.where(given.isnan(), free, given.nan_to_num())

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = -self.log_likelihood(logs()) / PAIRS
            loss.backward()
            return loss

        optimizer.step(closure)
        with torch.no_grad():
            return logs().exp().tolist(), float(self.log_likelihood(logs()))


NO_SHARED, MUCH_SHARED, NO_OWN = {1: 1e-3}, {1: 4 * VARIANCE}, {2: 1e3}


@pytest.mark.slow
def test_five_votes_a_pair_show_what_raters_share_what_each_brings_and_when_they_tie() -> None:
    study = Study(5)
    (scale, variance, total, threshold), best = study.fit()
    assert scale**2 * variance == pytest.approx(VARIANCE, rel=0.4)
    assert 2.0 < total < 4.5
    assert threshold == pytest.approx(THRESHOLD, rel=0.2)
    lost = [best - study.fit(held)[1] for held in (NO_SHARED, MUCH_SHARED, NO_OWN)]
    assert min(lost[:2]) > 50
    assert lost[2] > 4


@pytest.mark.slow
def test_one_vote_a_pair_cannot_tell_them_apart() -> None:
    """The likelihood is as good, within a nat of 3,000 votes, whatever V_z and V_w: scale and c make up for them."""
    study = Study(1)
    _, best = study.fit()
    for held in (NO_SHARED, MUCH_SHARED, NO_OWN, NO_SHARED | NO_OWN):
        assert best - study.fit(held)[1] < 1.0


@pytest.mark.parametrize(("variance", "threshold"), [(0.3, 1.0), (2.0, 0.5), (5.0, 0.1)])
def test_the_start_of_training_is_where_votes_on_unread_texts_are_likeliest(variance: float, threshold: float) -> None:
    utility = math.sqrt(variance) * torch.randn(4_000, 1).double()
    logs = log_vote_probabilities(utility.expand(-1, 5), torch.tensor(threshold).double())
    votes = Categorical(logits=logs).sample()
    counts = torch.stack([(votes == outcome).sum(1) for outcome in range(3)], -1)
    found, shared = votes_without_texts(counts)
    assert found == pytest.approx(threshold, rel=0.1, abs=0.03)
    assert shared == pytest.approx(variance, rel=0.25)
    assert votes_without_texts(torch.eye(3)[[0, 1, 2, 1]])[1] is None
