"""`vrm train` end to end on a part of the planted corpus: tunings, resume, processes, adapters, trackers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from vrm.cli.main import main
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions

# Two dozen steps on a random backbone do not move the weights far from where they start.
pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


def weights(directory):
    return load_file(Path(directory) / "model" / "model.safetensors")


def largest_difference(first, second):
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def trained(config):
    return Path(yaml.safe_load(config.read_text())["output_dir"])


@pytest.mark.parametrize("tuning", ["frozen", "full", "lora"])
def test_every_tuning_trains_saves_and_can_be_used(write_config, planted, tuning, capsys):
    config = write_config({"model.tuning": tuning, "model.lora": {"r": 2, "alpha": 4}})
    run("train", config, "--json")
    document = json.loads(capsys.readouterr().out)
    output = trained(config)
    assert document["model"] == str(output / "model")
    assert document["rows"] == {"train": 64, "eval": 24}
    assert document["metrics"]["nll"] < 1.0
    assert {path.name for path in (output / "model").iterdir()} >= {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    }  # fmt: skip
    assert not (output / "model" / "adapter_config.json").exists()
    history = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    assert any("eval_nll" in entry for entry in history)
    run("evaluate", output / "model", planted["dev"], "--json", "-", "--resamples", "20")
    measured = json.loads(capsys.readouterr().out)["files"][str(planted["dev"])]
    assert measured["pairs"]["negative_log_likelihood"] == pytest.approx(document["metrics"]["nll"], abs=2e-5)
    assert measured["pairs"]["accuracy"]["estimate"] == pytest.approx(document["metrics"]["accuracy"], abs=1e-9)


def test_what_is_trained_is_what_the_tuning_says(write_config, tiny_decoder_backbone):
    base = load_file(tiny_decoder_backbone / "model.safetensors")
    moved = {}
    for tuning in ("frozen", "full", "lora"):
        changes = {"model.tuning": tuning, "train.backbone_learning_rate": 1e-2, "train.epochs": 1}
        config = write_config({**changes, "model.lora": {"r": 2, "alpha": 4}}, tuning)
        run("train", config)
        found = weights(trained(config))
        moved[tuning] = {name for name in base if not torch.equal(found[f"backbone.{name}"], base[name])}
    assert moved["frozen"] == set()
    assert moved["full"] == set(base)
    assert moved["lora"]
    assert all("_proj" in name for name in moved["lora"]), "adapters are merged into projections alone"


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_recomputed_activations_give_the_same_weights(write_config, tuning):
    found = []
    for checkpointing in (False, True):
        changes = {"model.tuning": tuning, "model.lora": {"r": 2, "alpha": 4}, "train.epochs": 1}
        config = write_config({**changes, "model.gradient_checkpointing": checkpointing}, f"run{checkpointing}")
        run("train", config)
        found.append(weights(trained(config)))
    assert largest_difference(*found) < 1e-6


def test_training_learns_what_is_planted(write_config, capsys):
    """A level that a bag of words shows: after enough steps even a random backbone's features tell it."""
    config = write_config({"train.epochs": 60, "train.learning_rate": 5e-3, "train.early_stopping": None})
    run("train", config, "--set", "data.eval=[]", "--set", "data.held_out=0", "--json")
    history = [json.loads(line) for line in (trained(config) / "history.jsonl").read_text().splitlines()]
    logs = [entry for entry in history if "comparison" in entry]
    assert logs[-1]["comparison"] > logs[0]["comparison"] + 0.2
    assert logs[-1]["accuracy"] > 0.8


class Interrupt(BaseException):
    pass


RESUMABLE = {
    "model.head": "vrm",
    "model.head_dropout": 0.3,
    "train.early_stopping": None,
    "train.lr_scheduler": "linear",
}


@pytest.mark.parametrize(
    ("tuning", "compiled", "loss"),
    [
        ("frozen", False, "variational"),
        ("frozen", False, "staged"),
        ("full", False, "variational"),
        ("lora", False, "variational"),
        pytest.param("full", True, "variational", marks=pytest.mark.slow),
        pytest.param("lora", True, "variational", marks=pytest.mark.slow),
    ],
)
def test_resume_goes_on_to_the_weights_of_an_uninterrupted_run(write_config, monkeypatch, tuning, compiled, loss):
    """With dropout and Dirichlet samples, so that the state of the random generators matters."""
    from vrm.train import callbacks

    lora = {"r": 2, "alpha": 4, "dropout": 0.2}
    changes = {
        **RESUMABLE,
        "model.tuning": tuning,
        "model.lora": lora,
        "model.compile": compiled,
        "loss.name": loss,
    }
    whole, broken = write_config(changes, "whole"), write_config(changes, "broken")
    run("train", whole)

    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == 7:
            raise Interrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.ProgressBar, "on_step_end", interrupt)
        with pytest.raises(Interrupt):
            main(["train", str(broken)])
    assert not (trained(broken) / "run.json").exists()
    run("train", broken, code=1)
    run("train", broken, "--resume")
    # The last state, and the best one, which is the model.
    last = max(trained(whole).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])).name
    name = "adapter_model.safetensors" if tuning == "lora" else "model.safetensors"
    states = [load_file(trained(config) / last / name) for config in (whole, broken)]
    assert largest_difference(*states) == 0.0
    assert largest_difference(weights(trained(whole)), weights(trained(broken))) == 0.0
    metrics = [json.loads((trained(config) / "run.json").read_text())["metrics"]["nll"] for config in (whole, broken)]
    assert metrics[0] == metrics[1]


def test_resume_refuses_another_configuration(write_config, monkeypatch, capsys):
    from vrm.train import callbacks

    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise Interrupt

    config = write_config(RESUMABLE)
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.ProgressBar, "on_step_end", interrupt)
        with pytest.raises(Interrupt):
            main(["train", str(config)])
    capsys.readouterr()
    run("train", config, "--resume", "--set", "loss.beta_weights=0.5", "--set", "train.logging_steps=1", code=1)
    message = capsys.readouterr().err
    assert "loss.beta_weights: 0.5 now, 0.001 before" in message
    assert "logging_steps" not in message
    stored = trained(config) / "config.json"
    stored.write_text(stored.read_text().replace("beta_weights", "kl_weights").replace("beta_features", "kl_features"))
    run("train", config, "--resume", "--set", "train.logging_steps=1")


def test_the_patience_of_early_stopping_survives_an_interruption(write_config, monkeypatch):
    from vrm.train import callbacks

    # A rate at which the NLL soon rises: the run stops early.
    changes = {"train.learning_rate": 0.3, "train.early_stopping": 4, "train.epochs": 10, "train.evals": 40}
    whole, broken = write_config(changes, "whole"), write_config(changes, "broken")
    run("train", whole)
    steps = [json.loads(line)["step"] for line in (trained(whole) / "history.jsonl").read_text().splitlines()]
    assert max(steps) < 40

    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == max(steps) - 1:
            raise Interrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.ProgressBar, "on_step_end", interrupt)
        with pytest.raises(Interrupt):
            main(["train", str(broken)])
    run("train", broken, "--resume")
    again = [json.loads(line)["step"] for line in (trained(broken) / "history.jsonl").read_text().splitlines()]
    assert max(again) == max(steps)
    assert largest_difference(weights(trained(whole)), weights(trained(broken))) == 0.0


def judge(model_dir, rows):
    engine = RewardEngine.from_pretrained(model_dir, options=ExtractionOptions("float32"))
    return engine.judge(rows).moments.mean


def test_adapters_save_load_and_merge_to_the_same_rewards(write_config, tiny_decoder_backbone, tmp_path):
    from peft import LoraConfig, PeftModel, TaskType, get_peft_model
    from transformers import AutoTokenizer

    from vrm.data.chat import prompt_boundary_ids
    from vrm.model import VRMForSequenceClassification, load_model, save_model

    rows = [Judgment(f"how {n}", [f"good plan {n}", "the city is bad"], preference=1.0) for n in range(6)]
    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder_backbone)
    torch.manual_seed(0)
    base = VRMForSequenceClassification.from_backbone(
        str(tiny_decoder_backbone), objectives=["a"], num_features=3, prompt_boundary_ids=prompt_boundary_ids(tokenizer)
    )
    model = get_peft_model(base, LoraConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules=["q_proj", "v_proj"]))
    # PEFT trains and saves a module of this name by itself.
    assert model.peft_config["default"].modules_to_save == ["classifier", "score"]
    assert all(p.requires_grad for name, p in model.named_parameters() if "score.modules_to_save" in name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if "modules_to_save" in name and name.endswith("completion_norm.loc"):
                buffer.add_(0.1)
    save_model(model, tokenizer, tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert any("score" in name and name.endswith("decoder") for name in saved)
    assert not any("embed_tokens" in name for name in saved)
    before = RewardEngine(model.get_base_model(), tokenizer, ExtractionOptions("float32")).judge(rows).moments.mean
    fresh = (
        RewardEngine(
            base.__class__.from_backbone(str(tiny_decoder_backbone), objectives=["a"], num_features=3),
            tokenizer,
            ExtractionOptions("float32"),
        )
        .judge(rows)
        .moments.mean
    )
    assert (before - fresh).abs().max() > 1e-2
    merged, _ = load_model(tmp_path / "adapter")
    assert not isinstance(merged, PeftModel)
    assert torch.allclose(judge(tmp_path / "adapter", rows), before, atol=1e-5)
    save_model(merged, tokenizer, tmp_path / "merged")
    assert torch.allclose(judge(tmp_path / "merged", rows), before, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_two_processes_reach_the_weights_of_one(write_config, checkpointing, planted, tmp_path, train_in, launch):
    """The head on cached features, and everything with activations recomputed, which is stricter about unused ones."""
    # Half of the rows have no ratings or votes, so that some batches of one process have none.
    lines = [json.loads(line) for line in planted["train"].read_text(encoding="utf-8").splitlines()]
    for index, row in enumerate(lines):
        if index % 16 < 8:
            for key in ("chosen_ratings", "rejected_ratings", "objective_votes"):
                row.pop(key, None)
    source = tmp_path / "some.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    changes = {
        "model.head": "gated", "model.head_dropout": 0.0, "train.early_stopping": None,
        "model.tuning": "full" if checkpointing else "frozen",
        "train.epochs": 2, "data": {"train": str(source), "eval": str(planted["dev"])}, "train.batch_size": 4,
        "train.evals": 2, "model.gradient_checkpointing": checkpointing,
    }  # fmt: skip
    # So small that the two have several passes a step, and not equally many.
    one, two = write_config(changes, "one"), write_config({**changes, "train.token_budget": 60}, "two")
    run("train", one)
    printed = train_in(2, two) if checkpointing else launch(2, "-m", "vrm.cli.main", "train", two).communicate()[0]
    assert printed.count("accuracy") == 1, "only one process reports"
    assert largest_difference(weights(trained(one)), weights(trained(two))) < 1e-5
    configs = [json.loads((trained(config) / "model" / "config.json").read_text()) for config in (one, two)]
    for key in ("reward_mean", "reward_std"):
        assert configs[0][key] == pytest.approx(configs[1][key], abs=1e-5)
    metrics = [json.loads((trained(config) / "run.json").read_text())["metrics"]["nll"] for config in (one, two)]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-5)


def test_trackers_get_the_raw_terms(write_config, monkeypatch, tmp_path):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    config = write_config({"train.report_to": ["tensorboard"], "train.epochs": 1})
    run("train", config)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = {path.parent for path in tmp_path.rglob("events.out.tfevents*")}
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    tags = set(accumulator.Tags()["scalars"])
    assert {"train/kl_weights", "train/weighted/kl_weights", "train/comparison", "eval/nll"} <= tags


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "train.epoch=3"], 1, "train.epoch: unknown key; did you mean train.epochs?"),
        (["--set", "model.head=best"], 1, "model.head"),
        (["--set", "data.train=absent.jsonl"], 1, "absent.jsonl"),
        (["--resume"], 1, "there is no checkpoint"),
        (["--set", "model.backbone=./absent"], 1, "absent"),
        (["--sets", "a=b"], 2, "No such option"),
        (["more"], 2, "unexpected extra argument"),
    ],
)
def test_wrong_arguments(write_config, capsys, arguments, code, message):
    run("train", write_config(), *arguments, code=code)
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.replace("│", " ").split())
    assert captured.out == ""


def test_a_missing_configuration(capsys):
    run("train", "absent.yaml", code=1)
    assert "absent.yaml: no such file" in capsys.readouterr().err
