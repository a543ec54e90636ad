"""Losses (7) and (7'): the chain rule against Monte Carlo of the joint, gradients, and the range of what heads emit."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Multinomial, Normal
from torch.nn.functional import logsigmoid

from vrm.core.distributions import (
    ObjectiveWeights,
    SemanticFeatures,
    concentration_from_logits,
    kl_objective_weights,
    kl_semantic_features,
)
from vrm.core.likelihoods.base import Judgments
from vrm.core.likelihoods.comparison import expected_comparison
from vrm.core.likelihoods.ranking import plackett_luce_log_likelihood
from vrm.core.likelihoods.ratings import expected_rating_log_likelihood
from vrm.core.likelihoods.votes import dirichlet_multinomial_log_likelihood, expected_vote_log_likelihood
from vrm.core.losses import (
    LossWeights,
    PromptIgnoredWarning,
    marginal_terms,
    variational_terms,
    warn_if_prompt_ignored,
    weighted_loss,
)
from vrm.core.posteriors import Posteriors, RatingModel
from vrm.core.quadrature import MarginGivenWeights, margin_given_weights

NAN = float("nan")
PRIOR = torch.ones(4, dtype=torch.float64)


@pytest.fixture
def judgments() -> Judgments:
    """Three comparisons with ratings of one side, of both with a gap, and of none; votes but for the last."""
    ratings = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    ratings[0, 1] = NAN
    ratings[1, 0, 2] = NAN
    ratings[2] = NAN
    votes = torch.tensor([[1.0, 0, 2, 0], [0, 1, 0, 1], [0, 0, 0, 0]], dtype=torch.float64)
    return Judgments(
        mask=torch.ones(3, 2, dtype=torch.bool),
        preference=torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64),
        margin=torch.tensor([0.0, 0.3, -0.2], dtype=torch.float64),
        ratings=ratings,
        votes=votes,
    )


def _joint_samples(posteriors: Posteriors, judgments: Judgments, number: int) -> Tensor:
    """p(votes, ratings, label | w, z) for draws of w and z from (1) and (2), (number, batch)."""
    w, z = posteriors.weights.rsample(number), posteriors.features.rsample(number)
    votes = torch.stack(
        [
            Multinomial(int(v.sum()), probs=w[:, i]).log_prob(v) if v.sum() > 0 else torch.zeros(number)
            for i, v in enumerate(judgments.votes)
        ],
        -1,
    )
    scores, model = z @ posteriors.decoder.T, posteriors.rating_model
    entries = Normal(model.slope * scores + model.offset, model.scale).log_prob(judgments.ratings.nan_to_num())
    ratings = torch.where(judgments.ratings.isnan(), 0.0, entries).sum((-2, -1))
    u = (w * (scores[:, :, 0] - scores[:, :, 1])).sum(-1) - judgments.margin
    label = logsigmoid(torch.where(judgments.preference == 1, u, -u))
    return (votes + ratings + label).exp()


def test_chain_rule_is_the_likelihood_of_everything_observed(posteriors, judgments, within_standard_errors) -> None:
    joint = _joint_samples(posteriors, judgments, 250_000)
    terms = marginal_terms(posteriors, judgments, PRIOR, num_samples=50_000, num_nodes=32)
    within_standard_errors(joint, (terms.votes + terms.ratings + terms.comparison).exp())


def test_conditioning_matters_for_the_label(posteriors, judgments) -> None:
    """The label term under w | v and z | rho is not the one under (1) and (2)."""
    plain = Judgments(judgments.mask, preference=judgments.preference, margin=judgments.margin)
    given = marginal_terms(posteriors, judgments, PRIOR, num_samples=20_000).comparison
    alone = marginal_terms(posteriors, plain, PRIOR, num_samples=20_000).comparison
    assert ((given - alone).abs()[:2] > 0.05).all()
    assert (given - alone).abs()[2] < 0.02


def test_marginal_of_labels_is_a_log_of_a_mean_and_variational_a_mean_of_logs(posteriors, judgments) -> None:
    only = Judgments(judgments.mask, preference=judgments.preference, margin=judgments.margin)
    marginal = marginal_terms(posteriors, only, PRIOR, num_samples=50_000).comparison
    variational = variational_terms(posteriors, only, PRIOR, num_samples=50_000).comparison
    assert (marginal > variational + 1e-3).all()


def test_variational_terms_are_their_expectations(posteriors, judgments) -> None:
    terms = variational_terms(posteriors, judgments, PRIOR)
    entries = expected_rating_log_likelihood(
        judgments.ratings, posteriors.features, posteriors.decoder, posteriors.rating_model
    )
    torch.testing.assert_close(terms.ratings, torch.stack([entries[0].sum() / 4, entries[1].sum() / 7, PRIOR[0] * 0]))
    torch.testing.assert_close(terms.votes, expected_vote_log_likelihood(judgments.votes, posteriors.weights))
    torch.testing.assert_close(terms.kl_weights, kl_objective_weights(posteriors.weights, PRIOR))
    torch.testing.assert_close(terms.kl_features, kl_semantic_features(posteriors.features).sum(-1))
    assert terms.ranking.tolist() == [0, 0, 0]


def test_rows_are_independent_of_the_rest_of_the_batch(posteriors, judgments) -> None:
    """Conditioning only the rated completions must give each row what it gets alone."""
    whole = marginal_terms(posteriors, judgments, PRIOR, num_samples=100_000)
    for row in range(3):
        one = slice(row, row + 1)
        alone = marginal_terms(
            Posteriors(
                ObjectiveWeights.from_concentration(posteriors.weights.concentration[one]),
                SemanticFeatures(posteriors.features.loc[one], posteriors.features.variance[one]),
                posteriors.decoder,
                posteriors.rating_model,
            ),
            Judgments(
                judgments.mask[one],
                preference=judgments.preference[one],
                margin=judgments.margin[one],
                ratings=judgments.ratings[one],
                votes=judgments.votes[one],
            ),
            PRIOR,
            num_samples=100_000,
        )
        torch.testing.assert_close(alone.ratings, whole.ratings[one])
        torch.testing.assert_close(alone.votes, whole.votes[one])
        torch.testing.assert_close(alone.comparison, whole.comparison[one], rtol=0, atol=0.01)


def test_no_ratings_at_all_is_as_if_none_were_given(posteriors, judgments) -> None:
    empty = Judgments(judgments.mask, preference=judgments.preference, ratings=torch.full_like(judgments.ratings, NAN))
    terms = marginal_terms(posteriors, empty, PRIOR)
    assert terms.ratings.tolist() == [0, 0, 0]


def test_ranked_lists_match_monte_carlo_of_z(posteriors, within_standard_errors) -> None:
    loc = torch.randn(3, 3, 3).double()
    variance = torch.rand(3, 3, 3).double()
    listed = Posteriors(
        posteriors.weights, SemanticFeatures(loc, variance), posteriors.decoder, posteriors.rating_model
    )
    scores = torch.tensor([[3.0, 1, 2], [1, 1, 2], [2, 1, NAN]]).double()
    mask = torch.tensor([[True] * 3, [True] * 3, [True, True, False]])
    judged = Judgments(mask, scores=scores)
    w, z = listed.weights.rsample(400_000), listed.features.rsample(400_000)
    rewards = ((w @ listed.decoder).unsqueeze(-2) * z).sum(-1)
    log_p = plackett_luce_log_likelihood(rewards, scores.nan_to_num(), mask & ~scores.isnan())
    actual = marginal_terms(listed, judged, PRIOR, num_samples=50_000).ranking
    within_standard_errors(log_p.exp(), actual.exp())
    within_standard_errors(log_p, variational_terms(listed, judged, PRIOR, num_samples=50_000).ranking)


def test_ranked_pairs_and_comparisons_agree(posteriors) -> None:
    mask = torch.ones(3, 2, dtype=torch.bool)
    pairs = Judgments(mask, preference=torch.tensor([1.0, 0, 1]).double())
    lists = Judgments(mask, scores=torch.tensor([[2.0, 1], [0, 5], [1, -1]]).double())
    for loss in (marginal_terms, variational_terms):
        comparison = loss(posteriors, pairs, PRIOR, num_samples=50_000).comparison
        ranking = loss(posteriors, lists, PRIOR, num_samples=50_000).ranking
        torch.testing.assert_close(ranking, comparison, rtol=0, atol=0.02)


def test_both_losses_agree_on_deterministic_heads(judgments) -> None:
    loc, decoder = torch.randn(3, 2, 3).double(), torch.randn(4, 3).double()
    model = RatingModel(torch.tensor(1.0).double(), torch.zeros(4).double(), torch.ones(4).double())
    features = SemanticFeatures(loc, torch.zeros_like(loc))
    head = Posteriors(ObjectiveWeights(torch.rand(3, 4).double().softmax(-1)), features, decoder, model)
    first, second = marginal_terms(head, judgments, PRIOR), variational_terms(head, judgments, PRIOR)
    torch.testing.assert_close(first.comparison, second.comparison, rtol=0, atol=1e-6)
    u = (head.weights.mean * ((loc[:, 0] - loc[:, 1]) @ decoder.T)).sum(-1) - judgments.margin
    expected = logsigmoid(torch.where(judgments.preference == 1, u, -u))
    torch.testing.assert_close(first.comparison, expected, rtol=0, atol=1e-6)
    assert first.kl_weights.tolist() == first.kl_features.tolist() == [0, 0, 0]
    torch.testing.assert_close(first.votes, dirichlet_multinomial_log_likelihood(judgments.votes, head.weights))
    observed = (~judgments.ratings.isnan()).sum((-2, -1))
    torch.testing.assert_close(first.ratings, second.ratings * observed)


def test_prompt_only_judgments(posteriors) -> None:
    """Votes without completions train the weights and nothing else."""
    features = SemanticFeatures(torch.randn(3, 1, 3).double(), torch.ones(3, 1, 3).double())
    head = Posteriors(posteriors.weights, features, posteriors.decoder, posteriors.rating_model)
    judged = Judgments(torch.zeros(3, 1, dtype=torch.bool), votes=torch.eye(4)[:3].double())
    for loss in (marginal_terms, variational_terms):
        terms = loss(head, judged, PRIOR)
        assert terms.comparison.tolist() == terms.kl_features.tolist() == terms.ratings.tolist() == [0, 0, 0]
        assert (terms.votes < 0).all()


@pytest.mark.parametrize("loss", [marginal_terms, variational_terms])
def test_gradcheck_of_everything_but_the_draws(posteriors, judgments, loss) -> None:
    """With a point mass for w no draw is made, so every term is a smooth function of the rest."""
    model, features = posteriors.rating_model, posteriors.features
    leaves = [features.loc, features.variance, posteriors.decoder, model.slope, model.offset, model.scale]

    def total(loc, variance, decoder, slope, offset, scale, logits):
        head = Posteriors(
            ObjectiveWeights(logits.softmax(-1)),
            SemanticFeatures(loc, variance),
            decoder,
            RatingModel(slope, offset, scale),
        )
        return weighted_loss(loss(head, judgments, PRIOR), LossWeights(beta_features=0.3)).loss

    inputs = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    inputs.append(torch.randn(3, 4, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(total, inputs)


def test_gradient_through_the_draws_is_that_of_the_expected_comparison(posteriors, judgments) -> None:
    """d E[log p] / d alpha by pathwise samples against the score function's identity."""
    only = Judgments(judgments.mask, preference=judgments.preference)
    alpha = posteriors.weights.concentration.clone().requires_grad_()
    head = Posteriors(
        ObjectiveWeights.from_concentration(alpha), posteriors.features, posteriors.decoder, posteriors.rating_model
    )
    pathwise = []
    for _ in range(20):
        value = variational_terms(head, only, PRIOR, num_samples=4_000).comparison.sum()
        pathwise.append(torch.autograd.grad(value, alpha)[0])
    samples = torch.stack(pathwise)
    w = head.weights.rsample(200_000).detach()
    first, second = head.features.completion(0), head.features.completion(1)
    margins = margin_given_weights(w, first, second, head.decoder)
    label = judgments.preference
    values = torch.stack(
        [
            expected_comparison(
                MarginGivenWeights(margins.mean[i : i + 50_000], margins.variance[i : i + 50_000]), label
            )
            for i in range(0, 200_000, 50_000)
        ]
    ).mean(0)
    points, log_weights = margins.nodes()
    signed = torch.where(label.unsqueeze(-1) == 1, points, -points)
    log_p = (logsigmoid(signed) * log_weights.exp()).sum(-1)
    score = w.log() - (alpha.digamma() - alpha.sum(-1, keepdim=True).digamma()).detach()
    estimate = (log_p - values).unsqueeze(-1) * score
    error = (samples.var(0) / len(samples) + estimate.var(0) / estimate.shape[0]).sqrt()
    assert ((samples.mean(0) - estimate.mean(0)).abs() < 4 * error).all()


@pytest.mark.parametrize("loss", [marginal_terms, variational_terms])
@pytest.mark.parametrize("log_total", [-1e3, math.log(1e-2), 0.0, math.log(1e4), 1e3])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_finite_in_float32_over_the_whole_range_of_heads(loss, log_total: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(3)

    def leaf(*shape: int, by: float = 1.0) -> Tensor:
        return (by * torch.randn(*shape, generator=generator)).requires_grad_()

    logits, total = leaf(64, 4, by=5.0), torch.full((64,), log_total, requires_grad=True)
    loc, log_variance, decoder = leaf(64, 2, 3, by=scale), leaf(64, 2, 3, by=3.0), leaf(4, 3)
    slope, offset = torch.ones((), requires_grad=True), leaf(4)
    log_scale = torch.full((4,), math.log(0.1), requires_grad=True)
    ratings = torch.randn(64, 2, 4, generator=generator)
    ratings[:20] = NAN
    judged = Judgments(
        torch.ones(64, 2, dtype=torch.bool),
        preference=torch.rand(64, generator=generator).round(decimals=1),
        scores=torch.randn(64, 2, generator=generator),
        ratings=ratings,
        votes=torch.rand(64, 4, generator=generator),
    )
    head = Posteriors(
        ObjectiveWeights.from_concentration(concentration_from_logits(logits, total)),
        SemanticFeatures(loc, log_variance.exp()),
        decoder,
        RatingModel(slope, offset, log_scale.exp()),
    )
    terms = loss(head, judged, torch.ones(4))
    result = weighted_loss(terms, LossWeights(beta_weights=0.1, beta_features=0.1)).loss
    result.sum().backward()
    assert result.dtype == torch.float32
    for name, term in terms.as_dict().items():
        assert torch.isfinite(term).all(), name
    for name, value in {"logits": logits, "total": total, "loc": loc, "log_variance": log_variance}.items():
        assert torch.isfinite(value.grad).all(), name
    assert torch.isfinite(decoder.grad).all()
    assert torch.isfinite(slope.grad)
    assert torch.isfinite(log_scale.grad).all()


class TestWarning:
    def test_fires_under_the_threshold_and_names_the_value(self) -> None:
        with pytest.warns(PromptIgnoredWarning, match=r"0\.0042 nats"):
            assert warn_if_prompt_ignored(0.0042)

    def test_is_silent_above_it(self) -> None:
        # Warnings of this kind are errors in this suite, so silence is checked by getting here.
        assert not warn_if_prompt_ignored(0.01)
