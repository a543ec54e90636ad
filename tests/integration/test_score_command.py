"""`vrm score` from end to end: files in, files out, interrupted and continued."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vrm.cli.main import main
from vrm.inference import score_output

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def read(path: Path) -> list[dict]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().splitlines()]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """700 rows of one to three completions, some as messages: more than one window."""
    path = tmp_path_factory.mktemp("score") / "rows.jsonl.gz"
    words = ["water", "city", "long", "good", "safe", "plan"]
    rows = []
    for index in range(700):
        texts = [" ".join(words[(index + k) % 6] for k in range(1 + (index + extra) % 4)) for extra in range(3)]
        prompt = words[index % 6]
        if index % 5 == 0:
            rows.append({"prompt": [{"role": "user", "content": prompt}], "completion": texts[0]})
        elif index % 5 == 1:
            rows.append({"prompt": prompt, "chosen": texts[0] + " yes", "rejected": texts[1] + " no"})
        else:
            rows.append({"prompt": prompt, "completions": texts, "id": index})
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_interrupted_and_continued_is_as_uninterrupted(tiny_model_dir, source, tmp_path, monkeypatch, capsys, name):
    whole, parts = tmp_path / f"whole-{name}", tmp_path / name
    assert run("score", tiny_model_dir, source, "-o", whole) == 0
    assert "wrote 700 rows" in capsys.readouterr().err
    original = score_output.ScoreFile.write
    written = []

    def interrupted(self, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(len(rows))
        original(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(score_output.ScoreFile, "write", interrupted)
        assert run("score", tiny_model_dir, source, "-o", parts) == 130
    assert f"stopped after {sum(written)} rows" in capsys.readouterr().err
    assert 0 < sum(written) < 700
    parts.write_bytes(parts.read_bytes() + whole.read_bytes()[:30])  # a half-written row or window
    assert run("score", tiny_model_dir, source, "-o", parts, "--kappa", 1) == 1
    assert "other settings: kappa was null, now 1.0" in capsys.readouterr().err
    assert run("score", tiny_model_dir, source, "-o", parts) == 0
    assert f"({sum(written)} rows were there before)" in capsys.readouterr().err
    assert [row["line"] for row in read(parts)] == list(range(1, 701))
    for found, expected in zip(read(parts), read(whole), strict=True):
        assert found["rewards"] == pytest.approx(expected["rewards"], abs=1e-5)
        assert found.get("id") == expected.get("id")
    assert run("score", tiny_model_dir, source, "-o", parts) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_standard_input_to_standard_output(tiny_decoder_dir):
    rows = b'{"prompt": "a", "completion": "yes"}\n{"prompt": "a", "completion": ""}\n'
    command = [sys.executable, "-m", "vrm.cli.main", "score", str(tiny_decoder_dir), "-", "--on-bad-rows", "skip"]
    done = subprocess.run(command, input=gzip.compress(rows), capture_output=True, check=True)
    first, second = (json.loads(line) for line in done.stdout.decode().splitlines())
    assert len(first["rewards"]) == 1
    assert second["error"].startswith("<stdin>:2: field 'completion': the completion is empty")
    assert done.stderr.decode().startswith("wrote 2 rows, 1 text")
    assert "Loading" not in done.stderr.decode()


def test_steering_scale_columns_and_kept_input(tiny_model_dir, tmp_path, capsys):
    source = tmp_path / "rows.csv"
    source.write_text('question,response\n"Is it safe?","Yes, sure"\n')
    command = ["score", tiny_model_dir, source, "--column", "prompt=question", "--column", "completion=response"]
    assert run(*command, "--keep", "response") == 0
    plain = json.loads(capsys.readouterr().out)
    assert run(*command, "--emphasize", "safety=50", "--without", "brevity", "--kappa", 1) == 0
    steered = json.loads(capsys.readouterr().out)
    assert plain["input"] == {"response": "Yes, sure"}
    assert steered["objective_weights"]["safety"] > 0.8
    assert set(plain["objective_weights"]) - set(steered["objective_weights"]) == {"brevity"}
    assert steered["pessimistic_rewards"][0] < steered["rewards"][0]


@pytest.mark.parametrize("command", ["score", "explain"])
def test_a_mapped_column_that_no_row_has_is_told_before_the_model_loads(tiny_model_dir, tmp_path, capsys, command):
    source = tmp_path / "rows.jsonl"
    pair = {"prompt": "a", "chosen": "yes", "rejected": "no"}
    source.write_text("".join(json.dumps(row) + "\n" for row in (pair, pair | {"completion": None})))
    assert run(command, tiny_model_dir, source, "--column", "completion=foo") == 1
    shown = capsys.readouterr()
    assert "field 'foo': the mapping takes 'completion' from this column, but no row has it" in shown.err
    assert not shown.out
    source.write_text("".join(json.dumps(row) + "\n" for row in (pair, {"prompt": "a", "foo": "yes"})))
    assert run(command, tiny_model_dir, source, "--column", "completion=foo") == 0


def test_rows_of_a_recipe(tiny_model_dir, tmp_path, capsys):
    source, output = tmp_path / "turns.jsonl", tmp_path / "out.jsonl"
    turns = [{"from": "human", "value": "Is it safe?"}]
    row = {
        "conversations": turns,
        "chosen": {"from": "gpt", "value": "Yes"},
        "rejected": {"from": "gpt", "value": "No"},
    }
    rows = [row, {"conversations": turns}, row | {"chosen": "Surely"}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("score", tiny_model_dir, source, "--recipe", "sharegpt", "-o", output) == 0
    assert "the recipe made 2 rows of 3" in capsys.readouterr().err
    assert [(row["line"], len(row["rewards"])) for row in read(output)] == [(1, 2), (3, 2)]
    assert run("explain", tiny_model_dir, source, "--recipe", "sharegpt", "--line", 3, "--json") == 0
    assert [entry["text"] for entry in json.loads(capsys.readouterr().out)["completions"]] == ["Surely", "No"]
    assert run("score", tiny_model_dir, source, "--recipe", "sharegpt", "--column", "prompt=q") == 1
    assert "a recipe knows the columns itself" in capsys.readouterr().err


def test_the_input_is_never_overwritten(tiny_model_dir, tmp_path, capsys):
    source = tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "a", "completion": "yes"}\n')
    assert run("score", tiny_model_dir, source, "-o", source, "--overwrite") == 2
    assert "the output is the input" in capsys.readouterr().err
    assert source.read_text() == '{"prompt": "a", "completion": "yes"}\n'


def test_a_bad_row_stops_with_its_place(tiny_model_dir, tmp_path, capsys):
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"prompt": "a", "completion": "yes"}\n{"prompt": "a"}\n{"prompt": "b", "completion": "no"}\n')
    assert run("score", tiny_model_dir, source, "-o", output) == 1
    assert f"error: {source}:2: field 'completion'" in capsys.readouterr().err
    assert [row["line"] for row in read(output)] == [1]
    assert run("score", tiny_model_dir, source, "-o", output, "--on-bad-rows", "skip") == 0
    assert [("error" in row) for row in read(output)] == [False, True, False]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["preferences/ukp_convarg2.dev.jsonl.gz", "benchmarks/rmb-bon.dev.jsonl.gz"])
def test_real_files(tiny_model_dir, tmp_path, name):
    if not (SHARED / name).exists():
        pytest.skip(f"needs ../shared/data/{name}")
    lines = gzip.decompress((SHARED / name).read_bytes()).decode().splitlines()[:100]
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(lines) + "\n")
    assert run("score", tiny_model_dir, source, "-o", output) == 0
    rows = [json.loads(line) for line in lines]
    counts = [len(row["completions"]) if "completions" in row else 2 for row in rows]
    assert [len(row["rewards"]) for row in read(output)] == counts
