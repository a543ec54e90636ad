from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vrm.core.predictive import margin_moments
from vrm.data.schema import Judgment
from vrm.data.style import style_measures
from vrm.evaluate.collect import Collected, collect
from vrm.evaluate.diagnostics import (
    MAX_CHARACTERS,
    confident_mistakes,
    disagreement_report,
    reward_spread,
    selective_curves,
    uncertainties,
    weights_by_group,
)
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.metrics import ResampleOptions, selective_accuracy, style_controlled_accuracy, style_log_odds
from vrm.model import load_model

OPTIONS = ResampleOptions(resamples=30)
WORDS = ["the", "good", "bad", "safe", "unsafe", "plan", "water", "city", "story", "help", "please", "no", "yes"]


def text(seed, length):
    return " ".join(np.random.default_rng(seed).choice(WORDS, length))


ROWS = [
    Judgment(
        text(n % 20, 4), [text(100 + n, 2 + n % 5), ("- " if n % 4 else "") + text(200 + n, 2 + n % 3)],
        preference=(1.0, 0.0, 0.5, 0.8)[n % 4], category=("x", None)[n % 2], source="s", line=n + 1,
    )
    for n in range(40)
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(tiny_model_dir):
    return RewardEngine(*load_model(tiny_model_dir), ExtractionOptions(precision="float32"))


@pytest.fixture(scope="module")
def found(engine):
    return collect(engine, ROWS)


def made(labels, margins, weights=None, texts=None, annotators=None):
    """What a model with these margins, and this weight variance beside a feature variance of 1, would have said."""
    weights = weights or [0.5] * len(labels)
    texts = texts or [(f"a{n}", f"b{n}") for n in range(len(labels))]
    annotators = annotators or [None] * len(labels)
    rows = [Judgment(f"p{sorted(pair)}", list(pair), label, annotator=who)
            for pair, label, who in zip(texts, labels, annotators, strict=True)]  # fmt: skip
    return Collected(
        margin=list(margins),
        log_first=[-math.log1p(math.exp(-margin)) for margin in margins],
        log_second=[-math.log1p(math.exp(margin)) for margin in margins],
        pairs=[(row, 0, 1, row.preference) for row in rows],
        variance=[(1.0, weight, 0.0, 0.0) for weight in weights],
    )


def test_variance_and_style_of_each_pair(engine, found):
    batch = engine.judge(ROWS)
    posteriors = batch.posteriors
    sides = posteriors.features.completion(0), posteriors.features.completion(1)
    moments = margin_moments(posteriors.weights, *sides, posteriors.decoder)
    np.testing.assert_allclose(np.sum(found.variance, axis=1), moments.variance, rtol=1e-5)
    np.testing.assert_allclose(np.array(found.variance)[:, 1], moments.weight_variance, rtol=1e-4)
    expected = [np.subtract(*map(style_measures, row.completions)) for row in ROWS]
    np.testing.assert_allclose(found.style, expected)
    assert any(row[1] for row in found.style)


def test_uncertainties_are_those_that_a_head_has(found, make_tiny_model):
    signals = uncertainties(found)
    variance = np.array(found.variance)
    np.testing.assert_allclose(signals["weight_share"], variance[:, 1] / variance.sum(1))
    np.testing.assert_allclose(signals["weight_sd"] ** 2, variance[:, 1])
    np.testing.assert_allclose(signals["total_sd"] ** 2, variance.sum(1))
    available = {}
    for head in ("bt", "bottleneck"):
        other = RewardEngine(*load_model(make_tiny_model(head)), ExtractionOptions(precision="float32"))
        available[head] = sorted(uncertainties(collect(other, ROWS)))
    assert available == {"bt": [], "bottleneck": ["total_sd"]}


def test_curves_are_those_of_their_ranking(found):
    pairs = found.predictions()
    curves = selective_curves(found, pairs, OPTIONS)
    assert list(curves) == ["probability", "margin", "margin_over_sd", "weight_sd", "weight_share"]
    variance = np.array(found.variance)
    rankings = {
        "probability": np.maximum(pairs.probability, 1 - pairs.probability),
        "margin_over_sd": abs(np.array(found.margin)) / np.sqrt(variance.sum(1)),
        "weight_share": -variance[:, 1] / variance.sum(1),
    }
    for name, certainty in rankings.items():
        expected = selective_accuracy(pairs.margins, pairs.preference, certainty)
        assert curves[name].accuracy == expected.accuracy
        assert curves[name].area.estimate == pytest.approx(expected.area)
    assert {curve.ties for curve in curves.values()} == {10}
    assert curves["margin"].area.estimate != curves["weight_share"].area.estimate


def test_weights_are_means_over_prompts(engine, found):
    weights = weights_by_group(found, engine.objectives)
    batch = engine.judge(ROWS)
    by_prompt = {row.prompt: mean for row, mean in zip(ROWS, batch.posteriors.weights.mean.tolist(), strict=True)}
    assert weights.by == "category"
    assert weights.objectives == engine.objectives
    assert set(weights.groups) == {"x", "(none)"}
    of_x = np.array([by_prompt[prompt] for prompt in {row.prompt for row in ROWS if row.category == "x"}])
    assert weights.groups["x"].prompts == len(of_x) == 10
    np.testing.assert_allclose(weights.groups["x"].mean, of_x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(weights.groups["x"].std, of_x.std(0), rtol=1e-4)
    assert weights.overall.prompts == 20
    uncategorized = collect(engine, [replace(row, category=None) for row in ROWS])
    assert weights_by_group(uncategorized, engine.objectives).by == "source"
    assert list(weights_by_group(uncategorized, engine.objectives).groups) == ["s"]


def test_reward_spread_by_hand():
    spread = reward_spread(
        Collected(
            [Judgment("a", ["", ""]), Judgment("b", ["", ""]), Judgment("c", [""])], [[1.0, 3.0], [10.0, 14.0], [100.0]]
        ),
        2.5,
    )
    assert spread.completions == 5
    assert spread.std == pytest.approx(np.std([1, 3, 10, 14, 100]))
    assert spread.std_within_prompt == pytest.approx(math.sqrt((1 + 1 + 4 + 4) / 4))
    assert spread.model_std == 2.5
    assert reward_spread(Collected(), 1.0) is None


def test_ties_are_found_by_what_is_larger_there():
    labels = [0.5, 1.0, 0.5, 0.0, 1.0, 0.5]
    margins, weights = [0.1, 2.0, -0.3, -1.0, 0.2, 4.0], [3.0, 0.1, 2.0, 0.2, 2.5, 1.0]
    report = disagreement_report(made(labels, margins, weights), OPTIONS)
    assert report.disagreement is None
    assert (report.pairs, report.judged_repeatedly, report.ties.positives, report.ties.negatives) == (6, 0, 3, 3)
    positive = [label == 0.5 for label in labels]
    expected = {
        "closeness": -np.abs(margins),
        "weight_share": np.array(weights) / (1 + np.array(weights)),
        "weight_sd": weights,
        "total_sd": weights,
    }
    assert set(report.ties.signals) == set(expected)
    for name, signal in expected.items():
        auroc = roc_auc_score(positive, signal)
        assert report.ties.signals[name].auroc.estimate == pytest.approx(auroc)
        over = report.ties.signals[name].over_closeness
        if name == "closeness":
            assert over is None
        else:
            assert over.estimate == pytest.approx(auroc - roc_auc_score(positive, expected["closeness"]))


def test_rows_of_one_pair_are_one_pair_and_may_disagree():
    texts = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("e", "f"), ("g", "h")]
    # The first pair's rows agree once the sides are put in order, the second's contradict each other.
    labels = [1.0, 0.0, 1.0, 1.0, 0.7, 0.5]
    report = disagreement_report(made(labels, [2.0, -2.0, 0.1, -0.1, 0.2, 0.3], None, texts, list("uvuvuu")), OPTIONS)
    assert (report.pairs, report.judged_repeatedly, report.annotators) == (4, 2, 2)
    assert (report.ties.positives, report.ties.negatives) == (1, 3)
    assert (report.disagreement.positives, report.disagreement.negatives) == (3, 1)
    assert report.disagreement.signals["closeness"].auroc.estimate == 1.0


def test_where_all_pairs_are_of_one_kind_nothing_is_reported():
    assert disagreement_report(made([1.0, 0.0], [1.0, 1.0]), OPTIONS) is None
    assert disagreement_report(made([0.5, 0.5], [1.0, 1.0]), OPTIONS) is None
    only_soft = disagreement_report(made([0.8, 1.0], [1.0, 2.0]), OPTIONS)
    assert only_soft.ties is None
    assert only_soft.disagreement.positives == 1


def test_mistakes_are_the_surest_wrong_pairs(engine, found):
    mistakes = confident_mistakes(engine, found, 3)
    label, margin = np.array(found.preference), np.array(found.margin)
    log_preferred = np.where(label > 0.5, found.log_first, found.log_second)
    wrong = [row for row in range(40) if label[row] != 0.5 and (margin[row] > 0) != (label[row] > 0.5)]
    surest = sorted(wrong, key=lambda row: log_preferred[row])[:3]
    assert [mistake.line for mistake in mistakes] == [row + 1 for row in surest]
    for mistake, row in zip(mistakes, surest, strict=True):
        assert mistake.probability == pytest.approx(math.exp(log_preferred[row]))
        assert mistake.probability < 0.5 <= mistake.preference
        assert mistake.margin == pytest.approx(-abs(margin[row]))
        chosen = 0 if label[row] > 0.5 else 1
        assert (mistake.chosen, mistake.rejected) == tuple(ROWS[row].completions[side] for side in (chosen, 1 - chosen))
        pair = mistake.explanation.pairs[0]
        assert (pair.first, pair.second) == ("B", "A")
        assert pair.margin.mean == pytest.approx(abs(margin[row]), abs=1e-4)
        written = mistake.json_fields()["explanation"]
        assert "prompt" not in written
        assert "text" not in written["completions"][0]
    assert confident_mistakes(engine, found, 0) == ()


def test_mistakes_in_lists_are_pairs_and_texts_are_cut(engine):
    rows = [Judgment("how", ["good " * 300, "bad", "no plan"], scores=[1.0, 2.0, 3.0]),
            Judgment("how", ["good " * 300, "bad", "no plan"], scores=[3.0, 2.0, 1.0])]  # fmt: skip
    mistakes = confident_mistakes(engine, collect(engine, rows), 10)
    # Of every pair one order is a mistake; each order is a pair of its own.
    assert len(mistakes) == 3
    cut = [text for mistake in mistakes for text in (mistake.chosen, mistake.rejected) if len(text) > 20]
    assert {len(text) for text in cut} == {MAX_CHARACTERS}
    assert cut[0].endswith("…")
    again = confident_mistakes(engine, collect(engine, rows * 2), 10)
    assert [mistake.margin for mistake in again] == pytest.approx([mistake.margin for mistake in mistakes], abs=1e-5)


def test_the_evaluation_holds_all_of_it(engine, found):
    engine.reset_report()
    evaluation = evaluate_judgments(engine, ROWS, ResampleOptions(resamples=30), mistakes=2)
    assert evaluation.overlong.startswith("40 rows")
    pairs = found.predictions()
    log_odds = style_log_odds(found.style, pairs.preference, pairs.groups)
    expected = style_controlled_accuracy(
        pairs.margins, pairs.preference, log_odds, pairs.groups, options=ResampleOptions(resamples=30)
    )
    assert evaluation.style_controlled.accuracy.accuracy == expected.accuracy
    assert evaluation.style_controlled.regression.count == 30
    assert sum(part.count for part in evaluation.reliability) == 40
    assert evaluation.disagreement.ties.positives == 10
    assert evaluation.disagreement.disagreement.positives == 20
    plain = evaluation.to_dict()
    assert plain["selective"]["probability"]["area"]["low"] <= plain["pairs"]["selective_area"]
    assert plain["selective"]["probability"]["area"]["estimate"] == pytest.approx(plain["pairs"]["selective_area"])
    assert len(plain["mistakes"]) == 2
    assert plain["weights_by_category"]["groups"]["x"]["prompts"] == 10
    assert evaluate_judgments(engine, ROWS, ResampleOptions(resamples=30)).mistakes == ()
