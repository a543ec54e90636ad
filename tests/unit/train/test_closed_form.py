"""The head `bayes`: fitted at once, in a whole run, and read by every part that reads heads."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
import torch

from vrm.data.schema import Judgment
from vrm.errors import ConfigError
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.reward_choice import RewardChoice
from vrm.inference.rewards import RewardView
from vrm.labels import RaterJudgment
from vrm.metrics import ResampleOptions
from vrm.model import load_model
from vrm.model.heads.bayes import RandomFeatures
from vrm.train import closed_form
from vrm.train.run import run_training

FLOAT32 = ExtractionOptions("float32")
HEAD = {"model.head": "bayes"}


def with_raters(pairs: int, tie: float, seed: int = 0) -> list[Judgment]:
    """Pairs whose three raters say what the good word tells them, or tie with this chance."""
    generator = random.Random(seed)
    rows = []
    for number in range(pairs):
        right = [1.0 if generator.random() < 0.8 else 0.0 for _ in range(3)]
        votes = [0.5 if generator.random() < tie else vote for vote in right]
        raters = [RaterJudgment(f"r{index}", vote) for index, vote in enumerate(votes)]
        texts = [f"the plan is good {number % 7}", f"the plan is bad {number % 5}"]
        rows.append(Judgment(f"how plan {number}", texts, judgments=raters, line=number))
    return rows


def test_a_run_learns_saves_and_is_loaded(make_config, run_data, rows, capsys):
    config = make_config(HEAD)
    held = rows(24, seed=1)
    result = run_training(config, data=run_data(rows(120), held))
    assert "fitted in closed form to 120 judgments: log evidence -0." in capsys.readouterr().err
    assert result.metrics["accuracy"] > 0.9
    assert result.metrics["nll"] < 0.5
    assert result.summary.parameters["head"] > 0
    history = [json.loads(line) for line in (Path(config.output_dir) / "history.jsonl").read_text().splitlines()]
    assert history[0]["log_evidence"] < 0
    assert history[-1]["eval_nll"] == pytest.approx(result.metrics["nll"])
    engine = RewardEngine.from_pretrained(result.model_dir, options=FLOAT32)
    found = evaluate_judgments(engine, held, ResampleOptions(resamples=10))
    assert found.pairs.negative_log_likelihood == pytest.approx(result.metrics["nll"], abs=1e-5)
    assert found.pairs.accuracy.estimate == pytest.approx(result.metrics["accuracy"])


def test_runs_of_one_seed_are_the_same_and_another_seed_has_other_waves(make_config, run_data, rows):
    def waves(seed, output):
        config = make_config({**HEAD, "seed": seed}, output)
        model, _ = load_model(run_training(config, data=run_data(rows(40), rows(8, seed=1))).model_dir)
        return model.score.state_dict()

    first, again, other = waves(0, "a"), waves(0, "b"), waves(1, "c")
    assert all(torch.equal(values, again[name]) for name, values in first.items())
    assert not torch.equal(first["features.0.frequencies"], other["features.0.frequencies"])


def test_less_is_known_of_texts_unlike_the_training_texts(make_config, run_data, rows):
    result = run_training(make_config(HEAD), data=run_data(rows(200), rows(8, seed=1)))
    engine = RewardEngine.from_pretrained(result.model_dir, options=FLOAT32)
    known = engine.judge(rows(30, seed=5))
    strange = engine.judge(
        [Judgment(f"xyzzy {n}", [f"qwfpg zz {n * 37}", f"kkkk jjj vvv ww {n}"], 1.0) for n in range(30)]
    )
    first, second = torch.zeros(30, dtype=torch.long), torch.ones(30, dtype=torch.long)
    index = torch.arange(30)
    spread = [float(batch.margin_moments(index, first, second).variance.median()) for batch in (known, strange)]
    assert spread[1] > 1.2 * spread[0]


def test_uncertainty_reaches_rewards_and_explanations(make_config, run_data, rows):
    result = run_training(make_config(HEAD), data=run_data(rows(60), rows(8, seed=1)))
    engine = RewardEngine.from_pretrained(result.model_dir, options=FLOAT32)
    judgment = rows(1, seed=3)[0]
    (row,) = RewardView(engine.model.config, RewardChoice(kappa=1.0))(engine.judge([judgment])).rows()
    assert all(
        low == pytest.approx(mean - std, rel=1e-4)
        for low, mean, std in zip(row.pessimistic, row.mean, row.std, strict=True)
    )
    assert min(row.std) > 0
    explanation = explain(engine, judgment)
    (pair,) = explanation.pairs
    assert pair.uncertainty.shares["parameters"] == pytest.approx(1.0)
    assert pair.margin.low < pair.margin.mean < pair.margin.high
    # The pair's variance is not the sum of the completions': both hang on the same parameters.
    batch = engine.judge([judgment])
    doubt = batch.posteriors.features.doubt[0]
    assert pair.uncertainty.variance == pytest.approx(float((doubt[0] - doubt[1]).square().sum()), rel=1e-4)


@pytest.mark.parametrize("tie", [0.0, 0.3])
def test_several_raters_are_counts_and_ties_set_the_threshold(make_config, run_data, tie):
    result = run_training(make_config(HEAD), data=run_data(with_raters(150, tie), with_raters(20, tie, seed=1)))
    model, _ = load_model(result.model_dir)
    threshold = model.score.tie_threshold()
    assert (threshold is not None) == (tie > 0)
    engine = RewardEngine.from_pretrained(result.model_dir, options=FLOAT32)
    evaluation = evaluate_judgments(engine, with_raters(20, tie, seed=1), ResampleOptions(resamples=10))
    assert result.metrics["nll"] == pytest.approx(evaluation.several_raters.joint_nll.estimate, rel=0.02)
    # Every pair has the same two words: what the votes' shares alone tell.
    shares = [share for share in (0.8 * (1 - tie), 0.2 * (1 - tie), tie) if share]
    assert evaluation.several_raters.joint_nll.estimate == pytest.approx(
        -sum(p * math.log(p) for p in shares), abs=0.15
    )
    if threshold is not None:
        votes = engine.judge(with_raters(20, tie, seed=1)).votes(*(torch.full((20,), n) for n in (0, 0, 1)))
        assert float(votes.share()[:, 2].mean()) == pytest.approx(tie, abs=0.08)


def test_ranked_lists_are_fitted(make_config, run_data):
    words = ["good please", "the plan", "bad no"]
    lists = [
        Judgment(
            f"how {n}",
            [f"{words[(n + k) % 3]} {n}" for k in range(3)],
            scores=[float(-((n + k) % 3)) for k in range(3)],
        )
        for n in range(60)
    ]
    result = run_training(make_config(HEAD), data=run_data(lists[:50], lists[50:]))
    engine = RewardEngine.from_pretrained(result.model_dir, options=FLOAT32)
    rewards = engine.judge(lists[50:]).moments.mean
    scores = torch.tensor([row.scores for row in lists[50:]])
    assert float((rewards.argmax(1) == scores.argmax(1)).float().mean()) > 0.9


def test_more_rows_than_choose_the_scales(make_config, run_data, rows, monkeypatch):
    """The posterior is that of all rows: its doubt is smaller than that of the sample alone."""
    monkeypatch.setattr(closed_form, "EVIDENCE_ROWS", 40)
    few = run_training(make_config(HEAD, "few"), data=run_data(rows(40), rows(8, seed=1)))
    many = run_training(make_config(HEAD, "many"), data=run_data(rows(160), rows(8, seed=1)))
    spreads = []
    for result in (few, many):
        engine = RewardEngine.from_pretrained(result.model_dir, options=FLOAT32)
        moments = engine.judge(rows(20, seed=7)).margin_moments(*(torch.full((20,), n) for n in (0, 0, 1)))
        spreads.append(float(moments.mean.abs().mean() / moments.std.mean()))
    assert spreads[1] > 1.2 * spreads[0]


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_backbone_that_is_tuned_is_refused(make_config, run_data, rows, tuning):
    config = make_config({**HEAD, "model.tuning": tuning})
    with pytest.raises(ConfigError, match=rf"^model.tuning is '{tuning}', but head 'bayes' is fitted in closed form"):
        run_training(config, data=run_data(rows(8)))
    assert not Path(config.output_dir).exists()


def test_random_fourier_features_have_the_gaussian_kernel_and_components_the_inputs_spread():
    torch.manual_seed(0)
    inputs = torch.randn(400, 20) * torch.linspace(3.0, 0.5, 20)
    basis = RandomFeatures(20)
    basis.reset_parameters()
    basis.fit(inputs)
    basis.set_shape(1.0, 0.8, inputs)
    phi = basis(inputs)
    assert torch.allclose(phi.mean(0), torch.zeros(phi.shape[1]), atol=1e-5)
    components, waves = phi.split(basis.groups, -1)
    assert float(components.square().sum(-1).mean()) == pytest.approx(1.0, rel=0.01)
    covariance = components.T @ components / len(inputs)
    off = covariance - torch.diag(covariance.diagonal())
    assert float(off.abs().max()) < 0.01 * float(covariance.diagonal().max())
    # (1 - k) of two points is half the squared distance of their waves, within the noise of 256 of them.
    first, second = inputs[:200], inputs[200:]
    apart = basis(first)[:, : basis.groups[0]] - basis(second)[:, : basis.groups[0]]
    kernel = torch.exp(-apart.square().sum(-1) / (2 * 0.8**2))
    distance = (waves[:200] - waves[200:]).square().sum(-1)
    error = distance / 2 - (1 - kernel)
    assert abs(float(error.mean())) < 0.05
    assert float(error.std()) < 2 / math.sqrt(basis.groups[1])
