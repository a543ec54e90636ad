"""Equation (20) with one objective: the closed form against scipy, quadrature and simulation; doubt in moments."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from scipy.optimize import minimize
from torch import Tensor

from vrm.core.bayes import RewardPosterior, RewardRegression, reward_derivatives
from vrm.core.disagreement import pair_votes, pair_votes_over_draws
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.likelihoods.base import Judgments, Latents
from vrm.core.losses import marginal_terms
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import (
    completion_moments,
    exponential_reward,
    log_probabilities,
    margin_moments,
    relative_moments,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def likelihood_of(threshold: Tensor | None = None, **labels: Tensor):
    """The package's own likelihoods of known rewards, as training has them."""

    def log_likelihood(rewards: Tensor, rows: slice) -> Tensor:
        mask = torch.ones_like(rewards, dtype=torch.bool)
        judgments = Judgments(mask, **{name: values[rows] for name, values in labels.items()})
        terms = marginal_terms(Posteriors.of_rewards(rewards, threshold), judgments, rewards.new_ones(1))
        return torch.stack(list(terms.log_likelihoods.values())).sum(0)

    return log_likelihood


def soft_pairs(rows: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Differences (rows, 1, width), soft labels and target margins."""
    return normal(rows, 1, width, seed=seed), torch.sigmoid(normal(rows, seed=seed + 1)), normal(rows, seed=seed + 2)


def log_joint(theta: np.ndarray, differences: Tensor, preference: Tensor, margin: Tensor, prior: np.ndarray) -> float:
    """Independent of the package: soft-label logistic regression, first completion minus second, and its prior."""
    utility = -(differences[:, 0].numpy() @ theta) - margin.numpy()
    labels = preference.numpy()
    likelihood = -(labels * np.logaddexp(0, -utility) + (1 - labels) * np.logaddexp(0, utility)).sum()
    return float(likelihood - 0.5 * (prior * theta**2).sum())


def test_derivatives_of_a_comparison_are_those_of_the_logistic_function() -> None:
    preference, margin, rewards = torch.tensor([1.0, 0.3]).double(), torch.tensor([0.0, 0.7]).double(), normal(2, 2)
    values, gradient, information = reward_derivatives(likelihood_of(preference=preference, margin=margin), rewards)
    chance = torch.sigmoid(rewards[:, 0] - rewards[:, 1] - margin)
    sign = torch.tensor([1.0, -1.0]).double()
    torch.testing.assert_close(
        values, preference * chance.log() + (1 - preference) * (1 - chance).log(), atol=1e-7, rtol=0
    )
    torch.testing.assert_close(gradient, (preference - chance).unsqueeze(-1) * sign, atol=1e-6, rtol=0)
    expected = (chance * (1 - chance))[:, None, None] * torch.outer(sign, sign)
    torch.testing.assert_close(information, expected, atol=1e-6, rtol=0)


def test_derivatives_of_a_list_agree_with_differences_of_the_likelihood() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 5.0]]).double()
    function, rewards, step = likelihood_of(scores=scores), normal(2, 3), 1e-4
    _, gradient, information = reward_derivatives(function, rewards)
    for j in range(3):
        moved = step * torch.eye(3, dtype=torch.float64)[j]
        above, below = (reward_derivatives(function, rewards + sign * moved) for sign in (1, -1))
        torch.testing.assert_close((above[0] - below[0]) / (2 * step), gradient[:, j], atol=1e-6, rtol=0)
        torch.testing.assert_close((below[1] - above[1]) / (2 * step), information[:, j], atol=1e-6, rtol=0)


def test_mode_and_covariance_are_those_of_a_general_optimizer() -> None:
    differences, preference, margin = soft_pairs(60, 5)
    prior = np.array([0.5, 0.5, 2.0, 2.0, 2.0])
    regression = RewardRegression(differences, likelihood_of(preference=preference, margin=margin), (2, 3))
    posterior = regression.posterior((0.5, 2.0))
    found = minimize(
        lambda theta: -log_joint(theta, differences, preference, margin, prior),
        np.zeros(5),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    np.testing.assert_allclose(posterior.mean.numpy(), found.x, atol=1e-5)
    utility = -(differences[:, 0] @ posterior.mean) - margin
    chance = torch.sigmoid(utility)
    weighted = differences[:, 0] * (chance * (1 - chance)).sqrt().unsqueeze(-1)
    exact = torch.linalg.inv(weighted.T @ weighted + torch.diag(torch.from_numpy(prior)))
    torch.testing.assert_close(posterior.factor @ posterior.factor.T, exact, rtol=1e-5, atol=1e-9)


def test_a_list_is_the_plackett_luce_model_to_a_general_optimizer() -> None:
    phi = normal(40, 4, 3)
    scores = torch.stack(
        [torch.randperm(4, generator=torch.Generator().manual_seed(row)) for row in range(40)]
    ).double()
    regression = RewardRegression(phi[:, 1:] - phi[:, :1], likelihood_of(scores=scores), (3,))

    def loss(theta: np.ndarray) -> float:
        rewards = (phi.numpy() @ theta)[np.arange(40)[:, None], np.argsort(-scores.numpy(), axis=1)]
        chosen = sum(rewards[:, i] - np.logaddexp.reduce(rewards[:, i:], axis=1) for i in range(4))
        return float(0.5 * 0.8 * (theta**2).sum() - chosen.sum())

    found = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(regression.posterior((0.8,)).mean.numpy(), found.x, atol=1e-5)


def test_counts_of_judgments_weigh_as_that_many_comparisons() -> None:
    differences = normal(6, 1, 2)
    counts = torch.tensor([[2.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 3.0, 0.0]] * 2).double()
    together = RewardRegression(differences, likelihood_of(vote_counts=counts), (2,)).posterior((1.0,))
    first, second = counts[:, 0].long(), counts[:, 1].long()
    apart = torch.cat([differences.repeat_interleave(first, 0), differences.repeat_interleave(second, 0)])
    labels = torch.cat([torch.ones(int(first.sum())), torch.zeros(int(second.sum()))]).double()
    plain = likelihood_of(preference=labels, margin=torch.zeros_like(labels))
    alone = RewardRegression(apart, plain, (2,)).posterior((1.0,))
    torch.testing.assert_close(together.mean, alone.mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together.factor, alone.factor, atol=1e-6, rtol=1e-5)
    assert together.log_evidence == pytest.approx(alone.log_evidence, abs=1e-5)


def test_a_tie_threshold_enters_the_mode() -> None:
    differences, counts = normal(30, 1, 2), torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 1.0]] * 15).double()
    c = 0.7
    regression = RewardRegression(differences, likelihood_of(torch.tensor(c).double(), vote_counts=counts), (2,))

    def loss(theta: np.ndarray) -> float:
        u = -(differences[:, 0].numpy() @ theta)
        first, second = 1 / (1 + np.exp(c - u)), 1 / (1 + np.exp(c + u))
        logs = np.log(np.stack([first, second, 1 - first - second], -1))
        return float(0.5 * (theta**2).sum() - (counts.numpy() * logs).sum())

    found = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(regression.posterior((1.0,)).mean.numpy(), found.x, atol=1e-5)


def by_quadrature(differences: Tensor, preference: Tensor, margin: Tensor, prior: np.ndarray, value) -> float:
    """The integral of exp(log_joint) times a function of theta, over the plane."""
    return dblquad(
        lambda y, x: math.exp(log_joint(np.array([x, y]), differences, preference, margin, prior))
        * value(np.array([x, y])),
        -4, 4, -4, 4, epsabs=1e-12, epsrel=1e-7,
    )[0]  # fmt: skip


def test_posterior_evidence_and_probability_are_near_the_exact_ones_in_two_dimensions() -> None:
    differences, preference, margin = soft_pairs(25, 2, seed=4)
    prior = np.array([1.0, 1.0])
    posterior = RewardRegression(differences, likelihood_of(preference=preference, margin=margin), (2,)).posterior(
        (1.0,)
    )
    arguments = differences, preference, margin, prior
    total = by_quadrature(*arguments, lambda theta: 1.0)
    # The joint lacks the prior's constant.
    exact = math.log(total) + 0.5 * math.log(prior.prod()) - math.log(2 * math.pi)
    assert posterior.log_evidence == pytest.approx(exact, abs=0.05)
    for axis in range(2):
        mean = by_quadrature(*arguments, lambda theta, axis=axis: theta[axis]) / total
        square = by_quadrature(*arguments, lambda theta, axis=axis: theta[axis] ** 2) / total
        spread = math.sqrt(square - mean**2)
        assert float(posterior.mean[axis]) == pytest.approx(mean, abs=0.1 * spread)
        variance = float((posterior.factor @ posterior.factor.T)[axis, axis])
        assert math.sqrt(variance) == pytest.approx(spread, rel=0.05)
    new = np.array([1.5, -2.0])
    chance = by_quadrature(*arguments, lambda theta: 1 / (1 + math.exp(-new @ theta))) / total
    first, _ = log_probabilities(*pair_of(posterior, torch.from_numpy(new)))
    assert float(first.exp()) == pytest.approx(chance, abs=0.01)


def pair_of(
    posterior: RewardPosterior, difference: Tensor
) -> tuple[ObjectiveWeights, SemanticFeatures, SemanticFeatures, Tensor]:
    """A pair whose features differ by this much, as a head with this posterior would say it."""
    phi = torch.stack([difference, torch.zeros_like(difference)]).unsqueeze(0)
    rewards = Posteriors.of_rewards(phi @ posterior.mean)
    features = SemanticFeatures(rewards.features.loc, rewards.features.variance, doubt=phi @ posterior.factor)
    return rewards.weights, features.completion(0), features.completion(1), rewards.decoder


def planted(rows: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Twelve features whose coefficients have spread 1.5 in the first six and 0 in the last; labels of one judgment."""
    theta = torch.cat([1.5 * normal(6, seed=seed), torch.zeros(6, dtype=torch.float64)])
    differences = normal(rows, 1, 12, seed=seed + 1000) / math.sqrt(6.0)
    chance = torch.sigmoid(-(differences[:, 0] @ theta))
    draws = torch.rand(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return theta, differences, (draws < chance).double()


def test_the_evidence_finds_which_features_matter_and_how_much() -> None:
    _, differences, labels = planted(1500, seed=3)
    log_likelihood = likelihood_of(preference=labels, margin=torch.zeros_like(labels))
    regression = RewardRegression(differences, log_likelihood, (6, 6))
    found = regression.posterior((1.0, 1.0), rounds=100)
    matters, rest = (1.0 / math.sqrt(precision) for precision in found.precisions)
    assert 0.7 < matters < 3.0
    assert rest < 0.3
    for factor in (0.3, 3.0):
        moved = regression.posterior((factor * found.precisions[0], found.precisions[1]))
        assert moved.log_evidence < found.log_evidence + 1e-3
    off = regression.posterior((found.precisions[0], 1.0))
    assert off.log_evidence < found.log_evidence


def test_intervals_of_margins_cover_the_truth_as_often_as_they_say() -> None:
    """90 % intervals of 100 new margins under each of 40 planted truths; truths, not margins, are independent."""
    covered = []
    for seed in range(40):
        theta, differences, labels = planted(150, seed)
        regression = RewardRegression(
            differences[..., :6], likelihood_of(preference=labels, margin=torch.zeros_like(labels)), (6,)
        )
        posterior = regression.posterior((1 / 1.5**2,))
        new = normal(100, 6, seed=seed + 5000)
        error = (new @ (posterior.mean - theta[:6])) / (new @ posterior.factor).norm(dim=-1)
        covered.append(float((error.abs() < 1.6449).double().mean()))
    shares = np.array(covered)
    assert abs(shares.mean() - 0.9) < 4 * shares.std(ddof=1) / math.sqrt(len(shares))
    assert shares.std(ddof=1) / math.sqrt(len(shares)) < 0.03


@pytest.fixture
def doubted(posteriors: Posteriors) -> Posteriors:
    """The random model with doubt of five parameters."""
    features = posteriors.features
    doubt = 0.7 * normal(3, 2, 5, seed=9)
    return Posteriors(
        posteriors.weights,
        SemanticFeatures(features.loc, features.variance, doubt=doubt),
        posteriors.decoder,
        posteriors.rating_model,
    )


def drawn_rewards(posteriors: Posteriors, count: int = 200_000) -> Tensor:
    """Rewards (count, batch, num_completions), the parameters drawn once for all completions of a judgment."""
    features = posteriors.features
    weights = posteriors.weights.rsample(count)
    z = features.rsample(count)
    shared = normal(count, 5, seed=11)
    known = torch.einsum("nbk,kd,nbcd->nbc", weights, posteriors.decoder, z)
    return known + torch.einsum("bcr,nr->nbc", features.doubt, shared)


def test_moments_with_doubt_are_those_of_draws(doubted: Posteriors, within_standard_errors) -> None:
    rewards = drawn_rewards(doubted)
    moments = completion_moments(doubted)
    within_standard_errors((rewards - moments.mean).square(), moments.variance)
    first, second = (doubted.features.completion(side) for side in (0, 1))
    margin = margin_moments(doubted.weights, first, second, doubted.decoder)
    within_standard_errors((rewards[..., 0] - rewards[..., 1] - margin.mean).square(), margin.variance)
    relative = relative_moments(doubted.weights, doubted.features, doubted.decoder)
    away = rewards - rewards.mean(-1, keepdim=True)
    within_standard_errors((away - relative.mean).square(), relative.variance)
    assert (margin.parameter_variance > 0.1).all()


def test_probabilities_and_votes_with_doubt_are_those_of_draws(doubted: Posteriors, within_standard_errors) -> None:
    first, second = (doubted.features.completion(side) for side in (0, 1))
    pair = doubted.weights, first, second, doubted.decoder
    rewards = drawn_rewards(doubted)
    utility = rewards[..., 0] - rewards[..., 1]
    exact, _ = log_probabilities(*pair, num_draws=20_000)
    within_standard_errors(torch.sigmoid(utility), exact.exp())
    # A point for the weights leaves nothing that raters bring of their own: all votes share the margin.
    known = ObjectiveWeights(doubted.weights.mean)
    votes = pair_votes(known, first, second, doubted.decoder, num_shared=64)
    margin = margin_moments(known, first, second, doubted.decoder)
    drawn = margin.mean + margin.std * normal(200_000, 3, seed=12)
    both = torch.tensor([2.0, 0.0, 0.0]).double().expand(3, 3)
    within_standard_errors(torch.sigmoid(drawn).square(), votes.log_likelihood(both).exp())
    over_draws = pair_votes_over_draws(known.mean[None], known, first, second, doubted.decoder, num_nodes=64)
    torch.testing.assert_close(over_draws.log_likelihood(both), votes.log_likelihood(both), atol=1e-5, rtol=1e-5)


def test_lists_draw_the_doubt_once_for_all_completions(doubted: Posteriors, within_standard_errors) -> None:
    weights = doubted.weights.mean.expand(20_000, -1, -1)
    draws = Latents(Posteriors(ObjectiveWeights(doubted.weights.mean), doubted.features, doubted.decoder,
                               doubted.rating_model), weights).reward_draws()  # fmt: skip
    margin = margin_moments(
        ObjectiveWeights(doubted.weights.mean),
        doubted.features.completion(0),
        doubted.features.completion(1),
        doubted.decoder,
    )
    # Mirror images come in pairs, so a draw and its image are averaged first.
    squares = (draws[..., 0] - draws[..., 1] - margin.mean).square().unflatten(0, (8, -1)).unflatten(0, (2, 4))
    within_standard_errors(squares.mean(0).flatten(0, 1), margin.variance)


def test_the_effective_reward_counts_doubt(doubted: Posteriors) -> None:
    certain = Posteriors(
        doubted.weights,
        SemanticFeatures(doubted.features.loc, doubted.features.variance),
        doubted.decoder,
        doubted.rating_model,
    )
    beta = 2.0
    lowered = exponential_reward(certain, beta) - exponential_reward(doubted, beta)
    torch.testing.assert_close(lowered, doubted.features.doubt_variance() / (2 * beta), rtol=1e-9, atol=1e-12)
