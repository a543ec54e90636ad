from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import MultivariateNormal, Normal

from vrm.core.posteriors import Posteriors
from vrm.core.predictive import log_probabilities
from vrm.data.schema import Judgment
from vrm.evaluate.collect import collect
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.steering import Steering
from vrm.metrics import ResampleOptions
from vrm.model import load_model

FLOAT32 = ExtractionOptions(precision="float32")
WORDS = ["the", "good", "bad", "safe", "unsafe", "plan", "water", "city", "story", "help", "please", "no", "yes"]
RATING_MEAN, RATING_STD = {"helpfulness": 3.0, "safety": 2.0}, {"helpfulness": 1.5, "safety": 0.5}


def text(seed, length):
    return " ".join(np.random.default_rng(seed).choice(WORDS, length))


PAIRS = [
    Judgment(
        text(n % 20, 4), [text(100 + n, 2 + n % 5), text(200 + n, 2 + n % 3)],
        preference=(1.0, 0.0, 0.5, 0.8)[n % 4], source=("a", "b")[n % 2], category=("x", "y", "z")[n % 3],
    )
    for n in range(36)
]  # fmt: skip
LISTS = [
    Judgment(text(n, 4), [text(300 + 3 * n + k, 3 + k) for k in range(3)], scores=[2.0, 1.0, 1.0]) for n in range(4)
]
RATED = [
    Judgment(
        text(n, 5), [text(400 + n, 3), text(500 + n, 4)],
        ratings=[{"helpfulness": 1.0 + n % 5, "safety": 2.5 - n % 2}, {"helpfulness": 4.0 - n % 3}],
    )
    for n in range(12)
]  # fmt: skip
VOTED = [
    Judgment(text(600 + n, 5), objective_votes={"safety": 1.0 + n % 3, ("brevity", "helpfulness")[n % 2]: 1.0})
    for n in range(10)
]


@pytest.fixture(scope="module", params=["vrm", "gated"])
def engine(request, make_tiny_model):
    directory = make_tiny_model(
        request.param,
        rating_mean=RATING_MEAN,
        rating_std=RATING_STD,
        objectives_with_ratings=["helpfulness", "safety"],
    )
    return RewardEngine(*load_model(directory), FLOAT32)


def evaluate(engine, rows, **more):
    return evaluate_judgments(engine, rows, ResampleOptions(resamples=50), **more)


def test_pairs_against_a_direct_computation(engine):
    found = evaluate(engine, PAIRS)
    batch = engine.judge(PAIRS)
    posteriors = batch.posteriors
    first, second = posteriors.features.completion(0), posteriors.features.completion(1)
    log_first, log_second = (
        value.double().numpy() for value in log_probabilities(posteriors.weights, first, second, posteriors.decoder)
    )
    margin = (batch.moments.mean[:, 0] - batch.moments.mean[:, 1]).numpy()
    label = np.array([row.preference for row in PAIRS])
    decided = label != 0.5
    right = (margin > 0) == (label > 0.5)
    assert found.pairs.count == 36
    assert found.pairs.ties == 9
    assert found.pairs.accuracy.estimate == pytest.approx(right[decided].mean())
    assert found.pairs.accuracy.low <= found.pairs.accuracy.estimate <= found.pairs.accuracy.high
    nll = -(label * log_first + (1 - label) * log_second).mean()
    assert found.pairs.negative_log_likelihood == pytest.approx(nll, abs=1e-6)
    assert found.pairs.brier == pytest.approx(((np.exp(log_first) - label) ** 2).mean(), abs=1e-6)
    longer = [len(row.completions[0]) - len(row.completions[1]) for row in PAIRS]
    credit = [
        0.5 if d == 0 else float((d > 0) == (value > 0.5))
        for d, value in zip(longer, label, strict=True)
        if value != 0.5
    ]
    assert found.pairs.longer_wins.value == pytest.approx(np.mean(credit))
    assert found.pairs.prompts == 20


def test_groups_are_the_same_metrics_of_their_rows(engine):
    found = evaluate(engine, PAIRS)
    assert set(found.by_source) == {"a", "b"}
    assert set(found.by_category) == {"x", "y", "z"}
    alone = evaluate(engine, [row for row in PAIRS if row.source == "b"])
    assert found.by_source["b"].negative_log_likelihood == pytest.approx(alone.pairs.negative_log_likelihood, abs=1e-6)
    assert found.by_source["b"].accuracy.estimate == pytest.approx(alone.pairs.accuracy.estimate)
    assert sum(group.count for group in found.by_category.values()) == 36


def test_every_pair_of_a_ranked_list_counts(engine):
    found = evaluate(engine, [*PAIRS[:4], *LISTS])
    assert found.pairs_from_lists == 12
    assert found.pairs.count == 16
    # The last two of a list are level: a tie each, beside the one of the pairs.
    assert found.pairs.ties == 5
    as_pairs = [
        Judgment(row.prompt, [row.completions[a], row.completions[b]], preference=label)
        for row in LISTS
        for a, b, label in ((0, 1, 1.0), (0, 2, 1.0), (1, 2, 0.5))
    ]
    expected = evaluate(engine, [*PAIRS[:4], *as_pairs]).pairs
    assert found.pairs.negative_log_likelihood == pytest.approx(expected.negative_log_likelihood, abs=1e-5)
    assert found.pairs.accuracy.estimate == pytest.approx(expected.accuracy.estimate)


def standardized(name, value):
    return (value - RATING_MEAN[name]) / RATING_STD[name]


def test_ratings_against_a_direct_computation(engine):
    found = evaluate(engine, RATED).ratings
    batch = engine.judge(RATED)
    model, features, decoder = batch.posteriors.rating_model, batch.posteriors.features, batch.posteriors.decoder
    names = list(batch.objectives)
    rows = {name: [] for name in RATING_MEAN}
    total = 0.0
    for index, row in enumerate(RATED):
        for side, rated in enumerate(row.ratings):
            columns = [names.index(name) for name in rated]
            observed = torch.tensor([standardized(name, value) for name, value in rated.items()], dtype=torch.float64)
            part = decoder[columns].double()
            loc = model.slope.double() * part @ features.loc[index, side].double() + model.offset[columns].double()
            noise = torch.diag(model.scale[columns].double() ** 2)
            spread = model.slope.double() ** 2 * part @ torch.diag(features.variance[index, side].double()) @ part.T
            total += float(MultivariateNormal(loc, spread + noise).log_prob(observed))
            for name, predicted, value in zip(rated, loc.tolist(), observed.tolist(), strict=True):
                rows[name].append((predicted, value))
    assert found.count == 36
    assert found.log_likelihood == pytest.approx(total / 36, abs=1e-4)
    everything = torch.tensor([value for table in rows.values() for _, value in table])
    assert found.log_likelihood_standard_normal == pytest.approx(float(Normal(0.0, 1.0).log_prob(everything).mean()))
    for name, table in rows.items():
        predicted, value = zip(*table, strict=True)
        assert found.pearson[name] == pytest.approx(stats.pearsonr(predicted, value).statistic, abs=1e-4)
        assert found.spearman[name] == pytest.approx(stats.spearmanr(predicted, value).statistic, abs=1e-6)


def test_votes_against_a_direct_computation(engine):
    found = evaluate(engine, VOTED).votes
    batch = engine.judge(VOTED)
    names = list(batch.objectives)
    candidates = [names.index(name) for name in ("helpfulness", "safety", "brevity")]
    votes = np.array([[row.objective_votes.get(names[k], 0.0) for k in candidates] for row in VOTED])
    votes = votes / votes.sum(1, keepdims=True)
    mean = batch.posteriors.weights.mean[:, candidates].double().numpy()
    mean = mean / mean.sum(1, keepdims=True)
    assert found.count == 10
    assert found.objectives == ["helpfulness", "safety", "brevity"]
    assert found.pearson == pytest.approx(stats.pearsonr(mean.flatten(), votes.flatten()).statistic, abs=1e-6)
    coefficient = math.lgamma(2.0) - np.array([[math.lgamma(v + 1) for v in row] for row in votes]).sum(1)
    if batch.posteriors.weights.concentration is None:
        expected = coefficient + (votes * np.log(mean)).sum(1)
    else:
        alpha = batch.posteriors.weights.concentration[:, candidates].double().numpy()
        lgamma = np.vectorize(math.lgamma)
        expected = coefficient + lgamma(alpha.sum(1)) - lgamma(alpha.sum(1) + 1)
        expected += (lgamma(alpha + votes) - lgamma(alpha)).sum(1)
    assert found.log_likelihood == pytest.approx(expected.mean(), abs=1e-5)
    base = votes.mean(0)
    assert found.log_likelihood_base_rate == pytest.approx((coefficient + votes @ np.log(base)).mean(), abs=1e-6)
    recalls = [sum(sorted_votes[:2]) for sorted_votes in (v[np.argsort(-m)] for v, m in zip(votes, mean, strict=True))]
    assert found.top_k_recall == pytest.approx(np.mean(recalls))


def test_what_rows_do_not_have_is_none(engine):
    found = evaluate(engine, VOTED)
    assert (found.pairs, found.ratings, found.by_source, found.by_category) == (None, None, {}, {})
    assert found.judgments == 10
    found = evaluate(engine, PAIRS)
    assert (found.ratings, found.votes) == (None, None)


def test_labels_that_the_model_does_not_know_are_counted(engine):
    rows = [
        Judgment("how", ["good", "bad"], 1.0, ratings=[{"brevity": 9.0, "speed": 1.0}, {"safety": 2.0}]),
        Judgment("why", ["good", "no"], 1.0, objective_votes={"speed": 1.0}),
    ]
    found = evaluate(engine, rows)
    # `brevity` is an objective, but no rating of it was trained on: its scale is unknown.
    assert found.unknown_objectives == {"speed": 2, "brevity": 1}
    assert found.ratings.count == 1
    assert found.votes is None


def test_an_objective_that_was_left_out_is_left_out_of_the_labels(engine):
    steered = RewardEngine(engine.model, engine.tokenizer, FLOAT32, steering=Steering({}, ("safety",)))
    found = evaluate(steered, [*PAIRS, *RATED, *VOTED])
    assert set(found.ratings.pearson) == {"helpfulness"}
    assert found.votes.objectives == ["helpfulness", "brevity"]
    assert found.unknown_objectives["safety"] == 12 + 10
    plain = evaluate(engine, PAIRS).pairs
    assert found.pairs.negative_log_likelihood != pytest.approx(plain.negative_log_likelihood, abs=1e-4)


def test_overlong_rows_are_reported(engine):
    engine.reset_report()
    found = evaluate(engine, [*PAIRS, Judgment("how", [" ".join(["good"] * 300), "bad"], preference=1.0)])
    assert found.judgments == 37
    assert found.overlong == "37 rows, limit 128 tokens: 1 completion cut"


def test_predictions_do_not_depend_on_the_window(engine, monkeypatch):
    whole = collect(engine, PAIRS)
    stream = engine.stream
    monkeypatch.setattr(engine, "stream", lambda rows: stream(rows, 5))
    parts = collect(engine, PAIRS)
    assert parts.margin == pytest.approx(whole.margin, abs=1e-5)
    assert parts.log_first == pytest.approx(whole.log_first, abs=1e-5)
    assert parts.prompts == whole.prompts


def test_heads_without_objectives_are_measured_on_pairs_alone(make_tiny_model):
    engine = RewardEngine(*load_model(make_tiny_model("bt")), FLOAT32)
    found = evaluate(engine, [*PAIRS, *RATED, *VOTED])
    assert found.pairs.count == 36
    assert (found.ratings, found.votes) == (None, None)
    assert isinstance(engine.judge(PAIRS).posteriors, Posteriors)
