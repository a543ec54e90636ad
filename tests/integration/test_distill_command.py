"""`vrm distill-linear` from end to end: the student that is written agrees as its document says, without vrm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from vrm.cli.main import main
from vrm.data.schema import Judgment
from vrm.data.splits import split_by_prompt
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.metrics import json_ready, reward_agreement

ARCHITECTURES = {"encoder": "Bert", "decoder": "Qwen3", "smollm2": "Llama"}
WORDS = ["the", "good", "bad", "safe", "unsafe", "plan", "water", "city", "story", "number", "help"]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("distill") / "rows.jsonl"
    rows = [
        {
            "prompt": f"how {WORDS[n % 11]} {WORDS[(n * 7) % 11]}",
            "completions": [" ".join(WORDS[(n + k) % 5 : (n + k) % 5 + 2 + n % 4]) for k in range(3)],
        }
        for n in range(60)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


LOAD = """
import importlib.util, json, sys
assert importlib.util.find_spec("vrm") is None, "vrm can be imported here"
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

directory, conversations = sys.argv[1], json.loads(sys.argv[2])
model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
tokenizer = AutoTokenizer.from_pretrained(directory)
texts = [tokenizer.apply_chat_template(messages, tokenize=False) for messages in conversations]
batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
with torch.no_grad():
    print(json.dumps({"model": type(model).__name__, "rewards": model(**batch).logits[:, 0].tolist()}))
"""


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("encoder", []),
        pytest.param("smollm2", [], marks=pytest.mark.slow),
        ("decoder", ["--tuning", "full", "--epochs", 1, "--learning-rate", "1e-3"]),
    ],
)
def test_the_student_agrees_as_its_document_says(make_tiny_model, source, tmp_path, capsys, kind, options):
    teacher, student = make_tiny_model(kind=kind), tmp_path / "student"
    assert run("distill-linear", teacher, source, "-o", student, "--held-out", 0.3, *options) == 0
    printed = capsys.readouterr().out
    document = json.loads((student / "distillation.json").read_text())
    assert f"{document['rows']['held_out']} held-out rows" in printed
    assert set(document["agreement"]) == {"as_rendered"} | (set() if kind == "encoder" else {"without_line_ends"})
    # The held-out rows once more, by the parts themselves.
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    _, test = split_by_prompt([Judgment(row["prompt"], row["completions"]) for row in rows], 0.3, 0)
    engine = RewardEngine.from_pretrained(teacher, options=ExtractionOptions("float32"))
    given = engine.judge(test).moments.mean.flatten().tolist()
    conversations = [
        [{"role": "user", "content": row.prompt}, {"role": "assistant", "content": text}]
        for row in test
        for text in row.completions
    ]
    found = loaded_without_vrm(student, conversations, tmp_path)
    assert found["model"] == f"{ARCHITECTURES[kind]}ForSequenceClassification"
    groups = [index for index in range(len(test)) for _ in range(3)]
    wanted = json_ready(reward_agreement(given, found["rewards"], groups))
    stored = document["agreement"]["as_rendered"]
    # Ranks of nearly equal rewards may change places by rounding.
    assert stored.pop("spearman") == pytest.approx(wanted.pop("spearman"), abs=1e-3)
    assert stored == pytest.approx(wanted, abs=1e-5)
    card = (student / "README.md").read_text(encoding="utf-8")
    assert f"| {wanted['pearson']:.3f} |" in card
    assert "No uncertainty" in card
    assert str(tmp_path) not in card + json.dumps(document)


def loaded_without_vrm(student: Path, conversations: list, cache: Path) -> dict:
    packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-c", f"import sys; sys.path += {packages!r}\n{LOAD}"]
    result = subprocess.run(
        [*command, str(student), json.dumps(conversations)],
        capture_output=True, text=True, check=False, env={**environment, "HF_HOME": str(cache)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_what_would_be_ignored_is_refused(tiny_model_dir, source, tmp_path, capsys):
    assert run("distill-linear", tiny_model_dir, source, "-o", tmp_path / "x", "--epochs", 2) == 2
    assert "closed form" in capsys.readouterr().err
    assert run("distill-linear", tiny_model_dir, source, "-o", tmp_path / "x", "--held-out", 0) == 2
    assert run("distill-linear", tiny_model_dir, tmp_path / "no.jsonl", "-o", tmp_path / "x") == 1
    assert run("distill-linear", tiny_model_dir, source, "-o", tiny_model_dir) == 1
    assert "is, or contains, the model" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_rows_over_the_limit_are_counted(make_tiny_model, source, tmp_path, capsys):
    teacher = make_tiny_model(kind="encoder", max_input_tokens=10)
    assert run("distill-linear", teacher, source, "-o", tmp_path / "x", "--held-out", 0.3, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "x" / "distillation.json").read_text())
    rows = document["rows"]
    assert rows["overlong"] > 0
    assert rows["train"] + rows["held_out"] + rows["overlong"] == 60


def test_a_standardized_teacher_has_a_standardized_student(make_tiny_model, source, tmp_path, capsys):
    found = {}
    for scale in ("raw", "standardized"):
        teacher = make_tiny_model(kind="encoder", reward_scale=scale)
        assert run("distill-linear", teacher, source, "-o", tmp_path / scale, "--held-out", 0.3, "--json") == 0
        found[scale] = json.loads(capsys.readouterr().out)
    for figure in ("mean_difference", "max_difference"):
        raw, standardized = (found[scale]["agreement"]["as_rendered"][figure] for scale in ("raw", "standardized"))
        assert standardized == pytest.approx(raw / 1.5, rel=1e-2)  # the tiny model's reward_std
    assert found["standardized"]["teacher"]["reward_std"] == pytest.approx(found["raw"]["teacher"]["reward_std"] / 1.5)


def test_no_rows_are_an_error(make_tiny_model, source, tmp_path, capsys):
    teacher = make_tiny_model(kind="encoder", max_input_tokens=4)
    assert run("distill-linear", teacher, source, "-o", tmp_path / "x") == 1
    assert "no training rows remain: 60 rows, limit 4 tokens: 60 dropped" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
