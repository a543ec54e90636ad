"""Invariants of the core for any input in range."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vrm.core.distributions import (
    ObjectiveWeights,
    SemanticFeatures,
    concentration_from_logits,
    kl_objective_weights,
    kl_semantic_features,
)
from vrm.core.likelihoods.comparison import comparison_log_likelihood
from vrm.core.likelihoods.ranking import plackett_luce_log_likelihood
from vrm.core.likelihoods.ratings import condition_on_ratings
from vrm.core.likelihoods.votes import normalize_votes
from vrm.core.posteriors import RatingModel
from vrm.core.predictive import log_probabilities, margin_moments, probit_probability, reward_moments
from vrm.core.steering import emphasize, without

finite = st.floats(-1e4, 1e4, width=32)
seeds = st.integers(0, 2**31 - 1)


def _model(
    seed: int, log_total: float, scale: float
) -> tuple[ObjectiveWeights, SemanticFeatures, SemanticFeatures, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    alpha = concentration_from_logits(3 * normal(2, 4), torch.full((2,), log_total, dtype=torch.float64))
    first, second = (SemanticFeatures(scale * normal(2, 3), normal(2, 3).exp()) for _ in range(2))
    return ObjectiveWeights.from_concentration(alpha), first, second, normal(4, 3)


models = st.builds(_model, seeds, st.floats(-6, 11), st.sampled_from([0.0, 1.0, 100.0]))


# The first use of torch.testing imports much.
@settings(deadline=None)
@given(finite, st.floats(0, 1, width=32))
def test_comparisons_are_symmetric_and_never_positive(utility: float, label: float) -> None:
    u, p = torch.tensor(utility, dtype=torch.float64), torch.tensor(label, dtype=torch.float64)
    value = comparison_log_likelihood(u, p)
    assert value <= 0
    torch.testing.assert_close(value, comparison_log_likelihood(-u, 1 - p), rtol=1e-9, atol=1e-9)


@given(st.lists(finite, min_size=2, max_size=6), seeds)
def test_rankings_do_not_depend_on_order_or_on_a_constant(rewards: list[float], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    r = torch.tensor(rewards, dtype=torch.float64)
    scores = torch.randint(0, 3, r.shape, generator=generator).double()
    mask = torch.rand(r.shape, generator=generator) < 0.8
    order = torch.randperm(len(r), generator=generator)
    value = plackett_luce_log_likelihood(r, scores, mask)
    assert value <= 1e-9
    moved = plackett_luce_log_likelihood(r[order] + 5.0, scores[order] * 2 - 1, mask[order])
    torch.testing.assert_close(value, moved, rtol=1e-9, atol=1e-6)


@settings(deadline=None)
@given(models)
def test_swapping_completions_negates_the_margin_and_swaps_the_probabilities(model) -> None:
    weights, first, second, decoder = model
    there, back = margin_moments(weights, first, second, decoder), margin_moments(weights, second, first, decoder)
    torch.testing.assert_close(there.mean, -back.mean)
    torch.testing.assert_close(there.variance, back.variance)
    torch.testing.assert_close(probit_probability(there) + probit_probability(back), torch.ones(2).double())
    a, b = log_probabilities(weights, first, second, decoder, num_draws=8)
    c, d = log_probabilities(weights, second, first, decoder, num_draws=8)
    torch.testing.assert_close(torch.stack([a, b]), torch.stack([d, c]))
    torch.testing.assert_close(a.exp() + b.exp(), torch.ones(2).double())


@given(models)
def test_variance_parts_are_not_negative_and_means_subtract(model) -> None:
    weights, first, second, decoder = model
    moments = margin_moments(weights, first, second, decoder)
    for part in (moments.feature_variance, moments.weight_variance, moments.interaction_variance):
        assert (part >= 0).all()
        assert torch.isfinite(part).all()
    difference = reward_moments(weights, first, decoder).mean - reward_moments(weights, second, decoder).mean
    torch.testing.assert_close(moments.mean, difference, rtol=1e-9, atol=1e-9)


@given(models)
def test_kls_are_not_negative_and_zero_at_the_prior(model) -> None:
    weights, first, _, _ = model
    assert (kl_objective_weights(weights, torch.ones(4).double()) >= -1e-9).all()
    assert kl_objective_weights(weights, weights.concentration).abs().max() < 1e-9
    assert (kl_semantic_features(first) >= -1e-12).all()


@given(models, seeds)
def test_ratings_never_widen_the_features(model, seed: int) -> None:
    _, features, _, decoder = model
    ratings = torch.randn(2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ratings[0, ::2] = float("nan")
    rating_model = RatingModel(torch.tensor(1.0).double(), torch.zeros(4).double(), torch.full((4,), 0.5).double())
    given_ratings = condition_on_ratings(ratings, features, decoder, rating_model).features
    narrower = features.variance.diag_embed() - given_ratings.variance
    assert torch.linalg.eigvalsh(narrower).min() > -1e-9
    assert torch.linalg.eigvalsh(given_ratings.variance).min() > 0


@given(models, st.lists(st.floats(0, 1e3), min_size=4, max_size=4), st.integers(0, 3))
def test_steering_keeps_a_distribution_over_what_is_left(model, counts: list[float], left_out: int) -> None:
    weights, _, _, decoder = model
    steered = emphasize(weights, torch.tensor(counts, dtype=torch.float64))
    torch.testing.assert_close(steered.mean.sum(-1), torch.ones(2).double())
    torch.testing.assert_close(steered.total, weights.total + sum(counts))
    rest, rows = without(weights, decoder, torch.arange(4) != left_out)
    assert rest.mean.shape == (2, 3)
    assert rows.shape == (3, 3)
    torch.testing.assert_close(rest.mean.sum(-1), torch.ones(2).double())


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=8), st.floats(0.5, 100))
def test_normalized_votes_have_the_total(votes: list[float], total: float) -> None:
    row = torch.tensor(votes, dtype=torch.float64)
    expected = total if sum(votes) > 0 else 0.0
    torch.testing.assert_close(normalize_votes(row, total).sum(), torch.tensor(expected, dtype=torch.float64))
