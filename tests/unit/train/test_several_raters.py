"""Runs on pairs with several raters: the term, the tie threshold, the metric that chooses the checkpoint."""

from __future__ import annotations

import json
import math
import random

import pytest
import torch

from vrm.core.disagreement import votes_without_texts
from vrm.core.predictive import margin_moments
from vrm.data.schema import Judgment
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.labels import RaterJudgment
from vrm.labels.judgments import vote_counts
from vrm.metrics import ResampleOptions
from vrm.model.checkpoint import load_model
from vrm.train.held_out import compute_preference_metrics
from vrm.train.run import run_training
from vrm.train.setup import build_model


def history(config):
    path = f"{config.output_dir}/history.jsonl"
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def several_raters(pairs: int, seed: int = 0):
    """Pairs whose raters prefer the good plan, tie or err at random."""
    generator = random.Random(seed)
    rows = []
    for number in range(pairs):
        votes = generator.choices([1.0, 0.5, 0.0], [0.6, 0.25, 0.15], k=generator.randint(1, 5))
        raters = [RaterJudgment(f"r{index}", vote) for index, vote in enumerate(votes)]
        texts = ["the plan is good please", "the plan is bad no"]
        rows.append(Judgment(f"how plan {number}", texts, judgments=raters, line=number))
    return rows


@pytest.mark.parametrize("head", ["vrm", "gated", "bt"])
@pytest.mark.parametrize("loss", ["variational", "marginal"])
def test_several_raters_train_in_both_losses_and_choose_the_checkpoint(make_config, run_data, rows, head, loss):
    changes = {"model.head": head, "loss.name": loss, "train.epochs": 6, "train.learning_rate": 0.02}
    config = make_config(changes)
    result = run_training(config, data=run_data([*several_raters(40), *rows(8)], several_raters(12, seed=1)))
    logs = [entry["judgments"] for entry in history(config) if "judgments" in entry]
    assert sum(logs[-6:]) > sum(logs[:6])
    model, _ = load_model(result.model_dir)
    assert model.config.models_ties
    assert model.config.learned_disagreement
    assert 0.05 < float(model.score.tie_threshold()) < 3.0
    engine = RewardEngine.from_pretrained(result.model_dir)
    evaluation = evaluate_judgments(engine, several_raters(12, seed=1), ResampleOptions(resamples=10))
    assert result.metrics["nll"] == pytest.approx(evaluation.several_raters.joint_nll.estimate, rel=0.02)
    assert evaluation.several_raters.joint_nll.estimate < math.log(3)


def test_the_nll_of_several_judgments_is_their_joint_one_a_judgment():
    values = torch.tensor([[1.0, math.log(0.8), math.log(0.2), 0.0], [1.0, math.log(0.6), math.log(0.4), 0.0]])
    several = torch.tensor([[0.0, 0.0], [3.0, -2.4]])
    predictions = (values.numpy(), torch.zeros(2, 1).numpy(), several.numpy())
    metrics = compute_preference_metrics(
        type("P", (), {"predictions": predictions, "label_ids": torch.tensor([1.0, 2 / 3]).numpy()})
    )
    assert metrics["nll"] == pytest.approx((-math.log(0.8) + 2.4) / 4, rel=1e-6)


@pytest.mark.parametrize("head", ["vrm", "gated", "bottleneck", "bt"])
def test_a_run_starts_at_the_variance_that_agreement_asks_for(make_config, run_data, head):
    """V_z of the fresh head against what `votes_without_texts` says; ratings keep their spread."""
    config = make_config({"model.head": head, "model.num_features": 6})
    data = run_data(several_raters(200), several_raters(12, seed=1))
    model, _ = build_model(config, data)
    counts = torch.tensor([vote_counts(row.judgments) for row in data.train])
    threshold, variance = votes_without_texts(counts)
    posteriors = model.eval().score(
        torch.zeros(1, model.config.feature_size), torch.zeros(1, 2, model.config.feature_size)
    )
    first, second = posteriors.features.completion(0), posteriors.features.completion(1)
    moments = margin_moments(posteriors.weights, first, second, posteriors.decoder)
    assert float(posteriors.tie_threshold) == pytest.approx(threshold, rel=1e-4)
    if model.config.has_feature_uncertainty:
        assert float(moments.feature_variance) == pytest.approx(variance, rel=0.3)
        spread = (posteriors.decoder.square() * posteriors.features.variance[0, 0]).sum(-1).mean()
        usual = math.exp(model.config.initial_log_variance)
        if head == "vrm":
            assert 0.3 * usual < float(posteriors.rating_model.slope**2 * spread) < 3 * usual
    else:
        assert float(moments.variance) == 0.0
