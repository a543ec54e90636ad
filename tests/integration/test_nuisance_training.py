"""A run with a nuisance offset that is interrupted and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from vrm.cli.main import main
from vrm.data.planted import write_planted

pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")


class Interrupt(BaseException):
    pass


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert not stop.value.code


def test_resume_goes_on_with_the_same_offset_to_the_same_weights(tmp_path, tiny_encoder_backbone, monkeypatch, capsys):
    from vrm.train import callbacks, nuisance

    paths = write_planted(tmp_path, raters=False)
    for name, limit in (("train", 48), ("dev", 16)):
        lines = paths[name].read_text(encoding="utf-8").splitlines()[:limit]
        paths[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
    configs = []
    for name in ("whole", "broken"):
        values = {
            "output_dir": str(tmp_path / name),
            "data": {"train": str(paths["train"]), "eval": str(paths["dev"])},
            "model": {"backbone": str(tiny_encoder_backbone), "num_features": 4, "max_input_tokens": 256},
            "loss": {"num_nodes": 6},
            "train": {"epochs": 2, "batch_size": 16, "evals": 3, "precision": "float32"},
            "nuisance": {"measures": ["log_length", "bold_density"], "num_knots": 3},
        }
        configs.append(tmp_path / f"{name}.yaml")
        configs[-1].write_text(yaml.safe_dump(values), encoding="utf-8")
    whole, broken = configs
    run("train", whole)
    assert "nuisance offset in logits, 5th to 95th percentile: log_length" in capsys.readouterr().err

    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == 4:
            raise Interrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.ProgressBar, "on_step_end", interrupt)
        with pytest.raises(Interrupt):
            main(["train", str(broken)])
    monkeypatch.setattr(nuisance, "_fit", lambda *_: pytest.fail("fitted anew on resume"))
    run("train", broken, "--resume")
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    summaries = [json.loads(Path(tmp_path / name / "run.json").read_text()) for name in ("whole", "broken")]
    assert summaries[0]["nuisance"] == summaries[1]["nuisance"]
    for name in ("nll", "quality_nll", "quality_accuracy"):
        assert summaries[0]["metrics"][name] == summaries[1]["metrics"][name]
