"""Equation (16): raters' tilts and thresholds, against scipy, autograd, brute force and simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor

from vrm.core.disagreement import pair_votes, pair_votes_over_draws
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures, Tilt
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import (
    completion_moments,
    exponential_reward,
    fixed_weight_draws,
    log_probabilities,
    margin_moments,
    objective_scores,
)
from vrm.core.raters import (
    PRIOR_RATERS,
    FittedRaters,
    RaterVotes,
    _curve,
    fit_raters,
    start_prior,
    unknown_rater_tilt,
    vote_log_likelihood,
)
from vrm.core.steering import Comparisons, emphasize, fit_tilt

THRESHOLD = torch.tensor(0.6, dtype=torch.float64)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def simulated(
    raters: int, each: int, spread: Tensor, *, variance: float = 0.0, threshold_spread: float = 0.5, seed: int = 0
) -> tuple[RaterVotes, Tensor, Tensor]:
    """Votes with planted tilts and log thresholds (relative to `THRESHOLD`); one vote on every pair."""
    generator = torch.Generator().manual_seed(seed)
    tilts = normal(generator, raters, len(spread)) * spread
    logs = threshold_spread * normal(generator, raters)
    rater = torch.arange(raters).repeat_interleave(each)
    delta, mean = normal(generator, raters * each, len(spread)), normal(generator, raters * each)
    total = mean + (tilts[rater] * delta).sum(-1) + math.sqrt(variance) * normal(generator, raters * each)
    c = THRESHOLD * logs[rater].exp()
    uniform = torch.rand(raters * each, generator=generator, dtype=torch.float64)
    first, second = torch.sigmoid(total - c), torch.sigmoid(-total - c)
    outcome = torch.where(uniform < first, 0, torch.where(uniform < first + second, 1, 2))
    counts = torch.nn.functional.one_hot(outcome, 3).double()
    half = torch.full_like(mean, variance / 2)
    return RaterVotes(rater, mean, half, half.clone(), delta, counts), tilts, logs


def several_votes(items: int = 40) -> RaterVotes:
    """Groups of which several members judged a pair."""
    generator = torch.Generator().manual_seed(3)
    counts = torch.randint(0, 3, (items, 3), generator=generator).double()
    counts[:, 0] += 1
    variances = normal(generator, 2, items).square()
    return RaterVotes(
        torch.arange(items) % 4, normal(generator, items), *variances, normal(generator, items, 3), counts
    )


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_slopes_and_curvatures_are_those_of_autograd(ties: bool, alone: bool) -> None:
    votes = several_votes()
    if alone:
        votes = replace(votes, counts=votes.counts / votes.counts.sum(-1, keepdim=True))
    offset = torch.linspace(-1, 1, 40, dtype=torch.float64)
    threshold = torch.linspace(0.1, 2, 40, dtype=torch.float64)

    def value(place: Tensor) -> Tensor:
        return _curve(votes, place[:, 0], place[:, 1] if ties else None).value

    place = torch.stack([offset, threshold], 1).requires_grad_()
    (slope,) = torch.autograd.grad(value(place).sum(), place, create_graph=True)
    number = 2 if ties else 1
    rows = [torch.autograd.grad(slope[:, part].sum(), place, retain_graph=True)[0] for part in range(number)]
    curve = _curve(votes, offset, threshold if ties else None)
    torch.testing.assert_close(curve.slope[:, :number], slope[:, :number])
    torch.testing.assert_close(curve.curvature[:, :number, :number], torch.stack(rows, 1)[..., :number])


def test_the_likelihood_of_a_group_is_that_of_several_judgments(posteriors: Posteriors) -> None:
    sides = posteriors.features.completion(0), posteriors.features.completion(1)
    moments = margin_moments(posteriors.weights, *sides, posteriors.decoder)
    counts = torch.tensor([[2.0, 1.0, 1.0], [0.0, 3.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    votes = RaterVotes(
        torch.zeros(3, dtype=torch.long),
        moments.mean,
        moments.feature_variance,
        moments.weight_variance + moments.interaction_variance,
        torch.zeros(3, 0, dtype=torch.float64),
        counts,
    )
    expected = pair_votes(posteriors.weights, *sides, posteriors.decoder, THRESHOLD).log_likelihood(counts)
    torch.testing.assert_close(vote_log_likelihood(votes, THRESHOLD.expand(3)), expected, atol=1e-7, rtol=1e-7)


def negative_log_posterior(parameters: np.ndarray, votes: RaterVotes, fitted: FittedRaters) -> float:
    """By numpy and a trapezoid over the variance: one rater, one vote an item."""
    prior = fitted.prior
    ties = prior.tie_threshold is not None
    tilt = parameters[: votes.delta.shape[1]]
    margin = votes.mean.numpy() + votes.delta.numpy() @ tilt
    grid = np.linspace(-8, 8, 801)
    density = np.exp(-0.5 * grid**2) / np.exp(-0.5 * grid**2).sum()
    u = margin[:, None] + np.sqrt((votes.shared_variance + votes.own_variance).numpy())[:, None] * grid
    c = float(prior.tie_threshold) * math.exp(parameters[-1]) if ties else 0.0
    first, second = scipy.special.expit(u - c) @ density, scipy.special.expit(-u - c) @ density
    outcomes = np.stack([first, second, np.maximum(1 - first - second, 1e-300)], 1)
    counts = votes.counts.numpy()
    if not ties:
        outcomes, counts = outcomes[:, :2], counts[:, :2] + 0.5 * counts[:, 2:]
    distance = parameters - prior.shift.numpy()
    return float(-(counts * np.log(outcomes)).sum() + 0.5 * (distance**2 / prior.variances.numpy()).sum())


@pytest.mark.parametrize("variance", [0.0, 1.5])
@pytest.mark.parametrize("ties", [True, False])
def test_tilts_are_where_scipy_finds_the_posteriors_mode(variance: float, ties: bool) -> None:
    votes, _, _ = simulated(6, 25, torch.tensor([0.8, 0.3, 0.5]).double(), variance=variance)
    fitted = fit_raters(votes, 6, THRESHOLD if ties else None)
    for rater in range(6):
        own = votes[votes.rater == rater]
        found = scipy.optimize.minimize(
            negative_log_posterior, np.zeros(fitted.parameters.shape[1]), (own, fitted), method="BFGS", tol=1e-9
        )
        np.testing.assert_allclose(fitted.parameters[rater].numpy(), found.x, atol=5e-3)


def test_the_information_is_that_of_the_equation_where_nothing_else_is_uncertain() -> None:
    """H_r = B^-1 + sum p (1 - p) delta delta^T."""
    votes, _, _ = simulated(3, 30, torch.tensor([0.8, 0.3]).double())
    fitted = fit_raters(votes, 3, None)
    for rater in range(3):
        own = votes[votes.rater == rater]
        p = torch.sigmoid(own.mean + own.delta @ fitted.tilts[rater])
        information = fitted.prior.tilt_variance.reciprocal().diag() + (p * (1 - p) * own.delta.T) @ own.delta
        torch.testing.assert_close(fitted.tilt_covariance[rater], information.inverse(), atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("variance", [0.0, 1.0])
def test_the_variances_are_those_that_em_leaves_alone(variance: float) -> None:
    votes, _, _ = simulated(30, 20, torch.tensor([0.8, 0.3, 0.0]).double(), variance=variance)
    fitted, first = fit_raters(votes, 30, THRESHOLD), start_prior(votes, THRESHOLD)
    shift = fitted.parameters.sum(0) / (30 + PRIOR_RATERS)
    torch.testing.assert_close(fitted.prior.shift, shift)
    moments = (fitted.parameters - shift).square() + fitted.covariance.diagonal(dim1=-2, dim2=-1)
    em = (moments.sum(0) + PRIOR_RATERS * first.variances) / (30 + PRIOR_RATERS)
    torch.testing.assert_close(fitted.prior.variances, em, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("variance", [0.0, 1.0])
def test_simulation_recovers_the_spread_the_tilts_and_the_thresholds(variance: float) -> None:
    """300 raters of 50 votes: B and s_c, and errors that are as large as the covariances say."""
    spread = torch.tensor([0.8, 0.4, 0.0], dtype=torch.float64)
    votes, tilts, logs = simulated(300, 50, spread, variance=variance)
    fitted = fit_raters(votes, 300, THRESHOLD)
    found = fitted.prior.tilt_variance.sqrt()
    torch.testing.assert_close(found[:2], spread[:2], rtol=0.15, atol=0.0)
    assert float(found[2]) < 0.15
    assert float(fitted.prior.threshold_variance.sqrt()) == pytest.approx(0.5, rel=0.2)
    assert float(torch.corrcoef(torch.stack([fitted.tilts[:, 0], tilts[:, 0]]))[0, 1]) > 0.85
    assert float(torch.corrcoef(torch.stack([fitted.parameters[:, -1], logs]))[0, 1]) > 0.75
    for error, covariance in (
        (fitted.tilts[:, 0] - tilts[:, 0], fitted.covariance[:, 0, 0]),
        (fitted.parameters[:, -1] - logs, fitted.covariance[:, -1, -1]),
    ):
        assert 0.8 < float((error.square() / covariance).mean()) < 1.4


def test_knowing_raters_predicts_their_further_votes() -> None:
    spread = torch.tensor([0.8, 0.4, 0.0], dtype=torch.float64)
    votes, _, _ = simulated(100, 60, spread, variance=1.0)
    train = torch.arange(len(votes.rater)) % 2 == 0
    fitted = fit_raters(votes[train], 100, THRESHOLD)
    test = votes[~train]
    gain = fitted.log_likelihood(test) - vote_log_likelihood(test, THRESHOLD.expand(len(test.mean)))
    assert float(gain.mean() / (gain.std() / len(gain) ** 0.5)) > 4


def test_where_raters_do_not_differ_knowing_them_costs_next_to_nothing() -> None:
    votes, _, _ = simulated(200, 60, torch.zeros(3, dtype=torch.float64), threshold_spread=0.0)
    train = torch.arange(len(votes.rater)) % 2 == 0
    fitted = fit_raters(votes[train], 200, THRESHOLD)
    assert float(fitted.prior.tilt_variance.sqrt().max()) < 0.2
    test = votes[~train]
    lost = vote_log_likelihood(test, THRESHOLD.expand(len(test.mean))) - fitted.log_likelihood(test)
    assert float(lost.mean()) < 0.005


@pytest.mark.parametrize("size", [1e4, 1e6])
def test_votes_far_against_the_model_leave_the_curvature_downwards(size: float) -> None:
    """Rounding of log-likelihoods of a million nats must not outweigh the prior."""
    votes, _, _ = simulated(3, 20, torch.tensor([0.5, 0.5], dtype=torch.float64), variance=1.0)
    first = torch.nn.functional.one_hot(torch.zeros_like(votes.rater), 3).double()
    far = replace(votes, mean=votes.mean - size, counts=first)
    curvature = _curve(far, torch.zeros_like(far.mean), THRESHOLD.expand(len(far.mean))).curvature
    assert float(torch.linalg.eigvalsh(curvature).max()) < 1e-14
    fitted = fit_raters(far, 3, THRESHOLD)
    assert fitted.parameters.isfinite().all()
    assert (fitted.covariance.diagonal(dim1=-2, dim2=-1) > 0).all()


def test_what_all_raters_share_is_no_difference_between_them() -> None:
    """The model takes the first objective for what all these raters reject."""
    votes, _, _ = simulated(100, 40, torch.tensor([0.3, 0.3], dtype=torch.float64), threshold_spread=0.1)
    fitted = fit_raters(replace(votes, mean=votes.mean + 1.5 * votes.delta[:, 0]), 100, THRESHOLD)
    torch.testing.assert_close(fitted.prior.shift[:2], torch.tensor([-1.5, 0.0]).double(), atol=0.15, rtol=0)
    assert (fitted.prior.tilt_variance.sqrt() < 0.45).all()


def test_a_rater_of_a_few_votes_stays_near_the_population() -> None:
    votes, _, _ = simulated(50, 40, torch.tensor([0.8, 0.4]).double())
    few = (votes.rater > 0) | (torch.arange(len(votes.rater)) < 2)
    fitted = fit_raters(votes[few], 51, THRESHOLD)
    assert (fitted.tilts[0].abs() < 0.6 * fitted.prior.tilt_variance.sqrt()).all()
    torch.testing.assert_close(fitted.parameters[50], fitted.prior.shift, atol=1e-3, rtol=0, msg="nobody has voted")
    torch.testing.assert_close(fitted.tilt_covariance[50].diagonal(), fitted.prior.tilt_variance, rtol=5e-3, atol=1e-5)


def test_twenty_comparisons_turn_a_direction_around_which_counts_cannot() -> None:
    """The population likes the first objective; a group rejects what it likes. Accuracy on 2,000 further pairs."""
    generator = torch.Generator().manual_seed(1)
    weights = ObjectiveWeights.from_concentration(torch.tensor([9.0, 1.0]).double().expand(2020, 2))
    loc = 2.0 * normal(generator, 2020, 2, 2)
    features = SemanticFeatures(loc, torch.full_like(loc, 1e-4))
    decoder = torch.eye(2, dtype=torch.float64)
    delta = loc[:, 0] - loc[:, 1]
    likes = torch.bernoulli(torch.sigmoid(-0.9 * delta[:, 0] + 0.1 * delta[:, 1]), generator=generator)
    mean = (weights.mean * delta).sum(-1)
    nothing = torch.zeros_like(mean)
    counts = torch.stack([likes, 1 - likes, nothing], 1)
    votes = RaterVotes(torch.zeros(2020, dtype=torch.long), mean, nothing, nothing, delta, counts)
    few, test = slice(0, 20), slice(20, None)
    fitted = fit_raters(votes[few], 1, None)
    tilted = mean + delta @ fitted.tilts[0]
    first, second = features.completion(0), features.completion(1)
    group = Comparisons(weights[few], first[few], second[few], likes[few])
    steered = (emphasize(weights, fit_tilt(group, decoder)).mean * delta).sum(-1)

    def accuracy(margins: Tensor) -> float:
        return float(((margins[test] > 0) == (likes[test] > 0.5)).double().mean())

    assert accuracy(mean) < 0.35
    assert accuracy(steered) < 0.6
    assert accuracy(tilted) > 0.7


@pytest.fixture
def tilt() -> Tilt:
    root = torch.tensor([[0.3, 0.0, 0.0, 0.0], [0.1, 0.2, 0.0, 0.0], [0.0, 0.1, 0.4, 0.0], [0.2, 0.0, 0.0, 0.1]])
    return Tilt(torch.tensor([0.5, -0.8, 0.1, 0.0]).double(), (root @ root.T).double())


def of_rater(posteriors: Posteriors, tilt: Tilt) -> Posteriors:
    return replace(posteriors, weights=replace(posteriors.weights, tilt=tilt))


def test_moments_and_probabilities_of_a_rater_are_those_of_samples(
    posteriors: Posteriors, tilt: Tilt, within_standard_errors
) -> None:
    """u_r = w . (o(z_a) - o(z_b)) + b . (o(mu_a) - o(mu_b)), sampled."""
    tilted = of_rater(posteriors, tilt)
    sides = tilted.features.completion(0), tilted.features.completion(1)
    samples = 200_000
    weights = posteriors.weights.rsample(samples)
    one, other = (objective_scores(side.rsample(samples), posteriors.decoder) for side in sides)
    added = torch.distributions.MultivariateNormal(tilt.loc, tilt.covariance).sample((samples, 1))
    delta = objective_scores(sides[0].loc - sides[1].loc, posteriors.decoder)
    u = (weights * (one - other)).sum(-1) + (added * delta).sum(-1)
    moments = margin_moments(tilted.weights, *sides, posteriors.decoder)
    within_standard_errors(u, moments.mean)
    within_standard_errors((u - moments.mean).square(), moments.variance)
    log_first, log_second = log_probabilities(tilted.weights, *sides, posteriors.decoder, num_draws=4096)
    torch.testing.assert_close(log_first.exp(), torch.sigmoid(u).mean(0), atol=5e-3, rtol=0)
    torch.testing.assert_close(log_first.exp() + log_second.exp(), torch.ones(3).double())


def test_the_effective_reward_of_a_rater_counts_the_tilts_doubt(posteriors: Posteriors, tilt: Tilt) -> None:
    tilted, beta = of_rater(posteriors, tilt), 2.0
    sure = of_rater(posteriors, replace(tilt, covariance=torch.zeros(4, 4).double()))
    scores = objective_scores(posteriors.features.loc, posteriors.decoder)
    lost = exponential_reward(sure, beta) - exponential_reward(tilted, beta)
    torch.testing.assert_close(lost, tilt.variance(scores) / (2 * beta))
    mean = completion_moments(sure).mean - completion_moments(posteriors).mean
    torch.testing.assert_close(mean, scores @ tilt.loc)


def test_votes_of_raters_drawn_anew_are_those_of_the_exact_form(posteriors: Posteriors) -> None:
    """B enters V_w: more disagreement, and the Gaussian form near the average over draws of w."""
    votes, _, _ = simulated(20, 20, torch.full((4,), 0.5).double())
    prior = fit_raters(votes, 20, None).prior
    spread = unknown_rater_tilt(prior)
    torch.testing.assert_close(spread.loc, prior.shift)
    spread = replace(spread, loc=torch.zeros(4).double())
    sides = posteriors.features.completion(0), posteriors.features.completion(1)
    weights = replace(posteriors.weights, tilt=spread)
    spreaded = pair_votes(weights, *sides, posteriors.decoder, THRESHOLD)
    alone = pair_votes(posteriors.weights, *sides, posteriors.decoder, THRESHOLD)
    assert (spreaded.disagreement() > alone.disagreement())[:2].all(), "where raters agree most"
    draws = fixed_weight_draws(posteriors.weights, 4096)
    exact = pair_votes_over_draws(draws, weights, *sides, posteriors.decoder, THRESHOLD)
    torch.testing.assert_close(spreaded.share(), exact.share(), atol=0.02, rtol=0)
