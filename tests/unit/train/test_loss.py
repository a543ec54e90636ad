from __future__ import annotations

import pytest
import torch

from vrm.core.likelihoods.base import Judgments
from vrm.core.losses import LossWeights, marginal_terms, variational_terms
from vrm.data.collate import TargetEncoder
from vrm.model import load_model
from vrm.train.loss import TrainingLoss

WEIGHTS = LossWeights({"ratings": 0.5, "votes": 2.0}, beta_weights=0.1, beta_features=0.2)


@pytest.fixture(scope="module")
def judged(make_tiny_model, rows):
    model, _ = load_model(make_tiny_model("vrm", objectives=["quality", "care"]))
    labels = TargetEncoder(tuple(model.config.objective_names))(rows(6))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 32, generator=generator), torch.randn(6, 2, 32, generator=generator)
    return model(prompt_features=inputs[0], completion_features=inputs[1]), labels, model.score.prior_concentration


@pytest.mark.parametrize(("name", "function"), [("variational", variational_terms), ("marginal", marginal_terms)])
def test_terms_are_those_of_the_core(judged, name, function):
    output, labels, prior = judged
    torch.manual_seed(0)
    terms = TrainingLoss(name, WEIGHTS, num_samples=3, num_nodes=5).terms(output, labels, prior)
    torch.manual_seed(0)
    expected = function(output.posteriors, Judgments(**labels), prior, 3, 5)
    for key, value in terms.as_dict().items():
        assert torch.equal(value, getattr(expected, key)), key
        assert value.shape == (6,)
    assert bool((terms.ratings[1::2] == 0).all())
    assert bool((terms.votes[[0, 3]] != 0).all())
    assert bool((terms.votes[[1, 2, 4, 5]] == 0).all())


def test_the_loss_is_the_weighted_sum_and_terms_stay_raw(judged):
    output, labels, prior = judged
    training_loss = TrainingLoss("variational", WEIGHTS)
    terms = training_loss.terms(output, labels, prior)
    weighted = training_loss.loss(terms)
    expected = (
        -terms.comparison
        - terms.ranking
        - 0.5 * terms.ratings
        - 2.0 * terms.votes
        + 0.1 * terms.kl_weights
        + 0.2 * terms.kl_features
    )
    assert torch.allclose(weighted.loss, expected)
    assert torch.allclose(weighted.parts["kl_features"], 0.2 * terms.kl_features)


@pytest.mark.parametrize(
    ("warmup", "progress", "share"),
    [(0.5, 0.0, 0.0), (0.5, 0.25, 0.5), (0.5, 0.5, 1.0), (0.5, 0.9, 1.0), (0.0, 0.0, 1.0), (1.0, 0.3, 0.3)],
)
def test_only_the_coefficients_of_the_kls_warm_up(warmup, progress, share):
    weights = TrainingLoss(weights=WEIGHTS, kl_warmup=warmup).weights_at(progress)
    assert weights.beta_weights == pytest.approx(0.1 * share)
    assert weights.beta_features == pytest.approx(0.2 * share)
    assert weights.likelihoods == {"ratings": 0.5, "votes": 2.0}
