"""Equation (8): Gauss-Hermite quadrature against brute-force integration and plain Monte Carlo."""

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from vrm.core.distributions import SemanticFeatures
from vrm.core.likelihoods.comparison import comparison_log_likelihood, expected_comparison
from vrm.core.posteriors import Posteriors
from vrm.core.quadrature import (
    MarginGivenWeights,
    gauss_hermite,
    log_mean_exp,
    log_preference_probability,
    margin_given_weights,
)


def _margins(mean: float, scale: float) -> MarginGivenWeights:
    return MarginGivenWeights(torch.tensor([[mean]]).double(), torch.tensor([[scale**2]]).double())


def _integral(function, mean: float, scale: float) -> float:
    return integrate.quad(lambda x: stats.norm.pdf(x) * function(mean + scale * x), -12, 12, limit=400)[0]


def monte_carlo_utility(
    weight_samples: torch.Tensor,
    first: SemanticFeatures,
    second: SemanticFeatures,
    decoder: torch.Tensor,
    target_margin: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """Plain Monte Carlo of u, (num_samples, batch): one draw of both z a draw of w. The reference for (8)."""
    number = weight_samples.shape[:1]
    difference = first.distribution.rsample(number) - second.distribution.rsample(number)
    return torch.einsum("sbk,kd,sbd->sb", weight_samples, decoder, difference) - target_margin


def test_nodes_integrate_polynomials_exactly() -> None:
    points, log_weights = gauss_hermite(16, torch.zeros((), dtype=torch.float64))
    for power, moment in {0: 1, 2: 1, 4: 3, 6: 15, 8: 105, 3: 0}.items():
        assert (log_weights.exp() * points**power).sum().item() == pytest.approx(moment, abs=1e-9)


@pytest.mark.parametrize(("scale", "tolerance"), [(0.0, 1e-8), (0.5, 1e-8), (1.0, 1e-8), (2.0, 1e-4), (3.0, 1e-3)])
@pytest.mark.parametrize("mean", [-4.0, 0.0, 0.7, 3.0])
def test_probability_matches_brute_force(mean: float, scale: float, tolerance: float) -> None:
    first, second = log_preference_probability(_margins(mean, scale))
    assert first.exp().item() == pytest.approx(_integral(special.expit, mean, scale), abs=tolerance)
    assert (first.exp() + second.exp()).item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("scale", "tolerance"), [(0.5, 1e-7), (1.0, 1e-7), (2.0, 1e-4), (3.0, 1e-3)])
@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_expected_log_likelihood_matches_brute_force(scale: float, tolerance: float, label: float) -> None:
    def log_likelihood(u: float) -> float:
        return -label * np.logaddexp(0, -u) - (1 - label) * np.logaddexp(0, u)

    actual = expected_comparison(_margins(0.8, scale), torch.tensor([label]).double())
    assert actual.item() == pytest.approx(_integral(log_likelihood, 0.8, scale), abs=tolerance)


def test_more_nodes_reach_wide_margins() -> None:
    exact = _integral(special.expit, 5.0, 5.0)
    errors = [abs(log_preference_probability(_margins(5.0, 5.0), n)[0].exp().item() - exact) for n in (16, 32, 64)]
    assert errors[0] < 7e-3
    assert errors[2] < 1e-4
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("full", [False, True])
def test_quadrature_matches_monte_carlo(posteriors: Posteriors, within_standard_errors, full: bool) -> None:
    first, second = posteriors.features.completion(0), posteriors.features.completion(1)
    if full:
        mix = torch.randn(3, 3).double()
        first, second = (SemanticFeatures(f.loc, f.variance.diag_embed() + mix @ mix.T, True) for f in (first, second))
    w = posteriors.weights.rsample(3)[:1]
    margin = torch.tensor([0.2, -0.5, 0.0]).double()
    label = torch.tensor([1.0, 0.0, 0.7]).double()
    given = margin_given_weights(w, first, second, posteriors.decoder, margin)
    u = monte_carlo_utility(w.expand(200_000, -1, -1), first, second, posteriors.decoder, margin)
    within_standard_errors(u, given.mean[0])
    within_standard_errors((u - given.mean).square(), given.variance[0])
    within_standard_errors(torch.sigmoid(u), log_preference_probability(given, 64)[0].exp())
    within_standard_errors(comparison_log_likelihood(u, label.expand_as(u)), expected_comparison(given, label, 64))


def test_weights_and_features_together_match_monte_carlo(posteriors: Posteriors, within_standard_errors) -> None:
    first, second = posteriors.features.completion(0), posteriors.features.completion(1)
    w = posteriors.weights.rsample(200_000)
    u = monte_carlo_utility(w, first, second, posteriors.decoder)
    quadrature = log_preference_probability(margin_given_weights(w, first, second, posteriors.decoder))[0].exp()
    difference = torch.sigmoid(u) - quadrature
    within_standard_errors(difference, torch.zeros(3).double())


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_extreme_margins_are_finite_in_value_and_gradient(sign: float) -> None:
    for scale in (0.0, 1.0, 1e3):
        mean = torch.tensor([[sign * 1e4]], requires_grad=True)
        variance = torch.tensor([[scale**2]], requires_grad=True)
        margins = MarginGivenWeights(mean, variance)
        first, second = log_preference_probability(margins)
        value = first + second + expected_comparison(margins, torch.tensor([0.5]))
        gradients = torch.autograd.grad(value.sum(), (mean, variance))
        assert torch.isfinite(value).all()
        assert all(torch.isfinite(g).all() for g in gradients)


def test_the_mean_of_samples_is_taken_before_the_log() -> None:
    margins = MarginGivenWeights(torch.tensor([[4.0], [-4.0]]).double(), torch.zeros(2, 1).double())
    assert log_preference_probability(margins)[0].exp().item() == pytest.approx(0.5, abs=1e-6)
    expected = (np.log(special.expit(4)) + np.log(special.expit(-4))) / 2
    assert expected_comparison(margins, torch.ones(1).double()).item() == pytest.approx(expected, abs=1e-6)


def test_gradcheck(posteriors: Posteriors) -> None:
    w = posteriors.weights.rsample(2).detach().requires_grad_()
    leaves = [w, posteriors.features.loc, posteriors.features.variance, posteriors.decoder]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]

    def both(w, loc, variance, decoder):
        features = SemanticFeatures(loc, variance)
        margins = margin_given_weights(w, features.completion(0), features.completion(1), decoder, 0.1)
        label = torch.tensor([1.0, 0.0, 0.4]).double()
        return *log_preference_probability(margins), expected_comparison(margins, label)

    assert torch.autograd.gradcheck(both, leaves)


def test_bias_correction_removes_most_of_the_bias_of_a_log_of_a_mean() -> None:
    """Beta(2, 1) probabilities, mean 2/3, eight samples a time."""
    logs = torch.distributions.Beta(torch.tensor(2.0).double(), torch.tensor(1.0).double()).sample((8, 400_000)).log()
    bias = [(log_mean_exp(logs, corrected).mean() - np.log(2 / 3)).item() for corrected in (False, True)]
    assert bias[0] == pytest.approx(-(1 / 18) / (2 * 8 * (2 / 3) ** 2), rel=0.15)
    assert abs(bias[1]) < 0.15 * abs(bias[0])


def test_bias_correction_is_bounded_and_has_nothing_to_say_of_one_sample() -> None:
    corner = torch.tensor([[0.0], [-500.0], [-1e4], [-1e4]], requires_grad=True)
    corrected = log_mean_exp(corner, True)
    assert 0 < (corrected - log_mean_exp(corner)).item() <= 0.5
    assert torch.isfinite(torch.autograd.grad(corrected.sum(), corner)[0]).all()
    assert torch.equal(log_mean_exp(corner[:1], True), corner[0])


def test_reported_probabilities_are_not_corrected() -> None:
    margins = MarginGivenWeights(torch.randn(4, 3).double() * 3, torch.rand(4, 3).double())
    first, second = log_preference_probability(margins)
    torch.testing.assert_close(first.exp() + second.exp(), torch.ones(3).double())
    assert (log_preference_probability(margins, correct_bias=True)[0] > first).all()
