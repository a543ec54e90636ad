"""Pairs with several raters: what is measured of their votes, and what a model says of them wherever it is asked."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from vrm.cli.explanation_view import print_explanation
from vrm.core.disagreement import REPORTED_NODES, pair_votes
from vrm.data.schema import Judgment
from vrm.evaluate.collect import Collected, VotesOnPairs
from vrm.evaluate.preferences import evaluate_judgments
from vrm.evaluate.several import several_raters
from vrm.evaluate.tables import print_evaluation
from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.identifiability import ONE_RATER
from vrm.inference.rewards import RewardView
from vrm.labels import RaterJudgment
from vrm.metrics import ResampleOptions, share_interval
from vrm.model import load_model
from vrm.results import Kind, read_document, to_text
from vrm.results.evaluation import EvaluationDocument, FileEvaluation

OPTIONS = ResampleOptions(resamples=50)
HEADS = ("vrm", "gated", "bottleneck", "mlp", "bt")


def judged(prompt: str, *votes: float) -> Judgment:
    raters = [RaterJudgment(f"rater {number}", vote) for number, vote in enumerate(votes)]
    return Judgment(prompt, ["the plan is good please", "no bad water"], judgments=raters)


ROWS = [
    judged("how is the plan", 1.0, 1.0, 0.5),
    judged("help the city", 0.0, 1.0),
    judged("story please", 1.0, 1.0, 1.0),
    judged("water", 0.5),
    Judgment("is it safe", ["yes the city is safe", "unsafe"], preference=1.0),
]


@pytest.fixture(scope="module", params=HEADS)
def engine(request, make_tiny_model) -> RewardEngine:
    exact = ExtractionOptions(precision="float32")
    model = make_tiny_model(request.param, models_ties=True, learned_disagreement=True)
    return RewardEngine.from_pretrained(model, options=exact)


def test_the_measures_are_those_of_the_votes():
    votes = VotesOnPairs(
        counts=np.array([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 4.0, 0.0], [1.0, 0.0, 0.0]]),
        joint=np.array([-3.0, -2.0, -1.0, -0.5]),
        share=np.array([-1.0, -0.8, -0.4, -0.2]),
        differ=np.array([0.6, 0.7, 0.2, 0.3]),
        margin=np.array([0.5, 0.0, 1.0, -3.0]),
        prompts=["a", "b", "c", "d"],
    )
    summary = several_raters(Collected(several=[votes]), True, OPTIONS)
    assert (summary.pairs, summary.judgments, summary.ties, summary.decided) == (4, 10, 1, 3)
    assert summary.joint_nll.estimate == pytest.approx(6.5 / 10)
    assert summary.share_nll.estimate == pytest.approx(2.4 / 4)
    assert summary.joint_nll_base_rate == pytest.approx(-0.9 * math.log(0.45) - 0.1 * math.log(0.1))
    assert summary.majority_accuracy.estimate == pytest.approx(1 / 3)
    assert summary.majority_accuracy == share_interval([1.0, 0.0, 0.0], confidence=OPTIONS.confidence)
    assert (summary.disagreement.positives, summary.disagreement.negatives) == (2, 2)
    assert summary.disagreement.signals["disagreement"].auroc.estimate == 1.0
    assert summary.disagreement.signals["closeness"].over_closeness is None
    assert several_raters(Collected(), True, OPTIONS) is None


def test_a_file_is_evaluated_with_every_head_and_written_and_printed(engine, tmp_path):
    evaluation = evaluate_judgments(engine, ROWS, OPTIONS)
    several = evaluation.several_raters
    assert (several.pairs, several.judgments, several.ties, several.models_ties) == (4, 9, 2, True)
    assert evaluation.pairs.count == 5
    batch = engine.judge(ROWS[:4])
    features, posteriors = batch.posteriors.features, batch.posteriors
    sides = features.completion(0), features.completion(1)
    votes = pair_votes(posteriors.weights, *sides, posteriors.decoder, posteriors.tie_threshold, 0.0, *REPORTED_NODES)
    counts = torch.tensor([[2.0, 0.0, 1.0], [1.0, 1.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert several.joint_nll.estimate == pytest.approx(-float(votes.log_likelihood(counts).sum()) / 9, rel=1e-5)
    document = EvaluationDocument(files={"f.jsonl": FileEvaluation(**vars(evaluation))})
    path = Path(tmp_path / "e.json")
    path.write_text(to_text(document), encoding="utf-8")
    assert read_document(path, [Kind.EVALUATION]).files["f.jsonl"].several_raters == several
    console = Console(record=True, width=100)
    print_evaluation(console, evaluation, "f")
    printed = console.export_text()
    assert "Several raters (4 pairs, 9 judgments, 2 of them ties)" in printed
    assert "chance that two raters differ" in printed


def test_an_auroc_that_stands_above_is_not_shown_again(engine):
    evaluation = evaluate_judgments(engine, ROWS[:3], OPTIONS)
    above, several = evaluation.disagreement.disagreement, evaluation.several_raters.disagreement
    assert above.signals["closeness"] == several.signals["closeness"]
    console = Console(record=True, width=200)
    print_evaluation(console, evaluation, "f")
    printed = console.export_text().partition("Several raters")[2]
    assert f"AUROC: {several.positives} pairs on which raters differ, against {several.negatives} other" in printed
    assert "chance that two raters differ" in printed
    assert "closeness, -|margin|" not in printed


def test_without_a_threshold_ties_are_halves_and_the_table_says_so(make_tiny_model):
    engine = RewardEngine.from_pretrained(make_tiny_model("vrm"))
    evaluation = evaluate_judgments(engine, ROWS[:4], OPTIONS)
    assert not evaluation.several_raters.models_ties
    assert evaluation.several_raters.joint_nll_base_rate == pytest.approx(math.log(2))
    console = Console(record=True, width=200)
    print_evaluation(console, evaluation, "f")
    assert "a tie counts as half a vote for either side" in console.export_text()


def test_explanation_server_and_output_of_the_model_say_the_same(engine):
    row = Judgment(ROWS[0].prompt, ["the plan is good please", "no bad water", "story"])
    rewards = next(RewardView(engine.model.config)(engine.judge([row])).rows())
    p_tie, disagreement = rewards.vote_matrices()
    for pair in explain(engine, row).pairs:
        first, second = "ABC".index(pair.first), "ABC".index(pair.second)
        assert p_tie[first][second] == p_tie[second][first] == pytest.approx(pair.p_tie, abs=1e-5)
        assert disagreement[first][second] == pytest.approx(pair.disagreement, abs=1e-5)
        assert 0.0 < pair.p_tie < 1.0
    threshold = float(engine.model.score.tie_threshold().detach())
    itself = math.tanh(threshold / 2)
    assert p_tie[0][0] == pytest.approx(itself, abs=1e-6)
    assert disagreement[1][1] == pytest.approx(1 - itself**2 - (1 - itself) ** 2 / 2, abs=1e-6)
    judged_row = engine.tokenize.whole(row)
    ids = [judged_row.prompt + completion for completion in judged_row.completions[:2]]
    rows = torch.tensor([0, 1])
    width = max(map(len, ids))
    with torch.no_grad():
        output = engine.model(
            input_ids=torch.tensor([row + [0] * (width - len(row)) for row in ids]),
            attention_mask=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids]),
            completion_start=torch.tensor([len(judged_row.prompt)] * 2),
            prompt_rows=rows[:1],
            completion_rows=rows[None],
        )
    assert float(output.votes().share()[0, 2]) == pytest.approx(p_tie[0][1], abs=1e-4)
    assert float(output.votes().disagreement()) == pytest.approx(disagreement[0][1], abs=1e-4)


@pytest.mark.parametrize(
    ("ties", "several", "known"),
    [(False, False, (False, False)), (True, False, (True, False)), (False, True, (True, True))],
)
def test_what_raters_share_is_said_only_where_training_shows_it(make_tiny_model, ties, several, known):
    model = make_tiny_model("vrm", models_ties=ties, learned_disagreement=several)
    engine = RewardEngine.from_pretrained(model)
    p_tie, disagreement = next(RewardView(engine.model.config)(engine.judge([ROWS[0]])).rows()).vote_matrices()
    assert (p_tie is not None, disagreement is not None) == known
    explanation = explain(engine, ROWS[0])
    (pair,) = explanation.pairs
    assert (pair.p_tie is not None, pair.disagreement is not None) == known
    assert (ONE_RATER in explanation.identifiability.statements) == (not several)
    console = Console(record=True, width=200)
    print_explanation(console, explanation)
    printed = console.export_text()
    assert ("two raters differ with probability" in printed) == several
    assert ("calls it a tie with probability" in printed) == ties
    assert (ONE_RATER in printed) == (not several)


@pytest.mark.parametrize("head", HEADS)
def test_checkpoints_keep_the_threshold_and_those_without_have_none(make_tiny_model, tmp_path, head):
    model, _ = load_model(make_tiny_model(head, models_ties=True))
    model.score.start_votes(0.62, None)
    model.save_pretrained(tmp_path / "saved")
    again = type(model).from_pretrained(tmp_path / "saved")
    assert float(again.score.tie_threshold()) == pytest.approx(0.62, rel=1e-5)
    plain, _ = load_model(make_tiny_model(head))
    assert plain.score.tie_threshold() is None
    assert "raw_tie_threshold" not in dict(plain.score.named_parameters())
