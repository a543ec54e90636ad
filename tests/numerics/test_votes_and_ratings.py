"""Equations (5) and (6): expectations, marginals and conditionals against scipy, dense formulas and Monte Carlo."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import Dirichlet, MultivariateNormal, Normal

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.likelihoods.ratings import condition_on_ratings, expected_rating_log_likelihood
from vrm.core.likelihoods.votes import (
    dirichlet_multinomial_log_likelihood,
    expected_vote_log_likelihood,
    weights_given_votes,
)
from vrm.core.posteriors import Posteriors, RatingModel

NAN = float("nan")


@pytest.fixture
def alpha() -> torch.Tensor:
    return torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64)


def _outcomes(number: int, categories: int) -> torch.Tensor:
    rows = [v for v in itertools.product(range(number + 1), repeat=categories) if sum(v) == number]
    return torch.tensor(rows, dtype=torch.float64)


class TestVotes:
    def test_expectation_matches_samples(self, alpha, within_standard_errors) -> None:
        votes = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
        log_w = ObjectiveWeights.from_concentration(alpha).rsample(400_000).log()
        expected = expected_vote_log_likelihood(votes, ObjectiveWeights.from_concentration(alpha))
        within_standard_errors((votes * log_w).sum(-1), expected)

    def test_integer_votes_match_scipy_and_sum_to_one(self, alpha) -> None:
        votes = _outcomes(4, 3)
        weights = ObjectiveWeights.from_concentration(alpha.expand(len(votes), 3))
        log_p = dirichlet_multinomial_log_likelihood(votes, weights)
        expected = stats.dirichlet_multinomial.logpmf(votes.numpy().astype(int), alpha.numpy(), 4)
        np.testing.assert_allclose(log_p.numpy(), expected, rtol=1e-10)
        assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)

    def test_marginal_matches_samples(self, alpha, within_standard_errors) -> None:
        votes = torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64)
        w = Dirichlet(alpha).sample((400_000,))
        likelihood = 3 * (votes * w.log()).sum(-1).exp()
        actual = dirichlet_multinomial_log_likelihood(votes, ObjectiveWeights.from_concentration(alpha))
        within_standard_errors(likelihood, actual.exp())

    def test_fractional_votes_are_the_expected_product_of_powers(self, alpha, within_standard_errors) -> None:
        votes = torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)
        w = Dirichlet(alpha).sample((400_000,))
        log_coefficient = float(special.gammaln(2) - special.gammaln(votes.numpy() + 1).sum())
        actual = dirichlet_multinomial_log_likelihood(votes, ObjectiveWeights.from_concentration(alpha))
        within_standard_errors((votes * w.log()).sum(-1).exp() * math.exp(log_coefficient), actual.exp())

    def test_conditional_matches_importance_weights(self, alpha) -> None:
        votes = torch.tensor([0.0, 2.0, 0.5], dtype=torch.float64)
        w = Dirichlet(alpha).sample((400_000,))
        importance = (votes * w.log()).sum(-1).exp()
        importance = importance / importance.sum()
        posterior = weights_given_votes(votes, ObjectiveWeights.from_concentration(alpha))
        estimate = (importance.unsqueeze(-1) * w).sum(0)
        error = (importance.square().unsqueeze(-1) * (w - estimate).square()).sum(0).sqrt()
        assert ((estimate - posterior.mean).abs() < 4 * error).all()

    def test_votes_update_sequentially(self, alpha) -> None:
        """p(v1) p(v2 | v1) is p(v1 then v2), whatever the order."""
        first, second = torch.tensor([1.0, 0.0, 1.0]).double(), torch.tensor([0.0, 2.0, 0.0]).double()
        weights = ObjectiveWeights.from_concentration(alpha)

        def both(a, b):
            then = dirichlet_multinomial_log_likelihood(b, weights_given_votes(a, weights))
            return dirichlet_multinomial_log_likelihood(a, weights) + then

        torch.testing.assert_close(both(first, second), both(second, first))

    def test_point_mass_is_multinomial_and_learns_nothing(self) -> None:
        p = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
        votes = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
        weights = ObjectiveWeights(p)
        expected = stats.multinomial.logpmf(votes.numpy(), 4, p.numpy())
        assert dirichlet_multinomial_log_likelihood(votes, weights).item() == pytest.approx(expected)
        assert expected_vote_log_likelihood(votes, weights).item() == pytest.approx((votes * p.log()).sum().item())
        assert weights_given_votes(votes, weights) is weights

    @pytest.mark.parametrize("total", [0.03, 1.0, 1e4])
    def test_finite_over_the_range_of_concentrations(self, total: float) -> None:
        concentration = (torch.tensor([[1.0, 1.0, 1.0]]) / 3 * total).requires_grad_()
        weights = ObjectiveWeights.from_concentration(concentration)
        votes = torch.tensor([[1.0, 0.0, 0.0]])
        value = dirichlet_multinomial_log_likelihood(votes, weights) + expected_vote_log_likelihood(votes, weights)
        (gradient,) = torch.autograd.grad(value.sum(), concentration)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()
        marginal = dirichlet_multinomial_log_likelihood(votes, weights)
        assert marginal.item() == pytest.approx(math.log(1 / 3), abs=1e-5)

    def test_gradcheck(self, alpha) -> None:
        votes = torch.tensor([0.2, 2.0, 0.0], dtype=torch.float64)

        def both(a):
            weights = ObjectiveWeights.from_concentration(a)
            return dirichlet_multinomial_log_likelihood(votes, weights), expected_vote_log_likelihood(votes, weights)

        assert torch.autograd.gradcheck(both, alpha.clone().requires_grad_())


class TestRatings:
    def _one(self, posteriors: Posteriors) -> SemanticFeatures:
        return SemanticFeatures(posteriors.features.loc[0, 0], posteriors.features.variance[0, 0])

    def _dense(self, posteriors: Posteriors, features: SemanticFeatures) -> tuple[torch.Tensor, torch.Tensor]:
        model = posteriors.rating_model
        loading = model.slope * posteriors.decoder
        mean = loading @ features.loc + model.offset
        return mean, loading @ features.variance.diag() @ loading.T + model.scale.square().diag()

    def test_expectation_matches_samples_entry_by_entry(self, posteriors, within_standard_errors) -> None:
        features, model = self._one(posteriors), posteriors.rating_model
        ratings = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
        expected = expected_rating_log_likelihood(ratings, features, posteriors.decoder, model)
        scores = features.rsample(400_000) @ posteriors.decoder.T
        within_standard_errors(Normal(model.slope * scores + model.offset, model.scale).log_prob(ratings), expected)

    def test_missing_entries_are_zero_and_leave_the_rest(self, posteriors) -> None:
        features, model = self._one(posteriors), posteriors.rating_model
        ratings = torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64)
        whole = expected_rating_log_likelihood(ratings, features, posteriors.decoder, model)
        ratings[1] = NAN
        part = expected_rating_log_likelihood(ratings, features, posteriors.decoder, model)
        assert part[1] == 0
        assert torch.equal(part[[0, 2, 3]], whole[[0, 2, 3]])

    @pytest.mark.parametrize("missing", [[], [1], [0, 2, 3]])
    def test_marginal_and_conditional_match_dense_gaussians(self, posteriors, missing: list[int]) -> None:
        features, model = self._one(posteriors), posteriors.rating_model
        ratings = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64)
        keep = [k for k in range(4) if k not in missing]
        mean, covariance = self._dense(posteriors, features)
        mean, covariance, seen = mean[keep], covariance[keep][:, keep], ratings[keep]
        ratings[missing] = NAN
        actual = condition_on_ratings(ratings, features, posteriors.decoder, model)
        torch.testing.assert_close(actual.log_likelihood, MultivariateNormal(mean, covariance).log_prob(seen))
        gain = features.variance.diag() @ (model.slope * posteriors.decoder[keep]).T @ covariance.inverse()
        torch.testing.assert_close(actual.features.loc, features.loc + gain @ (seen - mean))
        remaining = (
            features.variance.diag() - gain @ (model.slope * posteriors.decoder[keep]) @ features.variance.diag()
        )
        torch.testing.assert_close(actual.features.variance, remaining)

    def test_marginal_matches_samples(self, posteriors, within_standard_errors) -> None:
        features, model = self._one(posteriors), posteriors.rating_model
        mean, _ = self._dense(posteriors, features)
        ratings = mean + torch.tensor([0.5, -0.5, 0.2, 0.4], dtype=torch.float64)
        scores = features.rsample(400_000) @ posteriors.decoder.T
        density = Normal(model.slope * scores + model.offset, model.scale).log_prob(ratings).sum(-1).exp()
        actual = condition_on_ratings(ratings, features, posteriors.decoder, model)
        within_standard_errors(density, actual.log_likelihood.exp())

    def test_nothing_rated_changes_nothing(self, posteriors) -> None:
        features = self._one(posteriors)
        ratings = torch.full((4,), NAN, dtype=torch.float64)
        actual = condition_on_ratings(ratings, features, posteriors.decoder, posteriors.rating_model)
        assert actual.log_likelihood == 0
        torch.testing.assert_close(actual.features.loc, features.loc)
        torch.testing.assert_close(actual.features.variance, features.variance.diag())

    def test_gradcheck_through_missing_entries(self, posteriors) -> None:
        ratings = torch.tensor([[[0.3, -1.0, NAN, 0.5], [NAN] * 4]], dtype=torch.float64).expand(3, 2, 4)
        model, features = posteriors.rating_model, posteriors.features
        leaves = [features.loc, features.variance, posteriors.decoder, model.slope, model.offset, model.scale]

        def pieces(loc, variance, decoder, slope, offset, scale):
            given, rating_model = SemanticFeatures(loc, variance), RatingModel(slope, offset, scale)
            conditioned = condition_on_ratings(ratings, given, decoder, rating_model)
            expected = expected_rating_log_likelihood(ratings, given, decoder, rating_model)
            return conditioned.log_likelihood, conditioned.features.loc, conditioned.features.variance, expected

        assert torch.autograd.gradcheck(pieces, [leaf.detach().clone().requires_grad_() for leaf in leaves])

    def test_float32_stays_accurate_for_sharp_ratings_of_surprising_values(self) -> None:
        """tau at its floor and residuals of 5: the textbook r'Pr - b'C^-1 b loses digits here."""
        generator = torch.Generator().manual_seed(0)
        decoder = 3 * torch.randn(16, 4, generator=generator).double()
        loc, variance = torch.randn(64, 4, generator=generator).double(), torch.full((64, 4), 9.0).double()
        model = RatingModel(torch.tensor(2.0).double(), torch.zeros(16).double(), torch.full((16,), 0.1).double())
        ratings = 5 * torch.randn(64, 16, generator=generator).double()
        exact = condition_on_ratings(ratings, SemanticFeatures(loc, variance), decoder, model)
        single_model = RatingModel(*(x.float() for x in (model.slope, model.offset, model.scale)))
        single = condition_on_ratings(
            ratings.float(), SemanticFeatures(loc.float(), variance.float()), decoder.float(), single_model
        )
        torch.testing.assert_close(single.log_likelihood.double(), exact.log_likelihood, rtol=2e-6, atol=1e-3)
        torch.testing.assert_close(single.features.loc.double(), exact.features.loc, rtol=1e-4, atol=1e-4)
