"""Equations (9)-(12): moments of rewards and margins, and each part of the variance, against 10^6 samples."""

import math

import pytest
import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import (
    PredictiveMoments,
    log_probabilities,
    margin_moments,
    objective_scores,
    pessimistic_reward,
    probit_probability,
    reward,
    reward_moments,
)

SAMPLES = 1_000_000


def _row(posteriors: Posteriors, row: int) -> tuple[ObjectiveWeights, SemanticFeatures, SemanticFeatures]:
    weights = ObjectiveWeights.from_concentration(posteriors.weights.concentration[row])
    loc, variance = posteriors.features.loc[row], posteriors.features.variance[row]
    return weights, SemanticFeatures(loc[0], variance[0]), SemanticFeatures(loc[1], variance[1])


def _check_parts(
    moments: PredictiveMoments, weights: ObjectiveWeights, difference: Tensor, loc: Tensor, decoder: Tensor, check
) -> None:
    """Parts by their definitions: E_z Var(r | z) and so on, from independent draws of w and of z or z_a - z_b."""
    w, scores, expected = weights.rsample(SAMPLES), objective_scores(difference, decoder), loc @ decoder.T
    values = reward(w, scores)
    check(values, moments.mean)
    check((values - moments.mean).square(), moments.variance)
    # Feature uncertainty is the variance at the mean weights, weight uncertainty that at the mean features, and the
    # interaction what only both together make: (w - m) . (o - E o).
    check((reward(weights.mean, scores - expected)).square(), moments.feature_variance)
    check((reward(w - weights.mean, expected)).square(), moments.weight_variance)
    check(reward(w - weights.mean, scores - expected).square(), moments.interaction_variance)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_reward_moments_match_samples(posteriors: Posteriors, within_standard_errors, row: int) -> None:
    weights, features, _ = _row(posteriors, row)
    moments = reward_moments(weights, features, posteriors.decoder)
    z = features.rsample(SAMPLES)
    _check_parts(moments, weights, z, features.loc, posteriors.decoder, within_standard_errors)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_margin_moments_match_samples(posteriors: Posteriors, within_standard_errors, row: int) -> None:
    weights, first, second = _row(posteriors, row)
    moments = margin_moments(weights, first, second, posteriors.decoder)
    z = first.rsample(SAMPLES) - second.rsample(SAMPLES)
    _check_parts(moments, weights, z, first.loc - second.loc, posteriors.decoder, within_standard_errors)


def test_full_covariance_agrees_with_diagonal_and_with_samples(posteriors: Posteriors, within_standard_errors) -> None:
    weights, features, _ = _row(posteriors, 0)
    diagonal = reward_moments(weights, features, posteriors.decoder)
    dense = SemanticFeatures(features.loc, features.variance.diag_embed(), full=True)
    same = reward_moments(weights, dense, posteriors.decoder)
    torch.testing.assert_close(same.variance, diagonal.variance)
    mix = torch.randn(3, 3).double()
    correlated = SemanticFeatures(features.loc, dense.variance + mix @ mix.T, full=True)
    moments = reward_moments(weights, correlated, posteriors.decoder)
    z = correlated.rsample(SAMPLES)
    _check_parts(moments, weights, z, features.loc, posteriors.decoder, within_standard_errors)


def test_a_point_mass_has_feature_uncertainty_alone(posteriors: Posteriors) -> None:
    weights, features, _ = _row(posteriors, 0)
    moments = reward_moments(ObjectiveWeights(weights.mean), features, posteriors.decoder)
    assert moments.weight_variance == 0
    assert moments.interaction_variance == 0
    assert moments.variance == moments.feature_variance > 0


def test_probit_and_pessimism_follow_their_formulas() -> None:
    moments = PredictiveMoments(*(torch.tensor(x) for x in (1.5, 1.0, 1.5, 1.0, 0.5)))
    assert probit_probability(moments).item() == pytest.approx(1 / (1 + math.exp(-1.5 / math.sqrt(1 + math.pi / 2))))
    assert pessimistic_reward(moments, 0.5).item() == pytest.approx(1.5 - 0.5 * 2)


def test_reported_probability_matches_samples_within_the_error_of_64_draws(posteriors: Posteriors) -> None:
    weights, features, decoder = posteriors.weights, posteriors.features, posteriors.decoder
    first, second = features.completion(0), features.completion(1)
    actual, opposite = log_probabilities(weights, first, second, decoder)
    torch.testing.assert_close(actual.exp() + opposite.exp(), torch.ones(3).double())
    again, _ = log_probabilities(weights, first, second, decoder)
    assert torch.equal(actual, again)
    w = weights.rsample(SAMPLES // 5)
    u = ((w @ decoder) * (first.rsample(SAMPLES // 5) - second.rsample(SAMPLES // 5))).sum(-1)
    exact = torch.sigmoid(u).mean(0)
    spread = torch.sigmoid((w @ decoder * (first.loc - second.loc)).sum(-1)).std(0)
    assert ((actual.exp() - exact).abs() < 4 * spread / 8).all()
    many, _ = log_probabilities(weights, first, second, decoder, num_draws=50_000)
    torch.testing.assert_close(many.exp(), exact, rtol=0, atol=5e-3)


def test_probit_can_land_on_the_wrong_side_where_weights_are_uncertain() -> None:
    # One objective is rarely decisive but huge: the mean margin is positive, most judges prefer the other.
    weights = ObjectiveWeights.from_concentration(torch.tensor([[0.02, 0.08]]).double())
    side = SemanticFeatures(torch.tensor([[30.0, -3.0]]).double(), torch.full((1, 2), 1e-6).double())
    other = SemanticFeatures(torch.zeros(1, 2).double(), side.variance)
    decoder = torch.eye(2).double()
    moments = margin_moments(weights, side, other, decoder)
    log_first, _ = log_probabilities(weights, side, other, decoder)
    assert probit_probability(moments) > 0.5 > log_first.exp()
