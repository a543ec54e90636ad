from __future__ import annotations

import json
import math
import warnings

import pytest
import torch
from safetensors.torch import load_file

from vrm.core.distributions import MIN_CONCENTRATION
from vrm.core.losses import LossWeights, PromptIgnoredWarning
from vrm.data.schema import Judgment
from vrm.errors import NumericsError
from vrm.train import run as run_module
from vrm.train.held_out import compute_preference_metrics
from vrm.train.loss import TrainingLoss
from vrm.train.prepare import prepare_rows
from vrm.train.run import run_training
from vrm.train.setup import build_model
from vrm.train.trainer import VRMTrainer


def trainer_for(config, data):
    model, tokenizer = build_model(config, data)
    prepared = prepare_rows(config, data, model, tokenizer)
    return run_module._trainer(config, model, prepared)


def history(config):
    path = f"{config.output_dir}/history.jsonl"
    return [json.loads(line) for line in open(path, encoding="utf-8")]


@pytest.mark.parametrize("tuning", ["frozen", "full"])
def test_logged_terms_are_raw_and_weighted_ones_stand_apart(make_config, run_data, rows, tuning):
    config = make_config(
        {
            "model.tuning": tuning,
            "loss.ratings": 0.5,
            "loss.votes": 3.0,
            "loss.beta_weights": 0.25,
            "loss.beta_features": 0.125,
            "loss.kl_warmup": 0.0,
            "train.epochs": 1,
        }
    )
    run_training(config, data=run_data(rows(24), rows(8, seed=1)))
    logs = [entry for entry in history(config) if "loss" in entry]
    assert len(logs) == 3
    for entry in logs:
        # 8 rows a step: 4 with ratings, every third with votes; the raw means are over rows that have the term.
        share = sum(1 for line in range(8 * entry["step"] - 8, 8 * entry["step"]) if line % 3 == 0) / 8
        assert share > 0
        assert entry["weighted/kl_weights"] == pytest.approx(0.25 * entry["kl_weights"], rel=1e-4)
        assert entry["weighted/kl_features"] == pytest.approx(0.125 * entry["kl_features"], rel=1e-4)
        assert entry["weighted/comparison"] == pytest.approx(-entry["comparison"], rel=1e-4)
        total = sum(value for name, value in entry.items() if name.startswith("weighted/"))
        assert entry["loss"] == pytest.approx(total, abs=2e-4)
        assert 0.0 <= entry["accuracy"] <= 1.0
        assert "ranking" not in entry
        assert entry["kl_weights"] >= 0
        assert entry["comparison"] < 0
    evaluations = [entry for entry in history(config) if "eval_nll" in entry]
    assert {"eval_accuracy", "eval_margin", "eval_calibration_error", "eval_active_units", "eval_kl_to_prior"} <= set(
        evaluations[0]
    )


def test_means_are_over_the_rows_that_have_the_term(make_config, run_data, rows):
    config = make_config({"loss.ratings": 0.5, "train.epochs": 1, "train.batch_size": 24})
    run_training(config, data=run_data(rows(24)))
    (entry,) = [entry for entry in history(config) if "loss" in entry]
    assert entry["weighted/ratings"] == pytest.approx(-0.5 * entry["ratings"] * 12 / 24, rel=1e-4)
    assert entry["weighted/votes"] == pytest.approx(-entry["votes"] * 8 / 24, rel=1e-4)


def test_the_coefficients_of_the_kls_rise_over_the_warm_up(make_config, run_data, rows):
    config = make_config({"loss.beta_weights": 1.0, "loss.kl_warmup": 0.5, "train.epochs": 2})
    run_training(config, data=run_data(rows(32)))
    ratios = [entry["weighted/kl_weights"] / entry["kl_weights"] for entry in history(config) if "loss" in entry]
    assert ratios == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0], abs=1e-4)


def test_a_loss_that_is_not_finite_stops_and_leaves_the_batch(make_config, run_data, rows):
    judgments = rows(16)
    bad = [*judgments[:15], Judgment("how", ["good", "bad"], preference=1.0, margin=float("inf"))]
    config = make_config()
    named = r"the loss is .* at step .* \(terms that are not finite: comparison\)"
    with pytest.raises(NumericsError, match=named) as error:
        run_training(config, data=run_data(bad))
    (saved,) = run_module.Path(config.output_dir).glob("nan_batch_step*.safetensors")
    assert str(saved) in str(error.value)
    batch = load_file(saved)
    assert batch["margin"].isinf().sum() == 1
    assert {"prompt_features", "completion_features", "preference", "mask"} <= set(batch)


def test_parameter_groups(make_config, run_data, rows):
    config = make_config({"model.tuning": "full", "train.learning_rate": 0.5, "train.backbone_learning_rate": 0.25})
    trainer = trainer_for(config, run_data(rows(8)))
    optimizer = trainer.create_optimizer()
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found.keys() == set(names.values())
    for name, (rate, decay) in found.items():
        parameter = trainer.model.get_parameter(name)
        assert rate == (0.5 if name.startswith("score.") else 0.25), name
        matrix = parameter.ndim > 1 and name != "score.decoder"
        assert decay == (config.train.weight_decay if matrix else 0.0), name


def test_a_frozen_backbone_is_no_part_of_optimizer_or_checkpoints(make_config, run_data, rows):
    config = make_config()
    data = run_data(rows(16), rows(8, seed=1))
    trainer = trainer_for(config, data)
    optimized = {id(p) for group in trainer.create_optimizer().param_groups for p in group["params"]}
    assert optimized == {id(p) for p in trainer.model.score.parameters()}
    before = {name: value.clone() for name, value in trainer.model.backbone.state_dict().items()}
    result = run_training(config, data=data)
    checkpoint = next(run_module.Path(config.output_dir).glob("checkpoint-*"))
    assert all(name.startswith("score.") for name in load_file(checkpoint / "model.safetensors"))
    final = load_file(result.model_dir / "model.safetensors")
    assert all(torch.equal(final[f"backbone.{name}"], value) for name, value in before.items())


def test_batches_of_8_are_the_same_as_2_times_4_accumulated(make_config, run_data, rows, tiny_decoder_backbone):
    """For a deterministic head; the usual mistake is a loss that is divided once too often, or not at all.

    The last step has six judgments, in batches of four and two.
    """
    weights = []
    for accumulation in (1, 2):
        changes = {
            "model.head": "gated",
            "model.tuning": "full",
            "model.backbone": str(tiny_decoder_backbone),
            "train.gradient_accumulation": accumulation,
            "train.max_grad_norm": 1e9,
        }
        config = make_config(changes, output=f"run{accumulation}")
        result = run_training(config, data=run_data(rows(38), rows(8, seed=1)))
        weights.append(load_file(result.model_dir / "model.safetensors"))
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-6
    losses = [
        [entry["loss"] for entry in history(make_config(output=f"run{accumulation}")) if "loss" in entry]
        for accumulation in (1, 2)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)


def test_predictions_come_in_the_order_of_the_batch(make_config, run_data, rows, monkeypatch):
    """Padded passes are in order of length; of several processes' rows, the last ones of the batch are cut."""
    monkeypatch.setattr("vrm.model.modeling_vrm.packing_problem", lambda *_: "told so")
    judgments = [
        Judgment("how", ["good " * length, "bad"], preference=preference)
        for length, preference in ((1, 0.1), (9, 0.2), (3, 0.3), (20, 0.4))
    ]
    config = make_config({"model.tuning": "full", "train.token_budget": 24})
    trainer = trainer_for(config, run_data(judgments))
    batch = trainer.data_collator(trainer.train_dataset.items)
    assert batch["judgments"].tolist() == [3, 1, 2, 0]
    assert len(batch["passes"]) > 1
    _, predictions, labels = trainer.prediction_step(trainer.model, batch, False)
    assert labels.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    alone = [
        trainer.prediction_step(trainer.model, trainer.data_collator([item]), False)[1]
        for item in trainer.train_dataset.items
    ]
    for column, found in zip(zip(*alone, strict=True), predictions, strict=True):
        assert torch.allclose(torch.cat(column), found, atol=1e-5)


def test_the_warning_about_an_ignored_prompt_fires_once(make_config, run_data, rows):
    changes = {"loss.beta_weights": 100.0, "loss.kl_warmup": 0.0, "train.epochs": 30, "train.early_stopping": None}
    config = make_config({**changes, "loss.votes": 0.0, "train.learning_rate": 0.02, "train.evals": 6})
    with pytest.warns(PromptIgnoredWarning, match="mean KL of the objective weights to their prior is") as caught:
        result = run_training(config, data=run_data(rows(32), rows(8, seed=1)))
    assert len([entry for entry in caught if entry.category is PromptIgnoredWarning]) == 1
    assert result.metrics["kl_to_prior"] < 0.01


@pytest.mark.parametrize("prior", [0.5, 4.0])
def test_weights_at_the_prior_are_warned_about_whatever_the_prior(make_config, run_data, rows, prior):
    """The KL to the flat Dirichlet, at 1.1 nats for four objectives and a prior of 4, says nothing about the prompt."""
    trainer = trainer_for(make_config({"model.prior_concentration": prior}), run_data(rows(16), rows(8, seed=1)))
    last = trainer.model.score.weights[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        last.bias[-1] = math.log(trainer.model.config.num_objectives * (prior - MIN_CONCENTRATION))
    trainer.state.global_step = trainer.state.max_steps = 1
    with pytest.warns(PromptIgnoredWarning):
        metrics = trainer.evaluate()
    assert metrics["eval_kl_to_prior"] == pytest.approx(0.0, abs=1e-5)
    last.bias.data[-1] = math.log(trainer.model.config.num_objectives * (1.0 - MIN_CONCENTRATION))
    assert trainer.evaluate()["eval_kl_to_prior"] > 0.1


@pytest.mark.parametrize("head", ["gated", "bottleneck", "bt"])
def test_heads_without_uncertain_weights_are_not_warned_about(make_config, run_data, rows, head):
    config = make_config({"model.head": head})
    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptIgnoredWarning)
        result = run_training(config, data=run_data(rows(16), rows(8, seed=1)))
    assert result.metrics["kl_to_prior"] == 0.0


def test_metrics_from_predictions():
    values = torch.tensor(
        [
            [2.0, math.log(0.8), math.log(0.2), 0.5],
            [-1.0, math.log(0.4), math.log(0.6), 0.1],
            [0.0, math.log(0.5), math.log(0.5), 0.3],
            [9.0, -0.1, -2.0, 0.3],
        ]
    )
    per_feature = torch.tensor([[0.5, 0.0], [0.5, 0.0], [0.5, 0.02], [0.5, 0.0]])
    preference = torch.tensor([1.0, 1.0, 0.5, float("nan")])
    prediction = type("P", (), {"predictions": (values.numpy(), per_feature.numpy()), "label_ids": preference.numpy()})
    metrics = compute_preference_metrics(prediction)
    assert metrics["accuracy"] == 0.5
    assert metrics["nll"] == pytest.approx(-(math.log(0.8) + math.log(0.4) + math.log(0.5)) / 3, rel=1e-6)
    assert metrics["kl_to_prior"] == pytest.approx(0.3)
    assert metrics["active_units"] == 1.0
    assert metrics["margin"] == pytest.approx(1.0 / 3)


def test_metrics_without_comparisons_are_those_of_the_latents():
    values, per_feature = torch.zeros(2, 4).numpy(), torch.zeros(2, 3).numpy()
    label = torch.full((2,), float("nan")).numpy()
    prediction = type("P", (), {"predictions": (values, per_feature), "label_ids": label})
    assert compute_preference_metrics(prediction) == {"kl_to_prior": 0.0, "active_units": 0.0}


def test_the_trainer_has_a_loss_by_default(make_config, run_data, rows):
    trainer = trainer_for(make_config(), run_data(rows(8)))
    plain = VRMTrainer(model=trainer.model, args=trainer.args, train_dataset=trainer.train_dataset)
    assert plain.training_loss == TrainingLoss()
    assert plain.training_loss.weights == LossWeights()
    assert plain.head_learning_rate == trainer.args.learning_rate


@pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")
def test_a_run_that_was_best_at_its_end_says_so(make_config, run_data, rows, capsys):
    changes = {"train.epochs": 3, "train.evals": 3, "train.learning_rate": 1e-3, "train.early_stopping": None}
    run_training(make_config(changes, output="short"), data=run_data(rows(16), rows(16)))
    said = capsys.readouterr().err
    assert "it is the last step: training on may be better (raise train.epochs, or lower train.batch_size)" in said
