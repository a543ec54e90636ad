"""Equation (4): Bradley-Terry with soft labels, Plackett-Luce with ties."""

import itertools

import pytest
import torch
from torch.nn.functional import logsigmoid

from vrm.core.likelihoods.comparison import comparison_log_likelihood
from vrm.core.likelihoods.ranking import plackett_luce_log_likelihood


def test_soft_labels_mix_the_two_outcomes() -> None:
    u, p = torch.randn(6).double() * 3, torch.rand(6).double()
    expected = p * torch.sigmoid(u).log() + (1 - p) * torch.sigmoid(-u).log()
    torch.testing.assert_close(comparison_log_likelihood(u, p), expected)


@pytest.mark.parametrize("utility", [1e4, -1e4, 0.0])
@pytest.mark.parametrize("label", [0.0, 0.3, 1.0])
def test_extreme_margins_are_finite_with_the_right_gradient(utility: float, label: float) -> None:
    u = torch.tensor(utility, requires_grad=True)
    value = comparison_log_likelihood(u, torch.tensor(label))
    value.backward()
    expected = label - torch.sigmoid(torch.tensor(utility, dtype=torch.float64)).item()
    assert torch.isfinite(value)
    assert u.grad.item() == pytest.approx(expected, abs=1e-6)


def test_plackett_luce_sums_to_one_over_rankings() -> None:
    rewards = torch.randn(4).double() * 2
    mask = torch.ones(4, dtype=torch.bool)
    orders = torch.tensor(list(itertools.permutations(range(4)))).double()
    total = plackett_luce_log_likelihood(rewards.expand(24, 4), orders, mask.expand(24, 4)).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


def test_plackett_luce_is_a_product_of_choices() -> None:
    rewards, scores = torch.tensor([0.3, -1.0, 2.0]).double(), torch.tensor([2.0, 3.0, 1.0]).double()
    ordered = rewards[[1, 0, 2]]
    expected = sum(ordered[i] - ordered[i:].logsumexp(0) for i in range(3))
    actual = plackett_luce_log_likelihood(rewards, scores, torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(actual, expected)


def test_two_completions_are_bradley_terry_and_a_tie_is_both_halves() -> None:
    rewards = torch.tensor([[1.7, -0.4]]).double()
    mask = torch.ones(1, 2, dtype=torch.bool)
    u = rewards[:, 0] - rewards[:, 1]
    ordered = plackett_luce_log_likelihood(rewards, torch.tensor([[2.0, 1.0]]).double(), mask)
    torch.testing.assert_close(ordered, logsigmoid(u))
    tied = plackett_luce_log_likelihood(rewards, torch.tensor([[1.0, 1.0]]).double(), mask)
    torch.testing.assert_close(tied, 2 * comparison_log_likelihood(u, torch.tensor([0.5]).double()))


def test_masked_completions_count_for_nothing_even_when_not_finite() -> None:
    rewards = torch.tensor([[0.5, -1.0, float("inf"), float("nan")]], requires_grad=True)
    scores = torch.tensor([[1.0, 2.0, 3.0, 0.0]])
    mask = torch.tensor([[True, True, False, False]])
    value = plackett_luce_log_likelihood(rewards, scores, mask)
    torch.testing.assert_close(value, plackett_luce_log_likelihood(rewards[:, :2], scores[:, :2], mask[:, :2]))
    (gradient,) = torch.autograd.grad(value.sum(), rewards)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 2:].tolist() == [0, 0]


def test_fewer_than_two_completions_say_nothing() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    assert plackett_luce_log_likelihood(torch.randn(2, 2), torch.randn(2, 2), mask).tolist() == [0, 0]


def test_extreme_rewards_are_finite_in_value_and_gradient() -> None:
    rewards = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    value = plackett_luce_log_likelihood(rewards, torch.tensor([1.0, 3.0, 2.0]), torch.ones(3, dtype=torch.bool))
    value.backward()
    assert value.item() == pytest.approx(-3e4)
    assert torch.isfinite(rewards.grad).all()


def test_gradcheck() -> None:
    rewards = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    scores, mask = torch.tensor([[1.0, 2.0, 2.0], [3.0, 1.0, 0.0]]), torch.tensor([[True] * 3, [True, True, False]])
    assert torch.autograd.gradcheck(lambda r: plackett_luce_log_likelihood(r, scores, mask), rewards)
    utility = torch.randn(5, dtype=torch.float64, requires_grad=True)
    label = torch.rand(5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda u: comparison_log_likelihood(u, label), utility)
