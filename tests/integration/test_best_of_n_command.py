"""`vrm evaluate MODEL bon=FILE`: options, tables, JSON and the file of rewards."""

from __future__ import annotations

import json

import pytest

from vrm.cli.main import main

ROWS = [
    {"prompt": f"plan {what}", "completions": texts, "gold": gold, "id": what}
    for what, texts, gold in [
        ("a city", ["yes", "no", "sure, it is a good plan"], [2.5, -1.0, 0.0]),
        ("water", ["short", "why not", "please", "the doctor can help"], [0.0, 1.0, 1.0, -3.0]),
        ("the story", ["what", "thank you"], [1.0, 0.0]),
    ]
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "bon.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs `vrm evaluate`, checks its exit code and returns what it printed."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments, code=0):
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", *map(str, arguments)])
        printed = capsys.readouterr()
        assert (stop.value.code or 0) == code, printed.err
        return printed

    return run


def test_tables_json_and_rewards_agree(run, tiny_model_dir, file, tmp_path):
    output = tmp_path / "out.json"
    printed = run(tiny_model_dir, f"bon={file}", "--kappa", 1.5, "--resamples", 30, "--json", output)
    curves = json.loads(output.read_text())["benchmarks"]["bon"]["curves"]
    assert set(curves) == {"mean", "pessimistic 1.5", "relative 1.5", "longest", "oracle", "random"}
    end = curves["pessimistic 1.5"]["gold"][-1]
    assert f"{end['estimate']:.3f} [{end['low']:.3f}, {end['high']:.3f}]" in printed.out
    rewards = {row["id"]: row for row in map(json.loads, (tmp_path / "out.bon.rewards.jsonl").open())}
    assert {name: len(row["rewards"]) for name, row in rewards.items()} == {"a city": 3, "water": 4, "the story": 2}


def test_max_n_and_skipped_rows(run, tiny_model_dir, file, tmp_path):
    file.write_text(file.read_text() + json.dumps({"prompt": "x", "completions": ["a", "b"], "gold": [1]}) + "\n")
    assert f"{file}:4: field 'gold'" in run(tiny_model_dir, f"bon={file}", code=1).err.replace("\n", "")
    output = tmp_path / "out.json"
    printed = run(tiny_model_dir, f"bon={file}", "--max-n", 3, "--on-bad-rows", "skip", "--json", output)
    entry = json.loads(output.read_text())["benchmarks"]["bon"]
    assert (entry["rows"], entry["left_out"], entry["n"], entry["counts"]["left_out"]) == (2, 1, [1, 2, 3], 1)
    assert "1 left out: lengths differ" in printed.out


@pytest.mark.parametrize(("option", "value"), [("--kappa", 1), ("--max-n", 4)])
def test_its_options_without_it_are_refused(run, tiny_model_dir, file, option, value):
    assert option in run(tiny_model_dir, file, option, value, code=2).err
