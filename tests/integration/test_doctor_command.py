"""`vrm doctor`: exit codes, what it prints, and that table and document say the same."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from vrm.cli.main import main
from vrm.data.planted import write_planted


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A part of the planted corpus in two files, one that leaks, and one with faults."""
    directory = tmp_path_factory.mktemp("doctor")
    rows = [
        json.loads(line)
        for line in write_planted(directory, raters=False)["dev"].read_text(encoding="utf-8").splitlines()
    ]
    prompts = {json.dumps(row["prompt"]): row for row in rows}
    different = list(prompts.values())
    contents = {
        "train": different[:40],
        "dev": different[40:60],
        "leak": [*different[40:59], different[3]],
        "faulty": [*different[:5], {**different[5], "rejected": different[5]["chosen"]}],
    }
    paths = {name: directory / f"{name}.jsonl" for name in contents}
    for name, content in contents.items():
        paths[name].write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return paths


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


@pytest.fixture
def tokenizer(tiny_encoder_backbone):
    return ("--tokenizer", tiny_encoder_backbone, "--max-input-tokens", 4096)


def test_a_leak_is_exit_code_1_and_can_be_allowed(files, tokenizer, capsys):
    run("doctor", files["train"], files["leak"], *tokenizer, code=1)
    out = capsys.readouterr().out
    assert "Training or evaluation on this data would be invalid: shared_prompts" in " ".join(out.split())
    assert re.search(r"│ error +│ shared_prompts +│ +5.0 % │", out)
    assert "train.jsonl:4 and" in out
    run("doctor", files["train"], files["leak"], *tokenizer, "--allow", "shared_prompts")
    out = capsys.readouterr().out
    assert "An error that has been allowed" in out
    assert "Nothing that would invalidate training" in out


def test_parts_of_a_clean_split_pass(files, tokenizer, capsys):
    run("doctor", files["train"], files["dev"], *tokenizer, "--allow", "near_shared_prompts")
    out = capsys.readouterr().out
    assert re.search(r"│ rows +│ +40 │ +20 │", out)
    assert "train and dev: shared_prompts" in " ".join(out.split())
    assert "│ error" not in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_faults_of_rows(files, tokenizer, capsys):
    run("doctor", files["faulty"], *tokenizer, code=1)
    out = capsys.readouterr().out
    assert "faulty.jsonl:6 chosen (identical sides)" in " ".join(out.replace("│", " ").split())


def test_the_document_has_what_the_table_has(files, tokenizer, capsys, tmp_path):
    output = tmp_path / "doctor.json"
    run("doctor", files["train"], files["leak"], *tokenizer, "--json", output, code=1)
    out = capsys.readouterr().out
    document = json.loads(output.read_text(encoding="utf-8"))
    assert (document["kind"], document["schema"], document["model"]) == ("doctor", 1, None)
    assert list(document)[:4] == ["kind", "schema", "model", "versions"]
    assert {"vrm", "datasketch", "py3langid"} <= set(document["versions"])
    assert document["invalid"] is True
    assert document["paths"] == [str(files["train"]), str(files["leak"])]
    shown = [finding for finding in document["findings"] if finding["severity"] in ("error", "warning", "info")]
    rows = re.findall(r"│ (error|warning|info) +│ ([a-z_]+) ", out)
    assert rows == [(finding["severity"], finding["name"]) for finding in shown]
    for finding in document["findings"]:
        assert finding["name"] in out
    run("doctor", files["train"], files["leak"], *tokenizer, "--json", "-", code=1)
    assert json.loads(capsys.readouterr().out) == document


def test_no_texts_are_printed(files, tokenizer, capsys):
    run("doctor", files["train"], files["leak"], *tokenizer, "--json", "-", code=1)
    out = capsys.readouterr().out
    for line in files["train"].read_text(encoding="utf-8").splitlines():
        assert json.loads(line)["chosen"][0]["content"] not in out
        assert json.loads(line)["prompt"][0]["content"] not in out


def test_the_number_of_places(files, tokenizer, capsys):
    run("doctor", files["train"], files["leak"], *tokenizer, "--examples", 0, code=1)
    assert ".jsonl:" not in capsys.readouterr().out


def test_a_model_says_what_it_thinks_of_the_labels(files, tiny_model_dir, capsys):
    run("doctor", files["train"], "--model", tiny_model_dir, "--json", "-", "--allow", "cut_to_identical")
    document = json.loads(capsys.readouterr().out)
    assert document["model"] == str(tiny_model_dir)
    assert document["tokenizer"] == {"name": str(tiny_model_dir), "limit": 128}
    (found,) = (finding for finding in document["findings"] if finding["name"] == "model_contradicts")
    assert found["severity"] == "not run"
    assert "at least 50" in found["message"]


def test_the_limit_of_tokens(files, tiny_encoder_backbone, capsys):
    arguments = ("doctor", files["train"], "--tokenizer", tiny_encoder_backbone, "--json", "-")
    counts = []
    for limit in (16, 4096):
        with pytest.raises(SystemExit):
            main([str(argument) for argument in (*arguments, "--max-input-tokens", limit)])
        document = json.loads(capsys.readouterr().out)
        counts.append(next(entry["count"] for entry in document["findings"] if entry["name"] == "over_limit"))
    assert counts == [40, 0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.jsonl"], 1, "absent.jsonl"),
        ([], 2, "Missing argument"),
        (["FILE", "--allow", "everything"], 1, "everything cannot be allowed"),
        (["FILE", "--split-by", "row"], 2, "not one of 'prompt', 'category'"),
        (["FILE", "--examples", "-1"], 2, "examples"),
        (["FILE", "--tokenizer", "x", "--model", "y"], 2, "its own tokenizer"),
        (["FILE", "--model", "nowhere"], 1, "nowhere"),
        (["FILE", "--recipe", "soup"], 1, "soup"),
    ],
)
def test_wrong_arguments(files, capsys, arguments, code, message):
    run("doctor", *(str(files["dev"]) if argument == "FILE" else argument for argument in arguments), code=code)
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.replace("│", " ").split())
    assert captured.out == ""


@pytest.mark.parametrize("package", ["datasketch", "py3langid"])
def test_without_the_extra_the_error_says_what_to_install(files, tokenizer, capsys, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    run("doctor", files["dev"], *tokenizer, code=1)
    captured = capsys.readouterr()
    assert f"'{package}', which is not installed. Install it with: pip install 'vrm[doctor]'" in captured.err
    assert captured.out == ""


RMB = Path(__file__).parents[3] / "shared" / "data" / "preferences" / "rmb.dev.jsonl.gz"


@pytest.mark.shared
@pytest.mark.skipif(not RMB.exists(), reason="needs ../shared/data/preferences/rmb.dev.jsonl.gz")
def test_real_data_has_known_faults(tokenizer, capsys):
    run("doctor", RMB, *tokenizer, "--sample", 50, "--json", "-")
    document = json.loads(capsys.readouterr().out)
    found = {finding["name"]: finding for finding in document["findings"]}
    assert (found["identical_sides"]["count"], found["identical_sides"]["total"]) == (2, 1866)
    assert document["files"]["rmb.dev"]["num_categories"] > 20
