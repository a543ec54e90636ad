"""Runs in two stages (19): the first is `gated`, the second keeps what held-out pairs ask for, and it is saved."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from vrm.choices import StagePart
from vrm.core.second_stage import NEEDS, OF_SEVERAL
from vrm.data.schema import Judgment
from vrm.errors import ConfigError
from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain
from vrm.inference.identifiability import NO_INTERVALS
from vrm.labels import RaterJudgment
from vrm.model.checkpoint import load_model
from vrm.results import read_run
from vrm.results.run import SecondStage
from vrm.train import run as training
from vrm.train.run import run_training

STAGED = {"loss.name": "staged"}
UNCHANGED = SecondStage(0, 0, 0, (), {}, ())
GOOD, BAD, FILL = ("good", "safe", "please"), ("bad", "unsafe", "no"), ("the", "is", "of", "plan", "water", "city")


def agreeing(prompts: int, raters: int, seed: int = 0, first: int = 0) -> list[Judgment]:
    """Pairs whose words say little of which is preferred, and whose raters agree all the same."""
    generator = random.Random(seed)
    rows = []
    for number in range(first, first + prompts):
        sides = [" ".join([*generator.choices(FILL, k=3), generator.choice(words)]) for words in (GOOD, BAD)]
        share = 0.95 if generator.random() < 0.65 else 0.05
        votes = [float(generator.random() < share) for _ in range(raters)]
        judgments = [RaterJudgment(f"r{index}", vote) for index, vote in enumerate(votes)]
        rows.append(
            Judgment(f"how {generator.choice(FILL)} {number}", sides, judgments=judgments, file="f", line=number)
        )
    return rows


def states(result) -> dict[str, torch.Tensor]:
    return load_model(result.model_dir)[0].score.state_dict()


@pytest.mark.parametrize("tuning", ["frozen", "full", "lora"])
@pytest.mark.parametrize("several", [False, True])
def test_the_first_stage_is_gated_to_the_bit(make_config, run_data, rows, monkeypatch, tuning, several):
    """Comparisons, ratings and votes; with pairs of several raters, and ties, beside them."""
    monkeypatch.setattr(training, "add_second_stage", lambda model, held: UNCHANGED)
    judged = agreeing(10, 3) if several else []
    if several:
        judged[0].judgments[0] = RaterJudgment("tie", 0.5)
    data = run_data([*rows(24), *judged], rows(8, seed=1))
    changes = {"model.tuning": tuning, "model.head_dropout": 0.3, "train.learning_rate": 0.01}
    if tuning == "lora":
        changes["model.lora"] = {"r": 2, "alpha": 4, "dropout": 0.2}
    gated = run_training(make_config({**changes, "model.head": "gated"}, "gated"), data=data)
    staged = run_training(make_config({**changes, **STAGED}, "staged"), data=data)
    ours, theirs = states(staged), states(gated)
    assert {name for name in ours if not name.startswith("spread.")} == set(theirs)
    for name, values in theirs.items():
        assert torch.equal(ours[name], values), name
    measured = [
        {name: value for name, value in result.metrics.items() if not name.endswith(("runtime", "per_second"))}
        for result in (staged, gated)
    ]
    assert measured[0] == measured[1]
    assert "nll" in measured[0]
    losses = [
        [entry["loss"] for entry in read_run(config.parent).history if "loss" in entry]
        for config in (gated.model_dir, staged.model_dir)
    ]
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_encoder_backbone, run_data):
    """A run in two stages on raters who agree more than the texts tell."""
    from vrm.config import parse_config

    config = parse_config(
        {
            "output_dir": str(tmp_path_factory.mktemp("staged") / "run"),
            "data": {"train": ["unused.jsonl"]},
            "model": {
                "backbone": str(tiny_encoder_backbone),
                "num_free_objectives": 2,
                "num_features": 3,
                "hidden_size_head": 8,
                "max_input_tokens": 64,
            },
            "loss": {"name": "staged"},
            "train": {"epochs": 4, "batch_size": 16, "evals": 2, "precision": "float32", "learning_rate": 0.01},
        }
    )
    result = run_training(config, data=run_data(agreeing(60, 4), agreeing(150, 4, seed=1, first=1000)))
    return config, result


def test_what_raters_share_is_kept_saved_and_listed(trained):
    _, result = trained
    stage = result.summary.second_stage
    assert {StagePart.TEMPERATURE, StagePart.VARIANCE} <= set(stage.kept)
    assert (stage.pairs, stage.judgments, stage.prompts) == (150, 600, 150)
    assert stage.not_tried == ""
    (shared,) = [trial for trial in stage.trials if trial.part == StagePart.VARIANCE]
    assert shared.kept
    assert shared.gain > 3 * shared.standard_error > 0
    assert set(stage.values) <= set(stage.kept)
    written = json.loads((result.model_dir.parent / "run.json").read_text(encoding="utf-8"))
    assert written["second_stage"]["kept"] == list(stage.kept)
    assert read_run(result.model_dir.parent).summary.second_stage == stage
    model, _ = load_model(result.model_dir)
    assert tuple(model.config.stage_parts) == stage.kept
    assert model.config.has_feature_uncertainty
    assert model.score.spread.parts == set(stage.kept)


def test_a_loaded_model_has_the_spread_and_explains_with_intervals(trained):
    _, result = trained
    engine = RewardEngine.from_pretrained(result.model_dir)
    explanation = explain(engine, agreeing(1, 1)[0])
    assert all(report.reward.low < report.reward.mean < report.reward.high for report in explanation.completions)
    assert explanation.identifiability.intervals
    assert NO_INTERVALS not in explanation.identifiability.statements
    assert explanation.pairs[0].disagreement is not None
    if not engine.model.config.has_weight_uncertainty:
        assert all(report.weight.low == report.weight.high for report in explanation.weights)
        assert "no intervals of weights" in " ".join(explanation.identifiability.statements)


def test_the_second_stage_makes_held_out_votes_likelier(trained, monkeypatch):
    """On rows that neither stage has seen, against the means alone."""
    from vrm.evaluate.preferences import evaluate_judgments
    from vrm.metrics import ResampleOptions

    _, result = trained
    engine, fresh = RewardEngine.from_pretrained(result.model_dir), agreeing(150, 4, seed=2, first=5000)
    options = ResampleOptions(resamples=1)
    with_spread = evaluate_judgments(engine, fresh, options).several_raters.joint_nll.estimate
    monkeypatch.setattr(engine.model.score, "spread", None)
    without = evaluate_judgments(engine, fresh, options).several_raters.joint_nll.estimate
    assert with_spread < without - 0.02


def test_on_one_judgment_a_pair_no_variance_is_tried_and_nothing_but_a_scale_can_be_kept(make_config, run_data, rows):
    result = run_training(make_config(STAGED), data=run_data(rows(24), rows(12, seed=1)))
    stage = result.summary.second_stage
    assert [trial.part for trial in stage.trials] == [StagePart.TEMPERATURE]
    assert "0 of the held-out pairs have two judgments" in stage.not_tried
    engine = RewardEngine.from_pretrained(result.model_dir)
    assert not engine.model.config.has_reward_uncertainty
    explanation = explain(engine, rows(1)[0])
    assert explanation.identifiability.statements[-1] == NO_INTERVALS
    assert explanation.pairs[0].uncertainty is None
    assert explanation.total_concentration is None


def test_target_margins_of_held_out_rows_change_no_temperature(make_config, run_data, rows):
    """They are in units of reward: a fit to them would make rewards as large as they are."""
    held_out = rows(12, seed=1)
    stages = [
        run_training(make_config(STAGED), data=run_data(rows(24), eval_rows), overwrite=True).summary.second_stage
        for eval_rows in (held_out, [replace(row, margin=1e6) for row in held_out])
    ]
    assert stages[0] == stages[1]


def test_ranked_lists_count_as_their_pairs(make_config, run_data, rows):
    lists = [
        Judgment(row.prompt, [*row.completions, "water of the city"], scores=[2.0, 0.0, 1.0], line=row.line)
        for row in rows(12, seed=1)
    ]
    stage = run_training(make_config({**STAGED, "model.tuning": "full"}), data=run_data(rows(16), lists)).summary
    assert (stage.second_stage.pairs, stage.second_stage.prompts) == (36, 12)


def test_a_temperature_leaves_what_is_said_of_ratings(make_config, run_data, rows):
    result = run_training(make_config(STAGED), data=run_data(rows(24), rows(8, seed=1)))
    model, _ = load_model(result.model_dir)
    head = model.score
    before = float(head.rating_model().slope) * head.decoder.detach().clone()
    rewards = head.decoder.detach().clone()
    head.scale_rewards(0.5)
    torch.testing.assert_close(head.decoder.detach(), 0.5 * rewards)
    torch.testing.assert_close(float(head.rating_model().slope) * head.decoder.detach(), before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.head": "gated"}, "head 'gated' has none; set model.head to vrm or bottleneck"),
        ({"data.held_out": 0.0}, r"data\.held_out is 0 and data\.eval is empty"),
    ],
)
def test_two_stages_that_cannot_be_are_refused_before_anything_is_read(make_config, changes, words):
    with pytest.raises(ConfigError, match=words):
        run_training(make_config({**STAGED, **changes}))


def test_held_out_rows_without_pairs_are_refused(make_config, run_data, rows):
    votes = [Judgment(row.prompt, [], objective_votes={"care": 1.0}, line=row.line) for row in rows(4)]
    with pytest.raises(ConfigError, match="4 rows are held out"):
        run_training(make_config(STAGED), data=run_data(rows(8), votes))


def test_a_bottleneck_has_no_concentration_to_keep(make_config, run_data):
    config = make_config({**STAGED, "model.head": "bottleneck", "train.epochs": 1})
    stage = run_training(
        config, data=run_data(agreeing(20, 3), agreeing(60, 3, seed=1, first=100))
    ).summary.second_stage
    tried = {trial.part for trial in stage.trials}
    assert StagePart.VARIANCE in tried
    assert not {part for part in tried if part.startswith("concentration")}
    assert set(OF_SEVERAL) | {StagePart.TEMPERATURE, StagePart.TIES} == set(NEEDS)


def test_axes_are_z_scored_components_whatever_the_rows_are(tiny_encoder_backbone):
    from vrm.model.heads.inputs import InputAxes, blockwise

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, 12, generator=generator) @ torch.diag(torch.linspace(1, 4, 12))
    axes = InputAxes(2, 6, 4)
    assert not axes(inputs).any()
    axes.fit(inputs)
    found = axes(inputs).double()
    torch.testing.assert_close(found.mean(0), torch.zeros(4).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.T @ found / 50, torch.eye(4).double(), atol=1e-4, rtol=0)
    normed = blockwise(inputs, 2).double().numpy()
    _, _, directions = np.linalg.svd(normed - normed.mean(0), full_matrices=False)
    along = (normed - normed.mean(0)) @ directions[:4].T
    assert np.abs(np.corrcoef(along.T, found.numpy().T)[:4, 4:]).diagonal() == pytest.approx(np.ones(4), abs=1e-4)
    axes.fit(inputs[:1])
    assert not axes(inputs).any()
    axes.fit(inputs[:3])
    assert axes(inputs[:3])[:, 2:].abs().max() == 0
