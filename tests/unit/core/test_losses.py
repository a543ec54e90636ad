"""Shapes, masks and names of the loss terms; their values are checked in tests/numerics."""

import copy
import dataclasses

import pytest
import torch

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.likelihoods import LIKELIHOODS
from vrm.core.likelihoods.base import Judgments
from vrm.core.losses import LossTerms, LossWeights, marginal_terms, variational_terms, weighted_loss
from vrm.core.posteriors import Posteriors, RatingModel

NAN = float("nan")
BATCH, SIDES, OBJECTIVES, FEATURES = 5, 3, 4, 2


@pytest.fixture
def head() -> Posteriors:
    torch.manual_seed(0)
    return Posteriors(
        ObjectiveWeights.from_concentration(torch.rand(BATCH, OBJECTIVES) + 0.5),
        SemanticFeatures(torch.randn(BATCH, SIDES, FEATURES), torch.rand(BATCH, SIDES, FEATURES) + 0.1),
        torch.randn(OBJECTIVES, FEATURES),
        RatingModel(torch.tensor(1.0), torch.zeros(OBJECTIVES), torch.ones(OBJECTIVES)),
    )


@pytest.fixture
def mixed() -> Judgments:
    """One row of each kind: comparison, ranked list, ratings, votes, nothing."""
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]).bool()
    scores = torch.full((BATCH, SIDES), NAN)
    scores[1] = torch.tensor([1.0, 2.0, 0.0])
    ratings = torch.full((BATCH, SIDES, OBJECTIVES), NAN)
    ratings[2, 0, :2] = 0.5
    votes = torch.zeros(BATCH, OBJECTIVES)
    votes[3, 1] = 1.0
    return Judgments(
        mask, preference=torch.tensor([1.0, NAN, NAN, NAN, NAN]), scores=scores, ratings=ratings, votes=votes
    )


@pytest.mark.parametrize("loss", [variational_terms, marginal_terms])
def test_each_row_has_the_terms_of_its_kind_and_no_other(head, mixed, loss) -> None:
    terms = loss(head, mixed, torch.ones(OBJECTIVES)).as_dict()
    for row, name in enumerate(["comparison", "ranking", "ratings", "votes", None]):
        for other in ("comparison", "ranking", "ratings", "votes"):
            assert terms[other].shape == (BATCH,)
            assert (terms[other][row] != 0) == (other == name), (row, other)
    assert (terms["kl_weights"] > 0).all()
    assert (terms["kl_features"] > 0).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("loss", [variational_terms, marginal_terms])
def test_gradients_reach_every_parameter_and_are_finite(head, mixed, loss) -> None:
    leaves = [head.weights.concentration, head.features.loc, head.features.variance, head.decoder]
    for leaf in leaves:
        leaf.requires_grad_()
    rebuilt = dataclasses.replace(head, weights=ObjectiveWeights.from_concentration(leaves[0]))
    weighted_loss(loss(rebuilt, mixed, torch.ones(OBJECTIVES)), LossWeights()).loss.sum().backward()
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad != 0).any()


def test_feature_kl_counts_existing_completions_only(head) -> None:
    mask = torch.zeros(BATCH, SIDES, dtype=torch.bool)
    mask[:, 0] = True
    one = variational_terms(head, Judgments(mask), torch.ones(OBJECTIVES)).kl_features
    every = variational_terms(head, Judgments(~mask | mask), torch.ones(OBJECTIVES)).kl_features
    assert (one < every).all()


def test_weights_meet_raw_terms_in_one_place_with_their_signs() -> None:
    kinds = ("comparison", "ranking", "ratings", "votes")
    names = (*kinds, "kl_weights", "kl_features")
    values = {name: torch.full((2,), float(number)) for number, name in enumerate(names, 1)}
    terms = LossTerms({name: values[name] for name in kinds}, values["kl_weights"], values["kl_features"])
    result = weighted_loss(terms, LossWeights({"ratings": 0.5, "votes": 2.0}, beta_weights=0.1, beta_features=0.01))
    expected = {
        "comparison": -1.0,
        "ranking": -2.0,
        "ratings": -1.5,
        "votes": -8.0,
        "kl_weights": 0.5,
        "kl_features": 0.06,
    }
    assert {name: part[0].item() for name, part in result.parts.items()} == pytest.approx(expected)
    torch.testing.assert_close(result.loss, torch.full((2,), sum(expected.values())))
    assert terms.as_dict() == values


def test_margins_move_the_comparison(head) -> None:
    mask, preference = torch.ones(BATCH, SIDES, dtype=torch.bool), torch.ones(BATCH)
    plain = variational_terms(head, Judgments(mask, preference=preference), torch.ones(OBJECTIVES), 2000)
    harder = variational_terms(
        head, Judgments(mask, preference=preference, margin=torch.full((BATCH,), 3.0)), torch.ones(OBJECTIVES), 2000
    )
    assert (harder.comparison < plain.comparison).all()


def test_kinds_are_read_off_the_data() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    judged = Judgments(mask, preference=torch.tensor([0.5, NAN]), scores=torch.tensor([[1.0, 1.0], [1.0, 2.0]]))
    for name in ("comparison", "ranking"):
        assert LIKELIHOODS[name].observed(judged).tolist() == [True, False]
        assert LIKELIHOODS[name].observed(Judgments(mask)).tolist() == [False, False]


def test_labels_and_terms_are_attributes_too(head, mixed) -> None:
    terms = variational_terms(head, mixed, torch.ones(OBJECTIVES))
    assert terms.votes is terms.log_likelihoods["votes"]
    assert mixed.votes is mixed.labels["votes"]
    for holder in (terms, mixed):
        assert not hasattr(holder, "best_worst")
        assert copy.copy(holder).votes is holder.votes
