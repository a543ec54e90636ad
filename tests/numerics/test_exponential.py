"""The effective reward -beta log E exp(-r / beta), against Monte Carlo and at both ends."""

from dataclasses import replace

import pytest
import torch

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import completion_moments, exponential_reward, fixed_weight_draws


@pytest.mark.parametrize("beta", [0.7, 2.0, 10.0])
def test_monte_carlo(posteriors: Posteriors, within_standard_errors, beta: float) -> None:
    """E exp(-r / beta) itself, over draws of both latents; small features, so that it has a variance."""
    features = SemanticFeatures(posteriors.features.loc, 0.05 * posteriors.features.variance)
    small = replace(posteriors, features=features)
    weights = small.weights.distribution.sample(torch.Size([200_000]))
    scores = features.rsample(200_000) @ small.decoder.T
    rewards = (weights.unsqueeze(-2) * scores).sum(-1)
    expected = (-exponential_reward(small, beta, num_draws=100_000) / beta).exp()
    within_standard_errors((-rewards / beta).exp(), expected)


def test_without_weight_uncertainty_it_is_the_mean_less_half_the_variance_over_beta(posteriors: Posteriors) -> None:
    point = replace(posteriors, weights=ObjectiveWeights(posteriors.weights.mean))
    moments = completion_moments(point)
    expected = moments.mean - moments.variance / (2 * 3.0)
    torch.testing.assert_close(exponential_reward(point, 3.0), expected)


def test_it_tends_to_the_mean(posteriors: Posteriors) -> None:
    mean = completion_moments(posteriors).mean
    torch.testing.assert_close(exponential_reward(posteriors, 1e7), mean, atol=1e-5, rtol=0)
    single = posteriors.map(lambda values: values.float())
    torch.testing.assert_close(exponential_reward(single, 1e7), mean.float(), atol=1e-5, rtol=1e-5)


def test_it_tends_to_the_worst_case(posteriors: Posteriors) -> None:
    """Of the draws of w, where the features are certain; without a bound where they are not."""
    certain = replace(
        posteriors, features=SemanticFeatures(posteriors.features.loc, torch.zeros_like(posteriors.features.loc))
    )
    draws = fixed_weight_draws(certain.weights)
    rewards = (draws.unsqueeze(-2) * (certain.features.loc @ certain.decoder.T)).sum(-1)
    worst = rewards.amin(0) - rewards.mean(0) + completion_moments(certain).mean
    torch.testing.assert_close(exponential_reward(certain, 1e-5), worst, atol=1e-3, rtol=0)
    assert (exponential_reward(posteriors, 1e-5) < -1e3).all()


def test_it_falls_with_beta_and_never_exceeds_the_mean(posteriors: Posteriors) -> None:
    values = torch.stack([exponential_reward(posteriors, beta) for beta in (0.1, 0.5, 1.0, 5.0, 100.0)])
    assert (values.diff(dim=0) > 0).all()
    assert (values < completion_moments(posteriors).mean).all()


def test_a_constant_of_all_rewards_moves_it_by_itself(posteriors: Posteriors) -> None:
    """What a prompt's comparisons cannot see: a constant in every objective's score."""
    loc = torch.cat([posteriors.features.loc, torch.ones(3, 2, 1).double()], -1)
    variance = torch.cat([posteriors.features.variance, torch.zeros(3, 2, 1).double()], -1)
    decoder = torch.cat([posteriors.decoder, torch.full((4, 1), 5.0).double()], -1)
    moved = replace(posteriors, features=SemanticFeatures(loc, variance), decoder=decoder)
    torch.testing.assert_close(exponential_reward(moved, 0.8), exponential_reward(posteriors, 0.8) + 5.0)
