"""Equation (13): emphasis, leaving out, and the tilt of a group."""

import pytest
import torch
from torch.distributions import Dirichlet

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.likelihoods.votes import dirichlet_multinomial_log_likelihood, weights_given_votes
from vrm.core.steering import Comparisons, emphasize, fit_tilt, without
from vrm.errors import VrmError


def test_emphasis_is_conditioning_on_votes(within_standard_errors) -> None:
    alpha, counts = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.0, 1.0]).double()
    weights = ObjectiveWeights.from_concentration(alpha)
    steered = emphasize(weights, counts)
    torch.testing.assert_close(steered.concentration, weights_given_votes(counts, weights).concentration)
    # Bayes by sampling: E[w prod w^n] / E[prod w^n] is the steered mean.
    w = Dirichlet(alpha).sample((400_000,))
    likelihood = (counts * w.log()).sum(-1).exp()
    log_coefficient = dirichlet_multinomial_log_likelihood(counts, ObjectiveWeights(torch.ones(3).double()))
    evidence = (dirichlet_multinomial_log_likelihood(counts, weights) - log_coefficient).exp()
    within_standard_errors(likelihood.unsqueeze(-1) * w / evidence, steered.mean)


def test_without_is_the_distribution_of_the_renormalized_rest(within_standard_errors) -> None:
    alpha = torch.tensor([0.7, 2.0, 3.0, 1.0]).double()
    keep = torch.tensor([True, False, True, True])
    decoder = torch.randn(4, 2).double()
    rest, rows = without(ObjectiveWeights.from_concentration(alpha), decoder, keep)
    assert torch.equal(rows, decoder[keep])
    w = Dirichlet(alpha).sample((400_000,))[:, keep]
    w = w / w.sum(-1, keepdim=True)
    within_standard_errors(w, rest.mean)
    within_standard_errors((w - rest.mean).square(), rest.distribution.variance)
    within_standard_errors(w.log(), alpha[keep].digamma() - alpha[keep].sum().digamma())


def test_without_renormalizes_a_point_mass() -> None:
    rest, _ = without(
        ObjectiveWeights(torch.tensor([0.5, 0.25, 0.25])), torch.eye(3), torch.tensor([True, True, False])
    )
    torch.testing.assert_close(rest.mean, torch.tensor([2 / 3, 1 / 3]))
    assert rest.is_point_mass


@pytest.mark.parametrize("counts", [[-1.0, 0.0], [float("nan"), 0.0], [float("inf"), 0.0]])
def test_counts_must_be_counts(counts: list[float]) -> None:
    with pytest.raises(VrmError, match="finite and >= 0"):
        emphasize(ObjectiveWeights.from_concentration(torch.ones(2)), torch.tensor(counts))


def test_what_cannot_be_steered_says_so() -> None:
    with pytest.raises(VrmError, match="point mass"):
        emphasize(ObjectiveWeights(torch.ones(2) / 2), torch.ones(2))
    with pytest.raises(VrmError, match="at least one must remain"):
        without(ObjectiveWeights(torch.ones(2) / 2), torch.eye(2), torch.tensor([False, False]))


class TestTilt:
    def _group(self, tilt: torch.Tensor, size: int, seed: int = 0) -> Comparisons:
        """Comparisons of judges whose weights are drawn from Dir(alpha + tilt), z nearly certain."""
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        alpha = torch.rand(size, 3, generator=generator) * 2 + 0.5
        loc = 3 * torch.randn(2, size, 3, generator=generator)
        variance = torch.full((size, 3), 0.01)
        u = (Dirichlet(alpha + tilt).sample() * (loc[0] - loc[1])).sum(-1)
        label = (torch.rand(size, generator=generator) < torch.sigmoid(u)).float()
        weights = ObjectiveWeights.from_concentration(alpha)
        return Comparisons(weights, SemanticFeatures(loc[0], variance), SemanticFeatures(loc[1], variance), label)

    def test_recovers_a_planted_tilt_roughly(self) -> None:
        tilt = fit_tilt(self._group(torch.tensor([0.0, 8.0, 0.0]), 400), torch.eye(3), prior_mean=5.0, num_draws=128)
        assert tilt.argmax() == 1
        assert 4 < tilt[1] < 16
        assert tilt[[0, 2]].max() < 1.5

    def test_is_deterministic_and_leaves_the_generator_alone(self) -> None:
        group = self._group(torch.tensor([4.0, 0.0, 0.0]), 30)
        before = torch.get_rng_state()
        first = fit_tilt(group, torch.eye(3))
        assert torch.equal(before, torch.get_rng_state())
        torch.manual_seed(99)
        with torch.no_grad():
            assert torch.equal(first, fit_tilt(group, torch.eye(3)))

    def test_few_comparisons_move_the_weights_little(self) -> None:
        group = self._group(torch.tensor([0.0, 8.0, 0.0]), 2)
        assert fit_tilt(group, torch.eye(3), prior_mean=0.2).sum() < 1

    def test_rejects_what_it_cannot_fit(self) -> None:
        group = self._group(torch.zeros(3), 2)
        with pytest.raises(VrmError, match="prior_mean"):
            fit_tilt(group, torch.eye(3), prior_mean=0.0)
        point = Comparisons(ObjectiveWeights(group.weights.mean), group.first, group.second, group.preference)
        with pytest.raises(VrmError, match="point mass"):
            fit_tilt(point, torch.eye(3))
