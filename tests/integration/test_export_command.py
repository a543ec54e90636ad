"""`vrm export` from end to end: a trained run, its results, the directory that is shared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vrm.cli.main import main


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def trained(tiny_encoder_backbone, tmp_path_factory) -> Path:
    """A finished run and an evaluation of its model."""
    directory = tmp_path_factory.mktemp("run")
    words = ["the", "good", "bad", "safe", "plan", "water"]
    rows = [
        {
            "prompt": [{"role": "user", "content": f"how {words[n % 6]} {n}"}],
            "chosen": [{"role": "assistant", "content": f"very {words[n % 5]}"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for n in range(40)
    ]
    (directory / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "output_dir": str(directory / "run"),
        "data": {"train": str(directory / "pairs.jsonl"), "held_out": 0.2},
        "model": {"backbone": str(tiny_encoder_backbone), "max_input_tokens": 64, "head": "mlp"},
        "train": {"epochs": 1, "batch_size": 16},
    }
    (directory / "config.yaml").write_text(json.dumps(config))
    assert run("train", directory / "config.yaml") == 0
    evaluated = ("evaluate", directory / "run/model", directory / "pairs.jsonl", "--resamples", 20)
    assert run(*evaluated, "--json", directory / "result.json") == 0
    return directory


def test_the_run_becomes_a_directory_with_its_card(trained, tmp_path, capsys):
    target = tmp_path / "my-reward-model"
    arguments = ("export", trained / "run/model", target, "--remote-code", "--results", trained / "result.json")
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("README.md", "model.safetensors", "modeling_vrm.py", "config.json"))
    card = (target / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "# my-reward-model\n" in card
    assert "| pairs.jsonl | 40 | " in card
    assert "`pairs.jsonl` (local) | training" in card
    assert str(trained) not in card
    metrics = json.loads((trained / "run/run.json").read_text())["metrics"]
    assert f"accuracy {metrics['accuracy']:.3f}" in card
    # The exported model is a model of every other command.
    assert run("score", target, trained / "pairs.jsonl", "-o", tmp_path / "scores.jsonl") == 0
    assert run("score", trained / "run/model", trained / "pairs.jsonl", "-o", tmp_path / "before.jsonl") == 0
    after, before = ((tmp_path / name).read_text().splitlines() for name in ("scores.jsonl", "before.jsonl"))
    for line, reference in zip(after, before, strict=True):
        assert json.loads(line)["rewards"] == pytest.approx(json.loads(reference)["rewards"], abs=1e-6)


def test_what_is_wrong_is_said_before_anything_is_written(trained, tiny_model_dir, tmp_path, capsys):
    target = tmp_path / "out"
    assert run("export", tmp_path / "nothing", target) == 1
    assert "there is no such directory" in capsys.readouterr().err
    assert run("export", tiny_model_dir, target, "--results", trained / "result.json") == 1
    assert "was measured on the weights" in capsys.readouterr().err
    assert run("export", tiny_model_dir, target, "--dtype", "int8") == 2
    assert not target.exists()
    assert run("export", tiny_model_dir, target, "--dtype", "bfloat16") == 0
    assert "no run.json beside" in capsys.readouterr().err
    assert run("export", tiny_model_dir, target) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run("export", tiny_model_dir, target, "--overwrite") == 0
    assert json.loads((target / "config.json").read_text())["dtype"] == "float32"
