"""Equation (14): the spline basis, the joint fit of h, and why h fitted alone over-corrects."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.likelihoods.base import Judgments
from vrm.core.likelihoods.comparison import comparison_log_likelihood
from vrm.core.likelihoods.ranking import plackett_luce_log_likelihood
from vrm.core.losses import marginal_terms, variational_terms
from vrm.core.nuisance import (
    NuisanceOffset,
    fit_linear_reward,
    fit_nuisance_offset,
    out_of_fold_reward,
    reward_penalty,
    spline_basis,
    spline_knots,
)
from vrm.core.posteriors import Posteriors, RatingModel
from vrm.core.predictive import log_probabilities
from vrm.core.quadrature import offset_margin
from vrm.errors import VrmError

KNOTS = torch.tensor([[-1.5, -0.6, 0.1, 0.8, 2.0]]).double()


def _derivative(order: int, at: torch.Tensor) -> torch.Tensor:
    value = at.clone().requires_grad_()
    result = spline_basis(value.unsqueeze(-1), KNOTS)
    columns = []
    for column in result.unbind(-1):
        current = column
        for _ in range(order):
            (current,) = torch.autograd.grad(current.sum(), value, create_graph=True, allow_unused=True)
            if current is None or not current.requires_grad:
                current = torch.zeros_like(value) if current is None else current + 0 * value
        columns.append(current.detach())
    return torch.stack(columns, -1)


class TestBasis:
    def test_is_twice_continuously_differentiable_at_the_knots(self) -> None:
        for order in (0, 1, 2):
            left, right = _derivative(order, KNOTS[0] - 1e-7), _derivative(order, KNOTS[0] + 1e-7)
            torch.testing.assert_close(left, right, rtol=0, atol=1e-4)

    def test_is_linear_beyond_the_outer_knots(self) -> None:
        outside = torch.tensor([-30.0, -1.6, 2.1, 50.0]).double()
        torch.testing.assert_close(_derivative(2, outside), torch.zeros(4, 4).double(), rtol=0, atol=1e-9)
        inside = _derivative(2, torch.tensor([0.5]).double())
        assert (inside[:, 1:].abs() > 1e-3).all()

    def test_spans_the_natural_cubic_splines_of_scipy(self) -> None:
        x = np.linspace(-1.5, 2.0, 200)
        basis = spline_basis(torch.tensor(x).unsqueeze(-1), KNOTS).numpy()
        design = np.column_stack([np.ones_like(x), basis])
        for values in np.eye(5):
            natural = CubicSpline(KNOTS[0].numpy(), values, bc_type="natural")(x)
            fit = design @ np.linalg.lstsq(design, natural, rcond=None)[0]
            np.testing.assert_allclose(fit, natural, atol=1e-9)

    def test_does_not_know_the_unit_of_the_nuisance(self) -> None:
        value = torch.randn(20, 1).double()
        scaled = spline_basis(1e-3 * value + 7, 1e-3 * KNOTS + 7)
        torch.testing.assert_close(scaled, spline_basis(value, KNOTS), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("nuisance", [torch.zeros(50, 1), torch.arange(50.0).remainder(2).unsqueeze(-1)])
    def test_knots_of_discrete_nuisances_are_increasing(self, nuisance: torch.Tensor) -> None:
        knots = spline_knots(nuisance, 5)
        assert (knots.diff(dim=-1) > 0).all()
        assert torch.isfinite(spline_basis(nuisance, knots)).all()


def _planted(bias, seed: int, size: int = 20_000, nuisances: int = 1):
    """Judgments with u = r_a - r_b + bias(nu_a) - bias(nu_b), where quality itself rises with the nuisance."""
    generator = torch.Generator().manual_seed(seed)
    nuisance = torch.randn(2, size, nuisances, generator=generator).double()
    quality = 0.625 * nuisance[..., 0] + 0.75 * torch.randn(2, size, generator=generator).double()
    margin = quality[0] - quality[1]
    u = margin + (bias(nuisance[0]) - bias(nuisance[1]))
    label = (torch.rand(size, generator=generator).double() < torch.sigmoid(u)).double()
    return nuisance[0], nuisance[1], label, margin


def _slope(offset: NuisanceOffset) -> float:
    at = torch.tensor([[-1.5], [1.5]]).double()
    low, high = offset(at).tolist()
    return (high - low) / 3.0


@pytest.mark.parametrize("seed", [0, 1])
def test_joint_fit_recovers_the_bias_and_the_fit_alone_over_corrects(seed: int) -> None:
    first, second, label, margin = _planted(lambda nu: 0.5 * nu[:, 0], seed)
    joint = fit_nuisance_offset(first, second, label, margin)
    alone = fit_nuisance_offset(first, second, label, torch.zeros_like(margin))
    assert _slope(joint) == pytest.approx(0.5, abs=0.06)
    assert joint.reward_scale == pytest.approx(1, abs=0.06)
    assert _slope(alone) == pytest.approx(0.97, abs=0.06)


def test_a_reward_that_already_holds_the_bias_hides_it() -> None:
    first, second, label, margin = _planted(lambda nu: 0.5 * nu[:, 0], 2)
    biased = margin + 0.5 * (first - second)[:, 0]
    assert _slope(fit_nuisance_offset(first, second, label, biased)) == pytest.approx(0, abs=0.06)


def test_a_curved_bias_of_two_nuisances_is_recovered_up_to_a_constant() -> None:
    def bias(nu: torch.Tensor) -> torch.Tensor:
        return torch.sin(1.5 * nu[:, 0]) - 0.3 * nu[:, 1].square()

    first, second, label, margin = _planted(bias, 3, size=30_000, nuisances=2)
    offset = fit_nuisance_offset(first, second, label, margin)
    grid = torch.cartesian_prod(*[torch.linspace(-1.8, 1.8, 13).double()] * 2)
    error = offset(grid) - bias(grid)
    assert (error - error.mean()).square().mean().sqrt() < 0.12


def test_fit_is_where_the_penalized_likelihood_is_stationary() -> None:
    first, second, label, margin = _planted(lambda nu: nu[:, 0], 4, size=500)
    offset = fit_nuisance_offset(first, second, label, margin, ridge=50.0)
    texts = spline_basis(torch.cat([first, second]), offset.knots)
    basis = texts[:500] - texts[500:]
    coefficients = offset.coefficients.clone().requires_grad_()
    likelihood = comparison_log_likelihood(offset.reward_scale * margin + basis @ coefficients, label).sum()
    penalty = 25.0 * (texts @ coefficients).var()
    of_likelihood, of_penalty = (torch.autograd.grad(x, coefficients)[0] for x in (likelihood, penalty))
    torch.testing.assert_close(of_likelihood, of_penalty, rtol=0, atol=1e-3 * of_penalty.abs().max().item())


def test_a_constant_nuisance_gets_no_offset() -> None:
    first, second, label, margin = _planted(lambda nu: nu[:, 0], 5, size=500)
    offset = fit_nuisance_offset(torch.ones_like(first), torch.ones_like(second), label, margin)
    assert offset(torch.tensor([[0.0], [1.0], [9.0]]).double()).tolist() == [0, 0, 0]


def test_offset_enters_u_through_the_margin() -> None:
    margin, h_a, h_b = torch.tensor([0.2]), torch.tensor([1.5]), torch.tensor([0.5])
    reward_difference = 0.7
    u = reward_difference - offset_margin(margin, h_a, h_b, 0.4)
    torch.testing.assert_close(u, torch.tensor([0.7 - 0.2 + 0.4]))
    assert torch.equal(offset_margin(margin, h_a, h_b, 0.0), margin)


@pytest.mark.parametrize("factor", [-0.1, 1.1, float("nan")])
def test_factor_is_a_share(factor: float) -> None:
    with pytest.raises(VrmError, match=r"\[0, 1\]"):
        offset_margin(torch.zeros(1), torch.zeros(1), torch.zeros(1), factor)


def test_bad_input_is_refused() -> None:
    nu, label = torch.randn(9, 1), torch.ones(9)
    with pytest.raises(VrmError, match="num_knots"):
        fit_nuisance_offset(nu, nu, label, label, num_knots=2)
    with pytest.raises(VrmError, match="finite"):
        fit_nuisance_offset(nu, nu, label, label * float("nan"))


def _features(seed: int, size: int = 600):
    first, second, label, margin = _planted(lambda nu: 0.5 * nu[:, 0], seed, size)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(size, 4, generator=generator).double()
    return torch.cat([margin.unsqueeze(-1), noise], -1), first, second, label, torch.arange(size) % 4


def test_the_linear_reward_is_scikit_learns_ridge_logistic_regression() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, _, _, label, _ = _features(6)
    found = fit_linear_reward(features, label, spread=0.7)
    penalty = reward_penalty(features, 0.7)
    assert penalty == pytest.approx(float((features**2).sum(1).mean()) / 0.49)
    model = linear_model.LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10, max_iter=10_000)
    expected = model.fit(features.numpy(), label.numpy()).coef_[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_margin_given_to_a_fit_is_part_of_u() -> None:
    """Both fits are where their penalized likelihoods, t included, are stationary."""
    features, first, second, label, _ = _features(7)
    target = features[:, 0]
    found = fit_linear_reward(features[:, 1:], label, 2.0, target).requires_grad_()
    penalty = 0.5 * reward_penalty(features[:, 1:], 2.0) * found.square().sum()
    likelihood = comparison_log_likelihood(features[:, 1:] @ found - target, label).sum()
    (gradient,) = torch.autograd.grad(likelihood - penalty, found)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-4)
    # A margin handed in with its sign turned is a reward of slope one.
    offset = fit_nuisance_offset(first, second, label, torch.zeros_like(target), target_margin=-target)
    assert _slope(offset) == pytest.approx(0.5, abs=0.3)
    assert _slope(fit_nuisance_offset(first, second, label, torch.zeros_like(target), target_margin=target)) > 1.0


def test_an_out_of_fold_margin_does_not_depend_on_the_folds_own_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vrm.core.nuisance.REWARD_SPREADS", (1.0,))
    features, first, second, label, folds = _features(8)
    turned = torch.where(folds == 2, 1 - label, label)
    found = out_of_fold_reward(features, first, second, label, folds)
    other = out_of_fold_reward(features, first, second, turned, folds)
    assert torch.equal(found.margin[folds == 2], other.margin[folds == 2])
    assert not torch.equal(found.margin[folds == 1], other.margin[folds == 1])


def test_the_out_of_fold_reward_leaves_its_own_offset_out() -> None:
    """Judged by quality and nuisance features alike, its margin holds the quality, and little of what raters added."""
    first, second, label, margin = _planted(lambda nu: 0.5 * nu[:, 0], 9)
    features = torch.stack([margin, (first - second)[:, 0]], -1)
    found = out_of_fold_reward(features, first, second, label, torch.arange(len(label)) % 5)
    slopes = torch.linalg.lstsq(features, found.margin.unsqueeze(-1)).solution[:, 0]
    assert slopes[0] == pytest.approx(1.0, abs=0.06)
    assert slopes[1] == pytest.approx(0.0, abs=0.15)
    u = margin + 0.5 * (first - second)[:, 0]
    assert found.negative_log_likelihood == pytest.approx(-float(comparison_log_likelihood(u, label).mean()), abs=2e-3)


def _head(batch: int, completions: int):
    generator = torch.Generator().manual_seed(0)
    loc = torch.randn(batch, completions, 1, generator=generator).double()
    features = SemanticFeatures(loc, torch.zeros_like(loc))
    one = torch.ones(batch, 1).double()
    return Posteriors(ObjectiveWeights(one), features, one[:1], RatingModel(one[0, 0], one[0], one[0])), loc[..., 0]


@pytest.mark.parametrize("terms", [variational_terms, marginal_terms])
def test_offsets_enter_comparisons_and_ranked_lists_as_rewards_do(terms) -> None:
    posteriors, rewards = _head(5, 3)
    offsets = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double()
    mask = torch.ones(5, 3, dtype=torch.bool)
    scores = torch.tensor([[1.0, 3.0, 2.0]]).double().repeat(5, 1)
    prior = torch.ones(1).double()
    listed = terms(posteriors, Judgments(mask, scores=scores, offsets=offsets), prior)
    torch.testing.assert_close(listed.ranking, plackett_luce_log_likelihood(rewards + offsets, scores, mask))
    target, label = torch.full((5,), 0.3).double(), torch.tensor([1.0, 0.0, 0.5, 0.8, 1.0]).double()
    u = rewards[:, 0] - rewards[:, 1] + offsets[:, 0] - offsets[:, 1]
    for margin, shift in ((None, 0.0), (target, 0.3)):
        pair = terms(posteriors, Judgments(mask, preference=label, margin=margin, offsets=offsets), prior)
        torch.testing.assert_close(pair.comparison, comparison_log_likelihood(u - shift, label), rtol=0, atol=1e-6)
    # The KL terms know nothing of raters.
    plain = terms(posteriors, Judgments(mask, preference=label), prior)
    assert torch.equal(pair.kl_features, plain.kl_features)


def test_rater_probabilities_include_the_offset() -> None:
    posteriors, rewards = _head(5, 2)
    first, second = posteriors.features.completion(0), posteriors.features.completion(1)
    offset = torch.linspace(-1, 1, 5).double()
    logs = log_probabilities(posteriors.weights, first, second, posteriors.decoder, target_margin=-offset)
    torch.testing.assert_close(logs[0].exp(), torch.sigmoid(rewards[:, 0] - rewards[:, 1] + offset), rtol=0, atol=1e-6)


def test_bad_input_of_the_out_of_fold_reward_is_refused() -> None:
    features, first, second, label, folds = _features(10, 40)
    with pytest.raises(VrmError, match="at least two folds, got 1"):
        out_of_fold_reward(features, first, second, label, folds * 0)
    with pytest.raises(VrmError, match="features must be finite"):
        out_of_fold_reward(features / 0, first, second, label, folds)
