"""`vrm explain` from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vrm.cli.main import main

TYPED = ["--prompt", "How do I plan a trip?", "--completion", "Start with the water.", "--completion", "No, sorry."]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "first", "completion": "yes"}\n'
        "\n"
        '{"prompt": [{"role": "user", "content": "third"}], "chosen": "long story", "rejected": "short"}\n'
        '{"prompt": "fourth"}\n'
    )
    return path


def test_a_typed_prompt(tiny_model_dir):
    command = [sys.executable, "-m", "vrm.cli.main", "explain", str(tiny_model_dir), *TYPED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for words in ("Start with the water.", "Objective weights", "beats", "because of", "What can be read into this"):
        assert words in done.stdout


@pytest.mark.parametrize("head", ["vrm", "gated", "bottleneck", "mlp", "bt"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_every_head_and_backbone(make_tiny_model, capsys, head, kind):
    directory = make_tiny_model(head=head, kind=kind)
    assert run("explain", directory, *TYPED) == 0
    text = capsys.readouterr().out
    assert ("Objective weights" in text) == (head in ("vrm", "gated"))
    assert run("explain", directory, *TYPED, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["head"] == head
    assert f"probability {document['pairs'][0]['probability']:.2f}" in text


def test_a_row_of_a_file(tiny_model_dir, source, capsys):
    assert run("explain", tiny_model_dir, source, "--json") == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "first"
    assert run("explain", tiny_model_dir, source, "--line", 3, "--json") == 0
    third = json.loads(capsys.readouterr().out)
    assert third["prompt"] == "third"
    assert [report["text"] for report in third["completions"]] == ["long story", "short"]
    assert third["notes"] == ["A is the row's chosen completion, B its rejected one."]


@pytest.mark.parametrize(("line", "words"), [(2, "no row at line 2"), (9, "no row at line 9"), (4, ":4: field")])
def test_rows_that_are_not_there_or_bad(tiny_model_dir, source, capsys, line, words):
    assert run("explain", tiny_model_dir, source, "--line", line) == 1
    assert words in capsys.readouterr().err


def test_steering(tiny_model_dir, capsys):
    assert run("explain", tiny_model_dir, *TYPED, "--emphasize", "safety=40", "--without", "brevity", "--json") == 0
    steered = json.loads(capsys.readouterr().out)
    weights = {report["objective"]: report["weight"]["mean"] for report in steered["weights"]}
    assert set(weights) == {"helpfulness", "safety", "free_1"}
    assert weights["safety"] > 0.8
    assert steered["emphasis"] == {"safety": 40.0}
    assert run("explain", tiny_model_dir, *TYPED, "--emphasize", "safety=40") == 0
    assert "of emphasis (safety +40)" in " ".join(capsys.readouterr().out.split())


def test_heads_that_cannot_be_steered(make_tiny_model, capsys):
    assert run("explain", make_tiny_model(head="gated"), *TYPED, "--emphasize", "safety=1") == 1
    assert "no concentration" in capsys.readouterr().err
