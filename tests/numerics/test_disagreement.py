"""Equation (15): several judgments of one pair, against integration by brute force and against the sampled model."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from vrm.core.disagreement import (
    PairVotes,
    log_vote_probabilities,
    pair_votes,
    pair_votes_over_draws,
    vote_patterns,
)
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.likelihoods import LIKELIHOODS
from vrm.core.likelihoods.base import Judgments, Latents
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import fixed_weight_draws, log_probabilities, margin_moments

THRESHOLD = torch.tensor(0.4, dtype=torch.float64)


def sides(posteriors: Posteriors) -> tuple[ObjectiveWeights, SemanticFeatures, SemanticFeatures, Tensor]:
    features = posteriors.features
    return posteriors.weights, features.completion(0), features.completion(1), posteriors.decoder


def counts_of(num_raters: int) -> Tensor:
    return torch.tensor(list(vote_patterns(num_raters)), dtype=torch.float64)


def ways(counts: Tensor) -> Tensor:
    """Number of sequences of votes with these counts, (...,)."""
    return (torch.lgamma(counts.sum(-1) + 1) - torch.lgamma(counts + 1).sum(-1)).exp()


def for_every_pattern(votes: PairVotes, counts: Tensor) -> Tensor:
    """Log-likelihoods, (patterns, batch)."""
    return torch.stack([votes.log_likelihood(row.expand(len(votes.log_given_shared), -1)) for row in counts])


@pytest.mark.parametrize("utility", [-40.0, -1.0, 0.0, 0.3, 40.0])
@pytest.mark.parametrize("threshold", [1e-6, 0.3, 5.0])
def test_the_outcomes_of_a_vote_sum_to_one_and_ties_are_the_rest(utility: float, threshold: float) -> None:
    u, c = torch.tensor(utility, dtype=torch.float64), torch.tensor(threshold, dtype=torch.float64)
    first, second, tie = log_vote_probabilities(u, c).exp()
    assert float(first) == pytest.approx(1 / (1 + math.exp(-utility + threshold)))
    assert float(second) == pytest.approx(1 / (1 + math.exp(utility + threshold)))
    assert float(tie) == pytest.approx(1 - float(first) - float(second), abs=1e-12)


def test_float32_keeps_ties_far_from_zero_where_a_difference_would_not() -> None:
    u = torch.tensor(30.0)
    tie = log_vote_probabilities(u, torch.tensor(0.5))[2]
    exact = log_vote_probabilities(u.double(), torch.tensor(0.5).double())[2]
    assert float(tie) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize("threshold", [None, THRESHOLD])
def test_integration_by_brute_force(posteriors: Posteriors, threshold: Tensor | None) -> None:
    """A dense grid over g and eta, for five raters."""
    moments = margin_moments(*sides(posteriors))
    own = moments.weight_variance + moments.interaction_variance
    grid = torch.linspace(-9, 9, 1801, dtype=torch.float64)
    density = torch.exp(-0.5 * grid.square())
    density = density / density.sum()
    counts = torch.tensor([[3.0, 1.0, 1.0], [0.0, 4.0, 1.0], [2.0, 2.0, 1.0]], dtype=torch.float64)
    if threshold is None:
        counts[:, 2] = 0.0
    votes = pair_votes(*sides(posteriors), threshold, num_shared=64, num_own=64)
    for row in range(3):
        shared = moments.mean[row] + moments.feature_variance[row].sqrt() * grid
        utility = shared[:, None] + own[row].sqrt() * grid
        probabilities = (log_vote_probabilities(utility, threshold).exp() * density[None, :, None]).sum(1)
        kept = counts[row, : probabilities.shape[1]]
        expected = (density * (kept * probabilities.log()).sum(-1).exp()).sum().log()
        assert float(votes.log_likelihood(counts)[row]) == pytest.approx(float(expected), abs=5e-5)
        share = (density[:, None] * probabilities).sum(0)
        torch.testing.assert_close(votes.share()[row, : len(share)], share, atol=1e-6, rtol=0)
        differ = (density * (1 - probabilities.square().sum(-1))).sum()
        assert float(votes.disagreement()[row]) == pytest.approx(float(differ), abs=1e-6)


def test_the_nodes_of_training_are_near_the_integral(posteriors: Posteriors) -> None:
    """Total variation over all patterns of five votes, where V_z is 7.4, 1.6 and 0.4."""
    counts = counts_of(5)
    few, many = (
        for_every_pattern(pair_votes(*sides(posteriors), THRESHOLD, **nodes), counts).exp() * ways(counts).unsqueeze(-1)
        for nodes in ({}, {"num_shared": 64, "num_own": 64})
    )
    distances = (few - many).abs().sum(0) / 2
    assert float(distances[0]) < 0.01
    assert float(distances[1:].max()) < 1e-4


@pytest.mark.parametrize("num_raters", [1, 2, 5])
@pytest.mark.parametrize("threshold", [None, THRESHOLD])
def test_probabilities_of_all_patterns_sum_to_one(
    posteriors: Posteriors, num_raters: int, threshold: Tensor | None
) -> None:
    counts = counts_of(num_raters)
    if threshold is None:
        counts = counts[counts[:, 2] == 0]
    draws = fixed_weight_draws(posteriors.weights)
    for votes in (
        pair_votes(*sides(posteriors), threshold),
        pair_votes_over_draws(draws, *sides(posteriors), threshold),
    ):
        total = (for_every_pattern(votes, counts).exp() * ways(counts).unsqueeze(-1)).sum(0)
        torch.testing.assert_close(total, torch.ones_like(total))
        torch.testing.assert_close(votes.share().sum(-1), torch.ones_like(total))
        torch.testing.assert_close(votes.majority(num_raters).sum(-1), torch.ones_like(total))


def test_one_judgment_without_ties_is_the_likelihood_of_a_comparison(posteriors: Posteriors) -> None:
    draws = fixed_weight_draws(posteriors.weights)
    votes = pair_votes_over_draws(draws, *sides(posteriors), num_nodes=32)
    first, second = log_probabilities(*sides(posteriors))
    one = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(votes.log_likelihood(one[[0]].expand(3, -1)), first, atol=1e-5, rtol=0)
    torch.testing.assert_close(votes.log_likelihood(one[[1]].expand(3, -1)), second, atol=1e-5, rtol=0)


@pytest.mark.parametrize("loss", ["expected", "marginal"])
def test_weights_that_are_a_point_have_the_comparisons_likelihood_in_training(
    posteriors: Posteriors, loss: str
) -> None:
    """Target margin and nuisance offset included; and without variance in either loss."""
    features = posteriors.features
    point = Posteriors(
        ObjectiveWeights(posteriors.weights.mean),
        features if loss == "marginal" else SemanticFeatures(features.loc, torch.zeros_like(features.variance)),
        posteriors.decoder,
        posteriors.rating_model,
    )
    margin, offsets = torch.tensor([0.3, 0.0, -0.2]).double(), torch.randn(3, 2).double()
    shared = {"mask": torch.ones(3, 2, dtype=torch.bool), "margin": margin, "offsets": offsets}
    first = torch.tensor([1.0, 0.0, 1.0]).double()
    votes = torch.stack([first, 1 - first, torch.zeros(3).double()], -1)
    latents = Latents(point, point.weights.rsample(1), num_nodes=32)
    one = getattr(LIKELIHOODS["comparison"], loss)(Judgments(**shared, preference=first), latents)
    several = getattr(LIKELIHOODS["judgments"], loss)(Judgments(**shared, vote_counts=votes), latents)
    torch.testing.assert_close(several, one, atol=1e-7, rtol=0)


def test_without_variance_votes_are_independent(posteriors: Posteriors) -> None:
    weights, first, second, decoder = sides(posteriors)
    weights = ObjectiveWeights(weights.mean)
    first, second = (SemanticFeatures(side.loc, torch.zeros_like(side.loc)) for side in (first, second))
    votes = pair_votes(weights, first, second, decoder, THRESHOLD)
    utility = (weights.mean * ((first.loc - second.loc) @ decoder.T)).sum(-1)
    logs = log_vote_probabilities(utility, THRESHOLD)
    counts = torch.tensor([3.0, 1.0, 1.0]).double().expand(3, -1)
    torch.testing.assert_close(votes.log_likelihood(counts), (counts * logs).sum(-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(votes.next_vote(counts), logs.exp(), atol=1e-6, rtol=0)


def test_votes_of_the_sampled_model(posteriors: Posteriors, within_standard_errors) -> None:
    """z drawn once a pair, w drawn by every rater: exact over draws of w, and near under the Gaussian."""
    weights, first, second, decoder = sides(posteriors)
    samples, raters = 40_000, 3
    delta = (first.rsample(samples) - second.rsample(samples)) @ decoder.T
    drawn = weights.distribution.sample(torch.Size([samples, raters]))
    utility = (drawn * delta.unsqueeze(1)).sum(-1)
    voted = Categorical(logits=log_vote_probabilities(utility, THRESHOLD)).sample()
    draws = weights.distribution.sample(torch.Size([8192]))
    exact = pair_votes_over_draws(draws, *sides(posteriors), THRESHOLD, num_nodes=32)
    gaussian = pair_votes(*sides(posteriors), THRESHOLD, num_shared=32, num_own=32)
    differ = (voted[:, 0] != voted[:, 1]).double()
    within_standard_errors(differ, exact.disagreement())
    torch.testing.assert_close(gaussian.disagreement(), differ.mean(0), atol=0.01, rtol=0)
    for outcome in range(3):
        within_standard_errors((voted[:, 0] == outcome).double(), exact.share()[:, outcome])
        torch.testing.assert_close(
            gaussian.share()[:, outcome], (voted[:, 0] == outcome).double().mean(0), atol=0.02, rtol=0
        )
    # The third vote after two for the first.
    seen = torch.tensor([2.0, 0.0, 0.0]).double().expand(3, -1)
    both = ((voted[:, :2] == 0).all(1)).double()
    following = (both * (voted[:, 2] == 0)).mean(0) / both.mean(0)
    torch.testing.assert_close(exact.next_vote(seen)[:, 0], following, atol=0.015, rtol=0)
    torch.testing.assert_close(gaussian.next_vote(seen)[:, 0], following, atol=0.02, rtol=0)
    for_first, for_second = ((voted == side).sum(1) for side in range(2))
    torch.testing.assert_close(
        exact.majority(raters)[:, 0], (for_first > for_second).double().mean(0), atol=0.012, rtol=0
    )


def test_the_next_vote_is_a_ratio_of_likelihoods(posteriors: Posteriors) -> None:
    votes = pair_votes(*sides(posteriors), THRESHOLD)
    seen = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]).double()
    for outcome, one in enumerate(torch.eye(3, dtype=torch.float64)):
        ratio = (votes.log_likelihood(seen + one) - votes.log_likelihood(seen)).exp()
        torch.testing.assert_close(votes.next_vote(seen)[:, outcome], ratio)
    torch.testing.assert_close(votes.next_vote(seen)[2], votes.share()[2])


def test_a_tie_is_half_a_vote_for_either_side_where_there_is_no_threshold(posteriors: Posteriors) -> None:
    votes = pair_votes(*sides(posteriors))
    tied, halves = torch.tensor([[0.0, 0.0, 2.0]] * 3).double(), torch.tensor([[1.0, 1.0, 0.0]] * 3).double()
    torch.testing.assert_close(votes.log_likelihood(tied), votes.log_likelihood(halves))
    assert votes.share()[:, 2].tolist() == [0, 0, 0]


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_gradients_are_finite_at_both_ends(posteriors: Posteriors, scale: float) -> None:
    raw = torch.tensor(-200.0 if scale else 0.0, requires_grad=True)
    loc = (posteriors.features.loc * scale).float().requires_grad_()
    variance = (posteriors.features.variance * scale).float().requires_grad_()
    features = SemanticFeatures(loc, variance)
    decoder = posteriors.decoder.float()
    weights = ObjectiveWeights.from_concentration(posteriors.weights.require_concentration("tests").float())
    threshold = torch.nn.functional.softplus(raw)
    votes = pair_votes(weights, features.completion(0), features.completion(1), decoder, threshold)
    value = votes.log_likelihood(torch.tensor([[2.0, 1.0, 2.0]]).expand(3, -1)).sum()
    assert torch.isfinite(value)
    for gradient in torch.autograd.grad(value, [raw, loc, variance]):
        assert torch.isfinite(gradient).all()


def test_gradcheck(posteriors: Posteriors) -> None:
    counts = torch.tensor([[2.0, 1.0, 1.0]]).double().expand(3, -1)

    def likelihood(concentration: Tensor, loc: Tensor, variance: Tensor, threshold: Tensor) -> Tensor:
        weights, features = ObjectiveWeights.from_concentration(concentration), SemanticFeatures(loc, variance)
        votes = pair_votes(weights, features.completion(0), features.completion(1), posteriors.decoder, threshold)
        return votes.log_likelihood(counts)

    inputs = (posteriors.weights.concentration, posteriors.features.loc, posteriors.features.variance, THRESHOLD)
    assert torch.autograd.gradcheck(likelihood, [value.clone().requires_grad_() for value in inputs])
