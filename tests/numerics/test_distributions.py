"""Equations (1) and (2): concentrations, moments and KLs against torch, scipy and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch.distributions import Dirichlet, Independent, MultivariateNormal, Normal, kl_divergence

from vrm.core.distributions import (
    MIN_CONCENTRATION,
    ObjectiveWeights,
    SemanticFeatures,
    concentration_from_logits,
    dirichlet_draws,
    gaussian_kl_per_feature,
    kl_objective_weights,
    kl_semantic_features,
)
from vrm.core.predictive import fixed_weight_draws


def _scipy_dirichlet_kl(alpha: np.ndarray, prior: np.ndarray) -> np.ndarray:
    def log_normalizer(a: np.ndarray) -> np.ndarray:
        return special.gammaln(a.sum(-1)) - special.gammaln(a).sum(-1)

    expected_log = special.digamma(alpha) - special.digamma(alpha.sum(-1, keepdims=True))
    return log_normalizer(alpha) - log_normalizer(prior) + ((alpha - prior) * expected_log).sum(-1)


@pytest.mark.parametrize("total", [0.08, 1.0, 50.0, 1e4])
def test_dirichlet_kl_matches_scipy_in_float32(total: float) -> None:
    alpha = total * torch.rand(5, 8).softmax(-1)
    prior = torch.full((8,), 1.5)
    expected = _scipy_dirichlet_kl(alpha.double().numpy(), prior.double().numpy())
    actual = kl_objective_weights(ObjectiveWeights.from_concentration(alpha), prior)
    assert actual.dtype == torch.float32
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_dirichlet_kl_matches_monte_carlo(within_standard_errors) -> None:
    alpha = torch.tensor([[0.7, 2.0, 3.0], [4.0, 0.9, 1.0]], dtype=torch.float64)
    prior = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    w = Dirichlet(alpha).sample((200_000,))
    samples = Dirichlet(alpha).log_prob(w) - Dirichlet(prior).log_prob(w)
    within_standard_errors(samples, kl_objective_weights(ObjectiveWeights.from_concentration(alpha), prior))


def test_gaussian_kl_matches_torch_and_monte_carlo(within_standard_errors) -> None:
    features = SemanticFeatures(torch.randn(4, 3).double(), torch.rand(4, 3).double() + 0.1)
    posterior = Independent(Normal(features.loc, features.variance.sqrt()), 1)
    prior = Independent(Normal(torch.zeros(4, 3).double(), torch.ones(4, 3).double()), 1)
    torch.testing.assert_close(kl_semantic_features(features), kl_divergence(posterior, prior))
    torch.testing.assert_close(kl_semantic_features(features), gaussian_kl_per_feature(features).sum(-1))
    z = posterior.sample((200_000,))
    within_standard_errors(posterior.log_prob(z) - prior.log_prob(z), kl_semantic_features(features))


def test_full_covariance_kl_and_direction_match_dense_formulas() -> None:
    root = torch.randn(2, 3, 3).double()
    covariance = root @ root.mT + torch.eye(3)
    features = SemanticFeatures(torch.randn(2, 3).double(), covariance, full=True)
    prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    expected = kl_divergence(MultivariateNormal(features.loc, covariance), prior)
    torch.testing.assert_close(kl_semantic_features(features), expected)
    direction = torch.randn(5, 2, 3).double()
    dense = (direction.unsqueeze(-2) @ covariance @ direction.unsqueeze(-1)).squeeze((-1, -2))
    torch.testing.assert_close(features.variance_along(direction), dense)


def test_point_masses_have_zero_kl_and_no_noise() -> None:
    weights = ObjectiveWeights(torch.rand(2, 3).softmax(-1))
    assert kl_objective_weights(weights, torch.ones(3)).tolist() == [0, 0]
    assert torch.isinf(weights.total).all()
    assert torch.equal(weights.rsample(5), weights.mean.unsqueeze(0))
    assert weights.covariance_form(torch.randn(2, 3)).tolist() == [0, 0]
    features = SemanticFeatures(torch.randn(2, 3, requires_grad=True), torch.zeros(2, 3))
    kl = kl_semantic_features(features)
    assert kl.tolist() == [0, 0]
    kl.sum().backward()
    assert torch.isfinite(features.loc.grad).all()


def test_concentration_range_and_floor() -> None:
    logits, log_total = torch.randn(3, 6), torch.tensor([-100.0, 0.0, 100.0])
    alpha = concentration_from_logits(logits, log_total)
    expected = MIN_CONCENTRATION * 6 + torch.tensor([1e-2, 1.0, 1e4])
    torch.testing.assert_close(alpha.sum(-1), expected)
    assert (alpha >= MIN_CONCENTRATION).all()
    torch.testing.assert_close(
        (alpha - MIN_CONCENTRATION) / (alpha - MIN_CONCENTRATION).sum(-1, True), logits.softmax(-1)
    )


def test_covariance_form_matches_the_matrix_and_does_not_cancel() -> None:
    alpha = torch.rand(4, 5).double() * 3 + 0.1
    weights = ObjectiveWeights.from_concentration(alpha)
    vector = torch.randn(4, 5).double()
    m = weights.mean
    covariance = (torch.diag_embed(m) - m.unsqueeze(-1) * m.unsqueeze(-2)) / (alpha.sum(-1) + 1)[:, None, None]
    expected = (vector.unsqueeze(-2) @ covariance @ vector.unsqueeze(-1)).squeeze((-1, -2))
    torch.testing.assert_close(weights.covariance_form(vector), expected)
    single = ObjectiveWeights.from_concentration(alpha.float())
    shifted = single.covariance_form(vector.float() + 1e4)
    torch.testing.assert_close(shifted.double(), expected, rtol=1e-2, atol=1e-6)


def test_rsample_gradient_is_that_of_the_mean() -> None:
    alpha = torch.tensor([0.8, 2.0, 4.0], dtype=torch.float64, requires_grad=True)
    scores = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    gradients = []
    for _ in range(40):
        samples = ObjectiveWeights.from_concentration(alpha).rsample(5_000)
        gradients.append(torch.autograd.grad((samples @ scores).mean(), alpha)[0])
    stacked = torch.stack(gradients)
    expected = torch.autograd.grad((alpha / alpha.sum()) @ scores, alpha)[0]
    distance = (stacked.mean(0) - expected) / (stacked.std(0) / math.sqrt(len(gradients)))
    assert distance.abs().max() < 4


class TestFixedDraws:
    alpha = torch.tensor([[0.01, 0.01, 0.02], [0.3, 2.0, 5.0], [3000.0, 5000.0, 2000.0]])

    def test_moments_are_the_dirichlets(self, within_standard_errors) -> None:
        draws = dirichlet_draws(self.alpha.double(), 200_000)
        weights = ObjectiveWeights.from_concentration(self.alpha.double())
        within_standard_errors(draws, weights.mean)
        m = weights.mean
        variance = m * (1 - m) / (weights.total.unsqueeze(-1) + 1)
        within_standard_errors((draws - m).square(), variance)
        cross = -m[:, 0] * m[:, 1] / (weights.total + 1)
        within_standard_errors((draws[..., 0] - m[:, 0]) * (draws[..., 1] - m[:, 1]), cross)

    def test_marginals_are_beta(self) -> None:
        from scipy import stats

        draws = dirichlet_draws(self.alpha[1:2].double(), 20_000)
        for k in range(3):
            a = self.alpha[1, k].double().item()
            b = self.alpha[1].double().sum().item() - a
            assert stats.kstest(draws[:, 0, k].numpy(), stats.beta(a, b).cdf).pvalue > 1e-3

    def test_a_row_does_not_depend_on_its_batch(self) -> None:
        whole = fixed_weight_draws(ObjectiveWeights.from_concentration(self.alpha), 16)
        for row in range(3):
            alone = fixed_weight_draws(ObjectiveWeights.from_concentration(self.alpha[row : row + 1]), 16)
            assert torch.equal(alone[:, 0], whole[:, row])
        assert whole.dtype == self.alpha.dtype

    def test_a_concentration_that_is_not_finite_gives_nan_in_its_row_alone(self) -> None:
        broken = self.alpha.double().clone()
        broken[0, 0], broken[2, 0] = float("nan"), float("inf")
        draws = dirichlet_draws(broken, 8)
        assert draws[:, [0, 2]].isnan().all()
        assert torch.equal(draws[:, 1], dirichlet_draws(self.alpha.double(), 8)[:, 1])

    def test_global_generators_are_left_alone_and_seeds_differ(self) -> None:
        before = torch.get_rng_state()
        first = dirichlet_draws(self.alpha.double(), 8)
        torch.rand(3)
        assert torch.equal(first, dirichlet_draws(self.alpha.double(), 8))
        assert not torch.equal(first, dirichlet_draws(self.alpha.double(), 8, seed=1))
        torch.set_rng_state(before)
        fixed_weight_draws(ObjectiveWeights.from_concentration(self.alpha))
        assert torch.equal(before, torch.get_rng_state())

    def test_gradient_is_that_of_the_surface_and_near_that_of_the_mean(self) -> None:
        alpha = torch.tensor([[0.5, 1.5, 3.0]], dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda a: dirichlet_draws(a, 4), alpha)
        scores = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
        actual = torch.autograd.grad((dirichlet_draws(alpha, 100_000) @ scores).mean(), alpha)[0]
        expected = torch.autograd.grad((alpha / alpha.sum()) @ scores, alpha)[0]
        torch.testing.assert_close(actual, expected, rtol=0.05, atol=5e-3)
