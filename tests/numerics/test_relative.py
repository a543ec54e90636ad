"""Rewards relative to the prompt's average completion: moments against samples, and what they do not depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.predictive import PredictiveMoments, margin_moments, relative_moments, reward_moments

SAMPLES = 400_000
K, D, N = 4, 3, 3


@pytest.fixture
def model() -> tuple[ObjectiveWeights, SemanticFeatures, Tensor]:
    """Weights (K,), features (N, D) and a decoder of rank D."""
    generator = torch.Generator().manual_seed(11)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = ObjectiveWeights.from_concentration(normal(K).exp() * 2)
    return weights, SemanticFeatures(normal(N, D), normal(N, D).exp()), normal(K, D)


def _assert_same(first: PredictiveMoments, second: PredictiveMoments) -> None:
    for name in ("mean", "feature_variance", "weight_variance", "interaction_variance"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name))


def test_moments_match_samples(model, within_standard_errors) -> None:
    weights, features, decoder = model
    moments = relative_moments(weights, features, decoder)
    w, z = weights.rsample(SAMPLES), features.rsample(SAMPLES)
    rewards = torch.einsum("sk,snd,kd->sn", w, z, decoder)
    relative = rewards - rewards.mean(-1, keepdim=True)
    within_standard_errors(relative, moments.mean)
    within_standard_errors((relative - moments.mean).square(), moments.variance)


def test_of_two_completions_it_is_half_their_margin(model) -> None:
    weights, features, decoder = model
    pair = SemanticFeatures(features.loc[:2], features.variance[:2])
    relative = relative_moments(weights, pair, decoder)
    margin = margin_moments(weights, _row(features, 0), _row(features, 1), decoder)
    torch.testing.assert_close(relative.mean, torch.stack([margin.mean, -margin.mean]) / 2)
    torch.testing.assert_close(relative.std, margin.std.expand(2) / 2)


def test_an_offset_of_all_objective_scores_matters_only_to_the_absolute_variance(model) -> None:
    weights, features, decoder = model
    shift = torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64)
    moved = SemanticFeatures(features.loc + shift, features.variance)
    _assert_same(relative_moments(weights, features, decoder), relative_moments(weights, moved, decoder))
    before, after = (reward_moments(weights, given, decoder).std for given in (features, moved))
    # Even the order of the completions by their uncertainty depends on where the scores' zero is.
    assert before.argsort().tolist() != after.argsort().tolist()


def test_a_single_completion_has_nothing_to_be_above(model) -> None:
    weights, features, decoder = model
    moments = relative_moments(weights, SemanticFeatures(features.loc[:1], features.variance[:1]), decoder)
    assert (moments.mean.item(), moments.variance.item()) == (0.0, 0.0)


def test_full_covariances_and_batches_with_padding_agree_with_rows_alone(model) -> None:
    weights, features, decoder = model
    alone = relative_moments(weights, features, decoder)
    _assert_same(
        alone, relative_moments(weights, SemanticFeatures(features.loc, features.variance.diag_embed(), True), decoder)
    )
    padding = torch.full((1, D), 7.0, dtype=torch.float64)
    batch = SemanticFeatures(
        torch.stack([torch.cat([features.loc, padding]), features.loc[[0, 1, 2, 0]]]),
        torch.stack([torch.cat([features.variance, padding]), features.variance[[0, 1, 2, 0]]]),
    )
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    both = ObjectiveWeights(weights.mean.expand(2, -1), weights.concentration.expand(2, -1))
    found = relative_moments(both, batch, decoder, mask)
    torch.testing.assert_close(found.mean[0, :3], alone.mean)
    torch.testing.assert_close(found.std[0, :3], alone.std)
    assert not torch.allclose(found.std[1, :3], alone.std)


def test_point_mass_weights_leave_feature_uncertainty_alone(model) -> None:
    weights, features, decoder = model
    moments = relative_moments(ObjectiveWeights(weights.mean), features, decoder)
    torch.testing.assert_close(moments.variance, moments.feature_variance)


def _row(features: SemanticFeatures, index: int) -> SemanticFeatures:
    return SemanticFeatures(features.loc[index], features.variance[index])
