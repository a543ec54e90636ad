"""Cheap mistakes are answered at once, that is before torch is imported, and by what is there in place of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from huggingface_hub import constants

from vrm.cli.checks import check_device, check_directory_name, check_model
from vrm.errors import CheckpointError, ConfigError

ROW = {"prompt": "p", "chosen": "a", "rejected": "b"}

RUN_ALL = """
import contextlib, io, json, sys
from vrm.cli.main import main
answers = []
for command in json.load(sys.stdin):
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(command)
        except SystemExit as stop:
            code = stop.code
    answers.append([code, err.getvalue(), "torch" in sys.modules or "transformers" in sys.modules])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs with models, so far as one can tell without loading them, and a file of rows."""
    place = tmp_path_factory.mktemp("cheap")
    for name in ("run/model", "several/bt/model", "several/vrm/model"):
        (place / name).mkdir(parents=True)
        (place / name / "config.json").write_text(json.dumps({"model_type": "vrm"}))
        (place / name / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    for name in ("run/checkpoint-4", "unfinished/checkpoint-4", "silent"):
        shutil.copytree(place / "run/model", place / name)
    for name in ("run", "unfinished"):
        (place / name / "checkpoint-4/trainer_state.json").write_text("{}")
    (place / "silent/config.json").write_text(json.dumps({"model_type": "vrm", "conversational": True}))
    (place / "silent/tokenizer_config.json").write_text("{}")
    shutil.copytree(place / "run/model", place / "named")
    named = {"model_type": "vrm", "objectives": ["safety", "brevity"], "num_free_objectives": 2}
    (place / "named/config.json").write_text(json.dumps(named))
    (place / "other").mkdir()
    (place / "other/config.json").write_text(json.dumps({"model_type": "bert"}))
    (place / "empty").mkdir()
    (place / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    (place / "done.jsonl").write_text("{}\n")
    (place / "data.yaml").write_text("output_dir: out\ndata: {train: missing.jsonl}\n")
    (place / "backbone.yaml").write_text("output_dir: out\ndata: {train: rows.jsonl}\nmodel: {backbone: ./nothing}\n")
    return place


MISTAKES = {
    "scroe m f": "Did you mean 'score'?",
    "evalute m f": "Did you mean 'evaluate'?",
    "evaluate nothing rows.jsonl": "nothing: there is no such directory",
    "evaluate run rows.jsonl": "did you mean run/model?",
    "evaluate run/model missing.jsonl": "no file or directory 'missing.jsonl'",
    "evaluate run/model rows.jsonl --emphasize safety": "'safety' is not of the form NAME=COUNT",
    "evaluate run/model rows.jsonl --device gpu": "device 'gpu' cannot be used",
    "evaluate run/model rows.jsonl --json empty": "--json: empty is a directory",
    "compare run/model several rows.jsonl": "did you mean several/bt/model, several/vrm/model?",
    "explain named rows.jsonl --emphasize nosuch=5": "the model's named objectives are: safety, brevity",
    "score named rows.jsonl --without saftey": "did you mean safety?",
    "evaluate named rows.jsonl --without free_3": "did you mean free_2?",
    "audit named rows.jsonl --edit paddin": "there is no edit 'paddin'; did you mean padding? there are: padding",
    "compare run/model nope/dir rows.jsonl": "nope/dir: there is no such directory here, and of the Hub",
    "score nope/dir rows.jsonl": "while offline mode is set (HF_HUB_OFFLINE)",
    "export nope/dir new": "nope/dir: there is no such directory here",
    "serve nope/dir": "nope/dir: there is no such directory here",
    "score run/checkpoint-4 rows.jsonl": "checkpoint-4 is a checkpoint of a run and no model; did you mean run/model?",
    "score unfinished/checkpoint-4 rows.jsonl": "its run writes a model when it ends",
    "score silent rows.jsonl": "silent has no chat_template.jinja, but its config.json says",
    "compare run/model run/model missing.jsonl": "no file or directory 'missing.jsonl'",
    "score rows.jsonl rows.jsonl": "rows.jsonl is a file",
    "score run/model missing.jsonl": "no file or directory 'missing.jsonl'",
    "score run/model rows.jsonl -o done.jsonl": "done.jsonl exists already and is complete",
    "score run/model rows.jsonl -o empty": "empty is a directory",
    "score run/model rows.jsonl -o rows.jsonl": "the output is the input",
    "score run/model rows.jsonl --column completion": "is not of the form NAME=COLUMN",
    "score run/model rows.jsonl --kappa -1": "'--kappa'",
    "explain run/model missing.jsonl": "no file or directory 'missing.jsonl'",
    "explain other rows.jsonl": "has model_type 'bert', expected 'vrm'",
    "audit run rows.jsonl": "did you mean run/model?",
    "audit run/model missing.jsonl": "no file or directory 'missing.jsonl'",
    "doctor missing.jsonl": "no file or directory 'missing.jsonl'",
    "doctor rows.jsonl --recipe nothing": "nothing",
    "doctor rows.jsonl --model run": "did you mean run/model?",
    "doctor rows.jsonl --tokenizer ./nothing": "--tokenizer: there is no directory ./nothing",
    "certify empty": "empty is no directory of a run",
    "certify run/model": "run/model is no directory of a run",
    "certify run --delta 2": "2 is not between 0 and 1",
    "train missing.yaml": "missing.yaml: no such file",
    "train data.yaml": "missing.jsonl",
    "train data.yaml --set seed": "--set: the form is A.B=VALUE, got 'seed'",
    "train backbone.yaml": "model.backbone: there is no directory",
    "export empty new": "empty has no config.json",
    "export run/model other": "other exists: choose another directory",
    "export run/model new --results missing.json": "--results: missing.json: no such file",
    "distill-linear run/model missing.jsonl -o new": "no file or directory 'missing.jsonl'",
    "distill-linear run/model rows.jsonl -o other": "other exists: choose another directory",
    "serve run": "did you mean run/model?",
    "report missing": "missing",
}


@pytest.fixture(scope="module")
def answers(folder):
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps([command.split() for command in MISTAKES]),
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"TERMINAL_WIDTH": "300"},
        check=True,
    )
    return dict(zip(MISTAKES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("command", MISTAKES)
def test_the_answer_comes_before_torch(answers, command):
    code, words, heavy = answers[command]
    assert code in (1, 2)
    assert MISTAKES[command] in " ".join(words.split())
    assert "Traceback" not in words
    assert not heavy


def test_models_that_are_there_and_names_of_the_hub_pass(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for model in (str(folder / "run/model"), "owner/name"):
        check_model(model)
    for model in ("./owner", "name", "/a/b"):
        with pytest.raises(CheckpointError, match="no such directory"):
            check_model(model)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="owner/name: there is no such directory here"):
        check_model("owner/name")
    (tmp_path / "models--owner--name").mkdir()
    check_model("owner/name")


def test_a_checkpoint_of_another_trainer_and_a_template_in_any_place_pass(folder, tmp_path):
    shutil.copytree(folder / "silent", tmp_path / "checkpoint-4")
    (tmp_path / "checkpoint-4/trainer_state.json").write_text("{}")
    stated = tmp_path / "checkpoint-4/tokenizer_config.json"
    stated.write_text(json.dumps({"chat_template": "{{ messages }}"}))
    check_model(str(tmp_path / "checkpoint-4"))
    stated.write_text("{}")
    (tmp_path / "checkpoint-4/chat_template.jinja").write_text("{{ messages }}")
    check_model(str(tmp_path / "checkpoint-4"))


def test_devices_and_names(tmp_path):
    for device in ("auto", "cpu", "cuda:1", "mps", "xpu"):
        check_device(device)
    with pytest.raises(ConfigError, match="device 'gpu'"):
        check_device("gpu")
    for name in ("embedded", "bert-base", "owner/name", str(tmp_path)):
        check_directory_name(name, "model.backbone")
    for name in ("a/b/c", "~nobody-of-this-name/a"):
        with pytest.raises(ConfigError, match=f"--tokenizer: there is no directory {name}"):
            check_directory_name(name, "--tokenizer")
