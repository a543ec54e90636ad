"""What a chat template refuses, in every command that reads rows."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from vrm.cli.main import main
from vrm.data.schema import Message

pytestmark = pytest.mark.filterwarnings("ignore::vrm.core.losses.PromptIgnoredWarning")

NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
REFUSAL = "rows.jsonl:3: the model's chat template refuses these messages: System role not supported"


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def answer(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def with_template(source, target, prelude):
    """A copy of a model directory with something before its chat template."""
    shutil.copytree(source, target)
    template = target / "chat_template.jinja"
    template.write_text(prelude + template.read_text(encoding="utf-8"), encoding="utf-8")
    mean_it(target)
    return target


def mean_it(directory):
    """What a changed template needs, where a model was saved with another one."""
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("text_digests", None)
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture
def rows(tmp_path):
    """Twelve pairs; the third begins with a system turn."""
    pairs = [
        ([user(f"what {word}")], answer(f"help {word}"), answer("no")) for word in ["plan", "city", "doctor", "water"]
    ]
    pairs *= 3
    prompt, *sides = pairs[2]
    pairs[2] = ([{"role": "system", "content": "short"}, *prompt], *sides)
    path = tmp_path / "rows.jsonl"
    named = [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in named), encoding="utf-8")
    return path


@pytest.fixture
def model(tiny_decoder_dir, tmp_path):
    return with_template(tiny_decoder_dir, tmp_path / "model", NO_SYSTEM)


def test_a_refused_row_stops_every_command_with_its_place_and_the_words_of_the_template(model, rows, capsys):
    commands = [
        ("score", model, rows),
        ("explain", model, rows, "--line", 3),
        ("evaluate", model, rows),
        ("compare", model, model, rows),
        ("audit", model, rows),
        ("distill-linear", model, rows, "-o", rows.parent / "student"),
    ]
    for command in commands:
        run(*command, code=1)
        assert capsys.readouterr().err.splitlines()[-1].endswith(REFUSAL), command[0]


def test_skipped_rows_are_counted(model, rows, capsys):
    run("score", model, rows, "--on-bad-rows", "skip")
    output = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(output) == 12
    assert output[2]["error"].endswith(REFUSAL)
    assert [row["line"] for row in output if "error" in row] == [3]
    for command in (("evaluate", model), ("compare", model, model), ("audit", model)):
        run(*command, rows, "--on-bad-rows", "skip", "--resamples", 20)
        captured = capsys.readouterr()
        assert f"1 row left out; {rows.parent / REFUSAL}" in captured.err
        assert "1 left out because of the chat template" in captured.out


def test_the_doctor_counts_them(model, rows, capsys):
    run("doctor", rows, "--model", model, "--json", "-", code=1)
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    found = findings["template_refuses"]
    assert (found["severity"], found["count"], found["total"]) == ("error", 1, 12)
    assert found["places"] == [f"{rows}:3"]
    assert "System role not supported" in found["message"]


def test_training_stops_at_them_or_leaves_them_out(tiny_decoder_backbone, rows, tmp_path, capsys):
    backbone = with_template(tiny_decoder_backbone, tmp_path / "backbone", NO_SYSTEM)
    config = {
        "output_dir": str(tmp_path / "run"),
        "data": {"train": str(rows), "held_out": 0.0},
        "model": {"backbone": str(backbone), "num_free_objectives": 1, "hidden_size_head": 8, "max_input_tokens": 128},
        "train": {"epochs": 1, "batch_size": 8, "precision": "float32"},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    run("train", path, code=1)
    assert capsys.readouterr().err.splitlines()[-1].endswith(REFUSAL)
    run("train", path, "--set", "data.on_bad_rows=skip")
    assert f"1 row left out; {rows.parent / REFUSAL}" in capsys.readouterr().err
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (summary["rows"]["train"], summary["overlong"]["refused"]) == (11, 1)


# What a template leaves out


THOUGHTS = "the chat template removes what stands before </think>"


@pytest.fixture
def thoughtless(tmp_path):
    """thoughtless(source): a copy of a model whose template removes thoughts."""

    def copy(source):
        target = shutil.copytree(source, tmp_path / f"thoughtless-{source.name}")
        template = target / "chat_template.jinja"
        text = template.read_text(encoding="utf-8")
        changed = text.replace("message['content'] }}", "message['content'].split('</think>')[-1] }}")
        assert changed != text
        template.write_text(changed, encoding="utf-8")
        mean_it(target)
        return target

    return copy


@pytest.fixture
def thoughts(tmp_path):
    """Twelve pairs whose sides differ in their thoughts alone."""
    sides = [[answer(f"<think>{'so ' * n}</think>help") for n in (index + 1, index + 2)] for index in range(12)]
    named = [
        {"prompt": [user(f"what {index}")], "chosen": chosen, "rejected": rejected}
        for index, (chosen, rejected) in enumerate(sides)
    ]
    path = tmp_path / "thoughts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in named), encoding="utf-8")
    return path


def test_pairs_that_become_identical_are_counted_with_the_cause(thoughtless, tiny_decoder_dir, thoughts, capsys):
    model = thoughtless(tiny_decoder_dir)
    alike = f"12 of 12 pairs become identical in tokens: {THOUGHTS} (12)"
    for command in ("score", "evaluate", "audit"):
        few = () if command == "score" else ("--resamples", 20)
        run(command, model, thoughts, *few)
        assert alike in capsys.readouterr().err, command
    run("explain", model, thoughts)
    assert "Different completions are the same in tokens" in " ".join(capsys.readouterr().out.split())
    run("doctor", thoughts, "--model", model, "--json", "-", code=1)
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    found = findings["identical_tokens"]
    assert (found["severity"], found["count"], found["total"]) == ("error", 12, 12)
    assert found["details"]["reasons"] == {THOUGHTS: 12}
    assert findings["template_drops"]["severity"] == "warning"


def test_equal_rewards_are_half_right_in_training(thoughtless, tiny_decoder_backbone, thoughts, tmp_path, capsys):
    config = {
        "output_dir": str(tmp_path / "run"),
        "data": {"train": str(thoughts), "eval": str(thoughts)},
        "model": {
            "backbone": str(thoughtless(tiny_decoder_backbone)),
            "tuning": "full",
            "num_free_objectives": 1,
            "hidden_size_head": 8,
            "max_input_tokens": 128,
            "compile": False,
        },
        "train": {"epochs": 1, "batch_size": 8, "precision": "float32", "evals": 1, "logging_steps": 1},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    run("train", path)
    assert f"pairs become identical in tokens: {THOUGHTS} (24)" in capsys.readouterr().err
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (summary["metrics"]["accuracy"], summary["overlong"]["identical"]) == (0.5, 24)
    logs = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert {log["accuracy"] for log in logs if "accuracy" in log} == {0.5}
