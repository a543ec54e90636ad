"""The nuisance offset of a run: fitted on arrays and on rows, kept in files, used by metrics, never rewarded."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vrm.config import NuisanceConfig
from vrm.core.nuisance import fit_nuisance_offset
from vrm.data.schema import Judgment
from vrm.errors import CheckpointError, ConfigError, DataError
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.rater import nuisance_table, rater_margins, rater_offset
from vrm.metrics import ResampleOptions
from vrm.train import nuisance
from vrm.train.nuisance import FACTORS, NuisanceFit, OffsetSettings, fit_offset, prompt_folds
from vrm.train.run import run_training

pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")


def simulated(seed: int, pairs: int = 8_000, bias: float = 0.5):
    """Nuisances, features, labels and prompts: quality rises with the nuisance, and raters add `bias` times it."""
    generator = torch.Generator().manual_seed(seed)
    nu = torch.randn(2, pairs, 1, generator=generator).double()
    quality = 0.625 * nu[..., 0] + 0.75 * torch.randn(2, pairs, generator=generator).double()
    utility = quality[0] - quality[1] + bias * (nu[0] - nu[1])[:, 0]
    label = (torch.rand(pairs, generator=generator).double() < torch.sigmoid(utility)).double()
    # What a backbone gives: the quality, much that is noise, and the nuisance too.
    features = torch.cat([quality.unsqueeze(-1), torch.randn(2, pairs, 10, generator=generator).double(), nu], -1)
    return nu[0], nu[1], label, (features[0] - features[1]).float(), [f"p{row // 2}" for row in range(pairs)]


def slope(offset) -> float:
    low, high = offset(torch.tensor([[-1.5], [1.5]]).double()).tolist()
    return (high - low) / 3.0


@pytest.mark.parametrize("seed", [0, 1])
def test_the_pipeline_recovers_a_bias_that_a_fit_alone_overstates(seed):
    first, second, label, features, prompts = simulated(seed)
    fit = fit_offset(first, second, label, prompts, features)
    assert slope(fit.offset) == pytest.approx(0.5, abs=0.08)
    assert fit.offset.reward_scale == pytest.approx(1.0, abs=0.1)
    alone = fit_nuisance_offset(first, second, label, torch.zeros(len(label)))
    assert slope(alone) > 0.85


def test_a_reward_fitted_without_an_offset_hides_the_bias():
    """Why the out-of-fold rewards have offsets of their own."""
    from vrm.core.nuisance import fit_linear_reward

    first, second, label, features, prompts = simulated(2)

    def reward(seen, held):
        return features[held] @ fit_linear_reward(features[seen], label[seen], 4.0)

    fit = fit_offset(first, second, label, prompts, out_of_fold_margin=reward)
    assert abs(slope(fit.offset)) < 0.1
    assert fit.reward_spread is None


def test_margins_may_be_given_or_computed_fold_by_fold():
    first, second, label, features, prompts = simulated(3, pairs=500)
    known = features[:, 0].double()
    asked = []

    def judge(seen, held):
        asked.append((set(seen.tolist()), set(held.tolist())))
        return known[held]

    settings = OffsetSettings(folds=4, num_knots=4, ridge=2.0, seed=5)
    given = fit_offset(first, second, label, prompts, out_of_fold_margin=known, settings=settings)
    computed = fit_offset(first, second, label, prompts, out_of_fold_margin=judge, settings=settings)
    assert torch.equal(given.offset.coefficients, computed.offset.coefficients)
    direct = fit_nuisance_offset(first, second, label, known, 4, 2.0)
    assert torch.equal(given.offset.coefficients, direct.coefficients)
    assert len(asked) == 4
    assert sorted(row for _, held in asked for row in held) == list(range(500))
    for seen, held in asked:
        assert not {prompts[row] for row in seen} & {prompts[row] for row in held}


def test_what_fit_offset_refuses():
    first, second, label, features, prompts = simulated(0, pairs=40)
    with pytest.raises(ConfigError, match="either features or out_of_fold_margin"):
        fit_offset(first, second, label, prompts)
    with pytest.raises(ConfigError, match="not both"):
        fit_offset(first, second, label, prompts, features, label)
    with pytest.raises(DataError, match="at least two folds, got 1"):
        fit_offset(first, second, label, ["p"] * 40, features)
    with pytest.raises(DataError, match="at least two folds, got 1"):
        fit_offset(first, second, label, ["p"] * 40, out_of_fold_margin=lambda seen, held: held)
    with pytest.raises(DataError, match="features must be finite"):
        fit_offset(first, second, label, prompts, features / 0.0)


def test_folds_are_of_whole_prompts_and_of_equal_size():
    groups = [f"p{row % 23}" for row in range(100)]
    folds = prompt_folds(groups, 5, seed=1)
    found = set(zip(groups, folds.tolist(), strict=True))
    assert len(found) == 23
    sizes = np.bincount([fold for _, fold in found])
    assert sizes.tolist() == [5, 5, 5, 4, 4]
    assert torch.equal(folds, prompt_folds(groups, 5, seed=1))
    assert not torch.equal(folds, prompt_folds(groups, 5, seed=2))


@pytest.mark.parametrize(("held_bias", "expected"), [(0.5, 1.0), (-0.5, 0.0)])
def test_the_factor_is_the_largest_that_held_out_raters_do_not_contradict(held_bias, expected):
    def rows(seed, bias):
        first, second, label, features, prompts = simulated(seed, pairs=3_000, bias=bias)
        # No reward can make up for a wrong offset: these features hold the quality alone.
        return nuisance._Pairs(features[:, :1], first, second, label, torch.zeros(len(label)).double(), prompts)

    train, held = rows(0, 0.5), rows(1, held_bias)
    offset = fit_offset(train.first, train.second, train.preference, train.groups, train.features).offset
    factor, trials = nuisance._choose_factor(train, held, offset, 2.0)
    assert factor == expected
    assert [trial.factor for trial in trials] == list(FACTORS)
    best = min(trials, key=lambda trial: trial.negative_log_likelihood)
    assert (best.excess_low, best.excess_high) == (0.0, 0.0)
    assert all(trial.excess_low <= trial.excess_high for trial in trials)


# Runs


def lengthy_rows(count: int, seed: int, longer: float = 0.85) -> list[Judgment]:
    """Three in four chosen have the good word; with probability `longer` the chosen has filling that says nothing."""
    generator = random.Random(seed)
    rows = []
    for line in range(count):
        long = " ".join(["the plan of the city is water"] * generator.randint(2, 4))
        sides = [[generator.choice(("good", "safe"))], [generator.choice(("bad", "unsafe"))]]
        if generator.random() < 0.25:
            sides.reverse()
        sides[0 if generator.random() < longer else 1].append(long)
        texts = [" ".join(words) for words in sides]
        rows.append(Judgment(f"how {seed} {line}", texts, 1.0, file="f", line=line))
    return rows


LENGTH = {"nuisance.measures": ["log_length"]}


@pytest.fixture
def trained(make_config, run_data):
    def train(changes=None, train_rows=None, held=None, output="run"):
        config = make_config({"model.head": "bt", **(changes or {})}, output)
        data = run_data(train_rows or lengthy_rows(48, 0), lengthy_rows(24, 1) if held is None else held)
        return config, run_training(config, data=data)

    return train


def weights(result):
    return load_file(result.model_dir / "model.safetensors")


def test_the_offset_is_in_run_json_in_the_model_and_in_its_own_file(trained):
    config, result = trained(LENGTH)
    written = json.loads((Path(config.output_dir) / "nuisance.json").read_text())
    assert written == result.summary.nuisance
    assert written["measures"] == ["log_length"]
    assert written["pairs"] == 48
    assert written["factor"] in FACTORS
    assert [trial["factor"] for trial in written["trials"]] == list(FACTORS)
    # The filling wins 85 % of the time: h rises with length.
    assert written["span"]["log_length"] > 0.5
    engine = RewardEngine.from_pretrained(result.model_dir)
    rater = rater_offset(engine.model.config)
    assert rater.to_dict() == {key: written[key] for key in rater.to_dict()}
    assert NuisanceFit.from_dict(written).to_dict() == written
    short, long = rater(["good", "good " + "the plan " * 12])
    assert long - short > 0.3 * written["factor"]


def test_held_out_metrics_are_the_raters_and_quality_metrics_stand_beside_them(trained):
    held = lengthy_rows(24, 1)
    _, result = trained({**LENGTH, "nuisance.factor": 0.5}, held=held)
    engine = RewardEngine.from_pretrained(result.model_dir, options=ExtractionOptions("float32"))
    measured = evaluate_judgments(engine, held, ResampleOptions(resamples=10))
    quality, rater = measured.pairs, measured.rater
    assert result.metrics["quality_nll"] == pytest.approx(quality.negative_log_likelihood, abs=1e-5)
    assert result.metrics["quality_accuracy"] == pytest.approx(quality.accuracy.estimate)
    rewards = engine.judge(held).moments.mean
    first, second = ([row.completions[side] for row in held] for side in (0, 1))
    margins = rater_margins(engine.model.config, rewards[:, 0] - rewards[:, 1], first, second)
    # A head without uncertainty: P is the logistic function of the margin, written out.
    assert result.metrics["nll"] == pytest.approx(float(np.log1p(np.exp(-margins.numpy())).mean()), abs=1e-4)
    assert result.metrics["accuracy"] == pytest.approx(float((margins > 0).float().mean()))
    assert result.metrics["nll"] < result.metrics["quality_nll"]
    assert rater.negative_log_likelihood == pytest.approx(result.metrics["nll"], abs=1e-5)
    assert rater.accuracy.estimate == pytest.approx(result.metrics["accuracy"])
    assert result.summary.nuisance["trials"] == []


def test_a_factor_of_zero_trains_the_weights_of_a_run_without_measures(trained):
    config, plain = trained(output="plain")
    _, zero = trained({**LENGTH, "nuisance.factor": 0.0}, output="zero")
    _, one = trained({**LENGTH, "nuisance.factor": 1.0}, output="one")
    assert all(torch.equal(value, weights(zero)[name]) for name, value in weights(plain).items())
    assert not all(torch.equal(value, weights(one)[name]) for name, value in weights(plain).items())
    assert not (Path(config.output_dir) / "nuisance.json").exists()
    assert plain.summary.nuisance is None
    assert not any(name.startswith("quality_") for name in plain.metrics)
    assert RewardEngine.from_pretrained(plain.model_dir).model.config.nuisance is None


def test_the_shortcut_is_left_to_the_offset(trained):
    """The reward leans less on length, and is right more often where the shorter completion is the better one."""
    changes = {"train.epochs": 10, "train.learning_rate": 0.02, "train.batch_size": 64, "train.early_stopping": None}
    rows, turned = lengthy_rows(256, 0), lengthy_rows(120, 2, longer=0.15)
    lengths = nuisance_table([row.completions[0] for row in turned], ["log_length"])
    lengths = (lengths - nuisance_table([row.completions[1] for row in turned], ["log_length"]))[:, 0]
    accuracy, leaning = [], []
    for measures in ([], ["log_length"]):
        _, result = trained({**changes, "nuisance.measures": measures}, rows, lengthy_rows(60, 1), f"{len(measures)}")
        engine = RewardEngine.from_pretrained(result.model_dir, options=ExtractionOptions("float32"))
        rewards = engine.judge(turned).moments.mean
        margins = (rewards[:, 0] - rewards[:, 1]).double()
        accuracy.append(float((margins > 0).double().mean()))
        leaning.append(float(torch.corrcoef(torch.stack([margins, lengths]))[0, 1]))
    assert accuracy[1] > accuracy[0] + 0.1
    assert leaning[1] < leaning[0] - 0.1


def test_ranked_lists_and_tuned_backbones_have_offsets_too(trained):
    lists = [
        Judgment(f"how {n}", ["good " + "the plan " * 9, "good the", "bad"], scores=[2.0, 1.0, 0.0]) for n in range(12)
    ]
    _, result = trained(
        {**LENGTH, "model.tuning": "full", "model.head": "vrm", "train.epochs": 1}, lists + lengthy_rows(8, 0)
    )
    # Three pairs a list.
    assert result.summary.nuisance["pairs"] == 12 * 3 + 8


def test_rows_that_show_nothing_are_refused(trained, rows):
    votes = [Judgment(f"what {n}", objective_votes={"care": 1.0}) for n in range(8)]
    with pytest.raises(ConfigError, match="no training row compares completions"):
        trained({**LENGTH, "model.head": "vrm"}, votes)
    with pytest.raises(ConfigError, match=r"set nuisance\.factor to a number in \[0, 1\]"):
        trained(LENGTH, held=[])


def test_configured_values_are_checked(make_config):
    with pytest.raises(ConfigError, match=r"nuisance\.measures\.0.*'log_length', 'list_density'"):
        make_config({"nuisance.measures": ["length"]})
    with pytest.raises(ConfigError, match="name one twice: log_length, log_length"):
        make_config({"nuisance.measures": ["log_length", "log_length"]})
    with pytest.raises(ConfigError, match=r"nuisance\.factor"):
        make_config({"nuisance.factor": 1.5})
    assert make_config().nuisance == NuisanceConfig(measures=[])


def test_resume_reads_the_offset_and_fits_nothing(make_config, monkeypatch):
    config = make_config(LENGTH)
    fit = NuisanceFit.from_dict(
        {
            "measures": ["log_length"], "knots": [[0.0, 1.0, 2.5]], "coefficients": [1 / 3, 0.1], "reward_scale": 1.0,
            "factor": 0.75, "pairs": 3, "reward_spread": 2.0, "span": {"log_length": 0.3}, "trials": [],
        }
    )  # fmt: skip
    monkeypatch.setattr(nuisance, "_fit", lambda *_: pytest.fail("refitted"))
    Path(config.output_dir).mkdir()
    with pytest.raises(CheckpointError, match=r"nuisance\.json is missing"):
        nuisance.offset_of_run(config, [], [], lambda: pytest.fail("extracted"), resume=True)
    (Path(config.output_dir) / "nuisance.json").write_text(json.dumps(fit.to_dict()))
    read = nuisance.offset_of_run(config, [], [], lambda: pytest.fail("extracted"), resume=True)
    assert read.to_dict() == fit.to_dict()
    assert torch.equal(read.rater(["a", "abc"]), fit.rater(["a", "abc"]))
