"""`vrm evaluate` on benchmarks: what it prints, what it writes, and that all of it is the same numbers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from vrm.benchmarks import benchmark_names
from vrm.cli.main import main

RESAMPLES = ("--resamples", "20")
COMPLETIONS = ["good plan", "a very very long bad answer", "no", "yes please thank you", "water", ""]


def turns(*texts):
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of three benchmarks: pairs with oddities, three styles, and dialogues of two turns."""
    directory = tmp_path_factory.mktemp("benchmarks")
    pairs = [
        {
            "pair_id": f"j{n}",
            "source": ("mmlu-pro-law", "livecodebench")[n % 2],
            "question": ("how do I plan", "", "what is water")[n % 3],
            "response_A": COMPLETIONS[n % 6],
            "response_B": COMPLETIONS[(n + 1 + n // 6) % 6],
            "label": ("A>B", "B>A")[n // 2 % 2],
        }
        for n in range(12)
    ]
    pairs += [
        {**pairs[0], "pair_id": "null", "response_A": None},
        {**pairs[0], "pair_id": "same", "response_B": "good plan"},
    ]
    styles = [
        {"id": n, "prompt": f"how {n}", "chosen": COMPLETIONS[:3], "rejected": COMPLETIONS[2:5]} for n in range(3)
    ]
    dialogues = [
        {
            "question_id": n,
            "model_a": "a",
            "model_b": "b",
            "judge": "e",
            "turn": 2,
            "winner": ("model_a", "tie")[n],
            "conversation_a": turns("how", "good plan", "why", "no"),
            "conversation_b": turns("how", "bad", "why", "thank you"),
        }
        for n in range(2)
    ]
    paths = {"judgebench": directory / "pairs.jsonl", "rm-bench": directory / "chat_filtered.json"}
    paths["mt-bench-human"] = directory / "human.json"
    for path, rows in zip(paths.values(), (pairs, styles, dialogues), strict=True):
        lines = path.suffix == ".jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows))
    plain = directory / "mine.jsonl"
    plain.write_text(json.dumps({"prompt": "how", "chosen": "good plan", "rejected": "no"}) + "\n")
    return paths | {"mine": plain}


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


@pytest.fixture(scope="module")
def named(files):
    return [f"{name}={path}" for name, path in files.items() if name != "mine"]


def test_table_document_and_rewards_say_the_same(tiny_model_dir, files, named, capsys, tmp_path):
    output = tmp_path / "result.json"
    run("evaluate", tiny_model_dir, *named, files["mine"], "--json", output, *RESAMPLES)
    printed = capsys.readouterr()
    document = json.loads(output.read_text())
    assert (document["kind"], document["schema"]) == ("evaluation", 1)
    weights = (tiny_model_dir / "model.safetensors").read_bytes()
    assert document["model_sha256"] == hashlib.sha256(weights).hexdigest()
    template = (tiny_model_dir / "chat_template.jinja").read_text()
    assert document["template_sha256"] == hashlib.sha256(template.encode()).hexdigest()
    assert list(document["files"]) == [str(files["mine"])]
    assert set(document["benchmarks"]) == {"judgebench", "rm-bench", "mt-bench-human"}
    entry = document["benchmarks"]["judgebench"]
    assert entry["counts"]["rows"] == 14
    assert entry["counts"]["left_out"] == entry["data"]["unusual"]["left_out"] == 1
    assert entry["counts"]["overlong"]["total"] == 13
    rows = [json.loads(line) for line in Path(entry["rewards_file"]).read_text().splitlines()]
    assert len(rows) == entry["examples"] == 13
    hits = [
        row["rewards"][0] > row["rewards"][1] if row["label"] == "A>B" else row["rewards"][1] > row["rewards"][0]
        for row in rows
    ]
    assert entry["figures"][0]["estimate"] == pytest.approx(sum(hits) / 13)
    assert [row["outcome"]["accuracy"] for row in rows] == [float(hit) for hit in hits]
    assert f"{100 * sum(hits) / 13:.1f} [" in printed.out
    assert "1 left out: 'response_A' is null" in printed.out
    assert "4 kept: empty prompt" in printed.out
    assert "judgebench" in printed.err
    assert not any(text and text in json.dumps(rows) for text in COMPLETIONS if " " in text)
    same = next(row for row in rows if row["id"] == "same")
    assert same["rewards"][0] == same["rewards"][1]
    assert same["outcome"]["accuracy"] == 0.0
    assert all(std > 0 for row in rows for std in row["reward_std"])


def test_rewards_are_those_of_vrm_score(tiny_model_dir, files, capsys, tmp_path):
    run("evaluate", tiny_model_dir, f"rm-bench={files['rm-bench']}", "--rewards", tmp_path / "r", *RESAMPLES)
    capsys.readouterr()
    (first, *_) = [json.loads(line) for line in (tmp_path / "r" / "rm-bench.rewards.jsonl").read_text().splitlines()]
    assert first["id"] == "chat:0"
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"prompt": "how 0", "completions": COMPLETIONS[:3] + COMPLETIONS[2:5]}) + "\n")
    run("score", tiny_model_dir, source, "--reward-scale", "raw")
    scored = json.loads(capsys.readouterr().out)
    assert first["rewards"] == pytest.approx(scored["rewards"], abs=1e-5)
    assert first["reward_std"] == pytest.approx(scored["reward_std"], abs=1e-5)


# Of plain text no token of an empty prompt is read (4 rows), and by an encoder none of an empty completion (3 more).
@pytest.mark.parametrize(
    ("kind", "conversational", "scored"), [("decoder", True, 13), ("decoder", False, 9), ("encoder", False, 6)]
)
def test_empty_texts_and_dialogues_reach_every_kind_of_model(
    make_tiny_model, named, capsys, kind, conversational, scored
):
    model = make_tiny_model(kind=kind, conversational=conversational)
    run("evaluate", model, *named, "--json", "-", *RESAMPLES)
    document = json.loads(capsys.readouterr().out)
    assert {name: entry["scored"] for name, entry in document["benchmarks"].items()} == {
        "judgebench": scored,
        "rm-bench": 3,
        "mt-bench-human": 2,
    }
    assert all(entry["rewards_file"] is None for entry in document["benchmarks"].values())


def test_dropped_examples_are_counted(make_tiny_model, files, capsys, tmp_path):
    model = make_tiny_model(max_input_tokens=10)
    source = f"rm-bench={files['rm-bench']}"
    run("evaluate", model, source, "--on-overlong", "drop", "--rewards", tmp_path, *RESAMPLES)
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in (tmp_path / "rm-bench.rewards.jsonl").read_text().splitlines()]
    assert [row["rewards"] for row in rows] == [None] * 3
    assert "in no figure: 3." in captured.out


def test_the_list_needs_no_model(capsys):
    run("evaluate", "--list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == benchmark_names()
    assert all(len(line) <= 100 for line in lines)


def test_an_existing_file_is_a_file_whatever_its_name(tiny_model_dir, files, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rmb").write_text(files["mine"].read_text())
    Path("model=x,judgebench=y.jsonl").write_text(files["mine"].read_text())
    run("evaluate", tiny_model_dir, "rmb", "model=x,judgebench=y.jsonl", "--json", "-", *RESAMPLES)
    document = json.loads(capsys.readouterr().out)
    assert list(document["files"]) == ["rmb", "model=x,judgebench=y.jsonl"]
    assert document["benchmarks"] == {}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["rm_bench=x"], 1, "Did you mean 'rm-bench'?"),
        (["nothing"], 1, f"Benchmarks by name: {', '.join(benchmark_names())}."),
        (["rm-bench=absent"], 1, "no file or directory 'absent'"),
        (["rm-bench="], 2, "nothing stands after"),
        (["rmb"], 1, "rmb=PATH"),
        (["judgebench=RM"], 1, "chat_filtered.json:1: field 'label'"),
        (["rm-bench=RM", "rm-bench=RM"], 2, "given twice"),
        (["rm-bench=RM", "--recipe", "ultrafeedback"], 2, "recipes are for files"),
        (["MINE", "--rewards", "somewhere"], 2, "rewards are written of benchmarks"),
    ],
)
def test_wrong_arguments(tiny_model_dir, files, capsys, arguments, code, message):
    named = {"RM": str(files["rm-bench"]), "MINE": str(files["mine"])}
    filled = []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        filled.append(f"{name}={named.get(path, path)}" if equals else named.get(argument, argument))
    run("evaluate", tiny_model_dir, *filled, code=code)
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.replace("│", " ").split())
    assert captured.out == ""
