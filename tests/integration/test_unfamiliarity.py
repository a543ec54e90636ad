"""A trained model knows what is unlike its training texts: `score`, `explain`, `doctor`, and exported code say it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from vrm import load_model
from vrm.cli.main import main

TOPICS = {
    "medicine": "doctor safe unsafe short",
    "travel": "city water plan story",
    "foreign": "number sorry question no",
}


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def rows(topic: str, count: int, start: int = 0) -> list[dict]:
    words = TOPICS[topic].split()
    made = []
    for number in range(start, start + count):
        first, second, third = (words[(number // 4**place) % 4] for place in range(3))
        made.append(
            {
                "prompt": f"how {first} {second} {number}",
                "chosen": f"{third} {first} {second} {first} {third} {words[number % 4]}",
                "rejected": f"{second} {third} {first} {second} {words[(number + 1) % 4]} {third}",
                "category": topic,
            }
        )
    return made


def write(path: Path, entries: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in entries), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["frozen", "full", "lora"])
def trained(request, tiny_encoder_backbone, tmp_path_factory) -> Path:
    """A folder with a trained model, rows like its own and rows that are not."""
    directory = tmp_path_factory.mktemp(f"unfamiliar-{request.param}")
    write(directory / "train.jsonl", rows("medicine", 60) + rows("travel", 60))
    write(directory / "like.jsonl", rows("medicine", 10, 60) + rows("travel", 10, 60))
    write(directory / "unlike.jsonl", rows("foreign", 20))
    config = {
        "output_dir": str(directory / "run"),
        "data": {"train": str(directory / "train.jsonl"), "held_out": 0.1},
        "model": {
            "backbone": str(tiny_encoder_backbone), "max_input_tokens": 64, "head": "bt", "tuning": request.param
        },
        "train": {"epochs": 1, "batch_size": 16},
    }  # fmt: skip
    write(directory / "config.yaml", [config])
    assert run("train", directory / "config.yaml") == 0
    return directory


def scored(directory: Path, model: Path, name: str) -> list[float]:
    output = directory / f"{name}-{model.name}.jsonl"
    assert run("score", model, directory / f"{name}.jsonl", "-o", output, "--overwrite") == 0
    return [value for line in output.read_text().splitlines() for value in json.loads(line)["unfamiliarity"]]


def test_score_tells_foreign_texts(trained):
    like, unlike = (scored(trained, trained / "run/model", name) for name in ("like", "unlike"))
    assert len(like) == len(unlike) == 40
    assert sorted(like)[len(like) // 2] < 1.0
    assert min(unlike) > sorted(like)[len(like) // 2]
    assert sum(value > 1.0 for value in unlike) > 30


def test_explain_says_so_with_the_nearest_category(trained, capsys):
    model = trained / "run/model"
    assert run("explain", model, trained / "unlike.jsonl") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "is unlike the training data" in text
    assert "The nearest training category is" in text
    assert run("explain", model, trained / "like.jsonl", "--json") == 0
    report = json.loads(capsys.readouterr().out)["completions"][0]["unfamiliarity"]
    assert report["nearest_category"] == "medicine"
    assert run("explain", model, trained / "unlike.jsonl", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    found = [report["unfamiliarity"]["distance"] for report in document["completions"]]
    assert found == pytest.approx(scored(trained, model, "unlike")[:2], rel=1e-4)


def test_doctor_lists_the_most_unfamiliar_rows(trained, capsys):
    mixed = write(trained / "mixed.jsonl", rows("medicine", 30, 60) + rows("foreign", 10))
    arguments = ("doctor", mixed, "--model", trained / "run/model", "--examples", 5, "--json", "-")
    for name in ("near_shared_prompts", "cut_to_identical", "identical_tokens"):
        arguments += ("--allow", name)
    run(*arguments)
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    finding = findings["unfamiliar_rows"]
    lines = [int(place.rpartition(":")[2]) for place in finding["places"]]
    assert len(lines) == 5
    assert all(line > 30 for line in lines)
    values = [row["unfamiliarity"] for row in finding["details"]["rows"]]
    assert values == sorted(values, reverse=True)


def test_exported_code_gives_the_same_numbers(trained, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    target = tmp_path / "exported"
    assert run("export", trained / "run/model", target, "--remote-code") == 0
    exported = AutoModelForSequenceClassification.from_pretrained(target, trust_remote_code=True).eval()
    model, _ = load_model(trained / "run/model")
    ids = AutoTokenizer.from_pretrained(target)("how doctor safe unsafe water", return_tensors="pt")
    ids["completion_start"] = torch.tensor([2])
    with torch.inference_mode():
        theirs, ours = exported(**ids).posteriors.unfamiliarity, model(**ids).posteriors.unfamiliarity
    assert torch.allclose(theirs.distance, ours.distance)
    assert torch.allclose(theirs.by_category, ours.by_category)
    assert list(exported.config.familiar_categories) == ["medicine", "travel"]


def test_a_model_that_keeps_nothing_says_nothing(tiny_model_dir, trained, tmp_path, capsys):
    output = tmp_path / "scores.jsonl"
    assert run("score", tiny_model_dir, trained / "like.jsonl", "-o", output) == 0
    assert "unfamiliarity" not in json.loads(output.read_text().splitlines()[0])
    assert run("explain", tiny_model_dir, trained / "like.jsonl", "--json") == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["completions"][0]["unfamiliarity"] is None
