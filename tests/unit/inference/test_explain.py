"""Explanations against the engine's own numbers, closed forms and samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from scipy import stats

from vrm.core.predictive import log_probabilities, margin_moments
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain, explain_row, label, mixture_quantiles
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.identifiability import NO_INTERVALS, ONE_RATER, identifiability
from vrm.inference.steering import Steering
from vrm.model import load_model
from vrm.wire.explanation import reasons_in_words

ROW = Judgment(
    "How do I plan a city trip?", ["Start with the water.", "No thanks, sorry.", "Ask the doctor: is it safe?"]
)


def engine_of(directory: Path, steering: Steering | None = None) -> RewardEngine:
    return RewardEngine.from_pretrained(directory, options=ExtractionOptions(precision="float32"), steering=steering)


@pytest.fixture(scope="module")
def engine(tiny_model_dir):
    return engine_of(tiny_model_dir)


@pytest.fixture(scope="module")
def explanation(engine):
    return explain(engine, ROW)


def test_contributions_sum_to_the_reward_that_the_engine_gives(engine, explanation):
    rewards = engine.judge([ROW]).moments
    for position, report in enumerate(explanation.completions):
        assert sum(report.contributions.values()) == pytest.approx(float(rewards.mean[0, position]), abs=1e-5)
        assert report.reward.mean == pytest.approx(float(rewards.mean[0, position]), abs=1e-5)
        assert report.reward_std == pytest.approx(float(rewards.std[0, position]), abs=1e-5)
        assert report.standardized_reward.mean == pytest.approx((report.reward.mean - 0.25) / 1.5)


def test_pairs_carry_the_probability_and_moments_of_the_core(engine, explanation):
    posteriors = engine.judge([ROW]).posteriors
    position = {report.label: index for index, report in enumerate(explanation.completions)}
    assert [{pair.first, pair.second} for pair in explanation.pairs] == [{"A", "B"}, {"A", "C"}, {"B", "C"}]
    for pair in explanation.pairs:
        a, b = (posteriors.features.completion(position[name]) for name in (pair.first, pair.second))
        log_first, _ = log_probabilities(posteriors.weights, a, b, posteriors.decoder)
        moments = margin_moments(posteriors.weights, a, b, posteriors.decoder)
        assert pair.probability == pytest.approx(float(log_first.exp()), abs=1e-5)
        assert pair.probability >= 0.5
        assert sum(pair.contributions.values()) == pytest.approx(float(moments.mean), abs=1e-5)
        assert pair.uncertainty.variance == pytest.approx(float(moments.variance), rel=1e-4)
        assert pair.uncertainty.weights == pytest.approx(float(moments.weight_variance), rel=1e-4)
        assert sum(pair.uncertainty.shares.values()) == pytest.approx(1.0)


def test_rounding_that_favours_the_second_in_either_order_ends(engine, monkeypatch):
    half = torch.full((1,), 0.5).log()
    monkeypatch.setattr("vrm.inference.explain.log_probabilities", lambda *_: (half - 1e-7, half))
    (pair,) = explain(engine, Judgment("How?", ["Start with the water.", "No thanks."])).pairs
    assert (pair.first, pair.second) == ("B", "A")
    assert pair.probability == pytest.approx(0.5)


def test_weight_intervals_are_those_of_the_marginal_beta(explanation):
    for report in explanation.weights:
        marginal = stats.beta(report.concentration, explanation.total_concentration - report.concentration)
        assert report.weight.low == pytest.approx(marginal.ppf(0.05), abs=0.02)
        assert report.weight.high == pytest.approx(marginal.ppf(0.95), abs=0.02)
        assert report.weight.mean == pytest.approx(marginal.mean(), abs=1e-6)


def test_reward_intervals_hold_nine_tenths_of_sampled_rewards(engine, explanation):
    posteriors = engine.judge([ROW]).posteriors
    with torch.random.fork_rng():
        torch.manual_seed(3)
        weights = posteriors.weights.rsample(40_000)[:, 0]
        features = posteriors.features.rsample(40_000)[:, 0]
    rewards = torch.einsum("sk,kd,scd->sc", weights, posteriors.decoder, features)
    for position, report in enumerate(explanation.completions):
        inside = (rewards[:, position] > report.reward.low) & (rewards[:, position] < report.reward.high)
        assert float(inside.float().mean()) == pytest.approx(0.9, abs=0.01)
        assert float((rewards[:, position] < report.reward.low).float().mean()) == pytest.approx(0.05, abs=0.01)


def test_mixture_quantiles_of_one_gaussian_two_apart_and_a_point():
    low, high = mixture_quantiles(torch.tensor([1.0]).double(), torch.tensor([4.0]).double(), 0.9)
    assert (low, high) == pytest.approx((1 - 2 * 1.644854, 1 + 2 * 1.644854), abs=1e-5)
    apart = torch.tensor([-100.0, 100.0]).double(), torch.ones(2).double()
    assert mixture_quantiles(*apart, 0.5) == pytest.approx((-100.0, 100.0), abs=1e-4)
    assert mixture_quantiles(torch.tensor([2.5]).double(), torch.zeros(1).double(), 0.9) == pytest.approx((2.5, 2.5))


def test_a_row_is_explained_the_same_whatever_batch_it_is_in(engine, explanation):
    others = [Judgment("What is a good story?", ["The city.", "A long one, with water in it."])]
    in_batch = explain_row(engine.judge([*others, ROW]), 1, engine.model)
    assert [report.reward.low for report in in_batch.completions] == pytest.approx(
        [report.reward.low for report in explanation.completions], abs=1e-4
    )
    assert len(in_batch.completions) == 3
    assert len(explain_row(engine.judge([*others, ROW]), 0, engine.model).completions) == 2


def test_emphasis_and_leaving_out_change_the_weights_by_the_book(tiny_model_dir, explanation):
    steered = explain(engine_of(tiny_model_dir, Steering({"safety": 5.0}, ("brevity",))), ROW)
    before = {report.objective: report.concentration for report in explanation.weights}
    after = {report.objective: report.concentration for report in steered.weights}
    expected = {name: value + 5.0 * (name == "safety") for name, value in before.items() if name != "brevity"}
    assert after == pytest.approx(expected, rel=1e-5)
    assert steered.total_concentration == pytest.approx(sum(expected.values()), rel=1e-5)
    assert steered.added_concentration == 5.0
    assert steered.without == ("brevity",)


def test_of_many_completions_the_best_is_compared_with_each_other(engine):
    row = Judgment("Hello", ["yes", "no", "sure thing", "the water is good", "sorry", "why"])
    found = explain(engine, row)
    best = max(found.completions, key=lambda report: report.reward.mean).label
    assert len(found.pairs) == 5
    assert all(best in (pair.first, pair.second) for pair in found.pairs)
    rewards = {report.label: report.reward.mean for report in found.completions}
    others = [rewards[pair.second if pair.first == best else pair.first] for pair in found.pairs]
    assert others == sorted(others, reverse=True)


def test_reasons_are_the_three_largest_in_words():
    contributions = {"safety": 1.2, "brevity": -0.3, "style": 0.1, "depth": 0.05}
    assert reasons_in_words(contributions) == "because of safety +1.20 and style +0.10, in spite of brevity -0.30"
    assert reasons_in_words({"safety": 0.001}) == "for no visible reason"


@pytest.mark.parametrize("head", ["gated", "bottleneck", "mlp", "bt"])
def test_heads_without_weights_or_uncertainty_say_so(make_tiny_model, head):
    found = explain(engine_of(make_tiny_model(head=head)), ROW)
    assert found.total_concentration is None
    assert found.counts_meaning == ""
    assert all(report.weight.low == report.weight.mean == report.weight.high for report in found.weights)
    uncertain = head == "bottleneck"
    assert all((report.uncertainty is not None) == uncertain for report in found.completions)
    assert all((report.reward.high > report.reward.low) == uncertain for report in found.completions)
    if uncertain:
        assert found.pairs[0].uncertainty.shares["features"] == pytest.approx(1.0)
    words = " ".join(found.identifiability.statements)
    assert ("without uncertainty" if head == "gated" else "no weights to read") in words


CASES = [
    ({"num_free_objectives": 0}, "identified", "identified"),
    ({}, "ambiguous", "free objectives can take over"),
    ({"num_free_objectives": 0, "num_features": 2}, "ambiguous", "share 2 independent directions"),
    ({"num_free_objectives": 0, "objectives_with_ratings": ["safety"]}, "ambiguous", "helpfulness, brevity weigh"),
    ({"objectives_with_votes": ["helpfulness", "safety", "brevity"]}, "votes", "which objectives decided"),
    ({"objectives": [], "objectives_with_ratings": [], "num_free_objectives": 3}, "ambiguous", "no objective has"),
]


@pytest.mark.parametrize(("fields", "status", "words"), CASES)
def test_what_can_be_read_into_weights(make_tiny_model, fields, status, words):
    model, _ = load_model(make_tiny_model(**fields))
    found = identifiability(model)
    assert found.status == status
    assert words in " ".join(found.statements)
    assert ("no meaning of their own" in " ".join(found.statements)) == (model.config.num_free_objectives > 0)


INTERVALS = [
    ({}, True, ONE_RATER),
    ({"objectives_with_ratings": []}, False, NO_INTERVALS),
    ({"objectives_with_ratings": [], "objectives_with_votes": ["safety"]}, True, ONE_RATER),
    ({"objectives_with_ratings": [], "learned_disagreement": True}, True, None),
    ({"loss": "staged"}, False, NO_INTERVALS),
    ({"loss": "staged", "learned_disagreement": True}, False, "no intervals of features and weights"),
    ({"loss": "staged", "learned_disagreement": True, "stage_parts": ["feature_variance"]}, True, "of weights:"),
    ({"loss": "staged", "stage_parts": ["concentration", "feature_variance"]}, True, ONE_RATER),
    ({"head": "gated", "objectives_with_ratings": []}, False, ONE_RATER),
    ({"head": "bottleneck", "objectives_with_ratings": []}, False, NO_INTERVALS),
]


@pytest.mark.parametrize(("fields", "shown", "words"), INTERVALS)
def test_intervals_are_shown_where_training_shows_how_wide_they_are(make_tiny_model, fields, shown, words):
    found = identifiability(load_model(make_tiny_model(**fields))[0])
    assert found.intervals == shown
    said = [entry for entry in found.statements if "interval" in entry or "raters differ" in entry]
    assert len(said) == (words is not None)
    assert words is None or words in said[0]


def test_counts_are_pseudo_observations_under_the_marginal_loss_alone(make_tiny_model, explanation):
    assert "pseudo-observations" in explanation.counts_meaning
    assert "not calibrated" in explain(engine_of(make_tiny_model(loss="variational")), ROW).counts_meaning


def test_the_document_is_json_and_holds_shares_and_reasons(explanation):
    document = json.loads(json.dumps(explanation.to_dict(), allow_nan=False))
    assert set(document["pairs"][0]["uncertainty"]["shares"]) == {"features", "weights", "interaction"}
    assert document["pairs"][0]["reasons"] == explanation.pairs[0].reasons
    assert document["completions"][2]["text"] == ROW.completions[2]


def test_overlong_rows_are_noted(tiny_model_dir):
    found = explain(engine_of(tiny_model_dir), Judgment("the water " * 100, ["Yes, sure."]))
    assert found.notes == ("Cut to fit into 128 tokens: prompt.",)
    assert found.pairs == ()


def test_labels():
    assert [label(position) for position in (0, 25, 26, 51, 52, 702)] == ["A", "Z", "AA", "AZ", "BA", "AAA"]
