"""`vrm explore`: what it reads before the page opens, and `vrm explain --sentences`, its counterpart in a terminal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from vrm.cli.main import main

ROWS = [
    {"prompt": "how do i plan", "chosen": "very good", "rejected": "no", "category": "advice"},
    {"prompt": "why is water long"},
    {"prompt": "tell me", "completions": ["a story", "the number one", "no"]},
    {"prompt": "what", "completion": "help"},
]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def started(monkeypatch) -> list[dict[str, Any]]:
    """What `vrm explore` would have served, and whether it would have opened a browser."""
    found: list[dict[str, Any]] = []

    def keep(service, bound, log_level, explored, when_ready):
        found.append({"service": service, "explored": explored, "when_ready": when_ready})
        bound.close()
        return True

    monkeypatch.setattr("vrm.serve.run.serve_forever", keep)
    return found


def test_rows_and_a_second_model(tiny_model_dir, make_tiny_model, source, started, capsys, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    second = make_tiny_model(head="gated")
    assert run("explore", tiny_model_dir, second, source, "--port", 0, "--line", 3) == 0
    (served,) = started
    browsed = served["explored"].rows
    assert served["explored"].second.config.head == "gated"
    assert [(row.line, row.completions, row.has_chosen) for row in browsed.summaries] == [
        (1, 2, True), (3, 3, False), (4, 1, False),
    ]  # fmt: skip
    assert [row.other_probability is None for row in browsed.summaries] == [False, False, True]
    assert browsed.summaries[browsed.first].line == 3
    assert "Left out: 1 row that could not be read" in browsed.note
    words = capsys.readouterr().err
    assert f"{source}: 1 row left out" in words
    assert "exploring" not in words
    served["when_ready"]()
    assert opened
    assert f"on {opened[0]}; Ctrl-C" in capsys.readouterr().err


def test_a_line_beyond_the_limit_is_read_too(tiny_model_dir, source, started):
    source.write_text(source.read_text() + source.read_text())
    assert run("explore", tiny_model_dir, source, "--port", 0, "--limit", 2, "--line", 7) == 0
    browsed = started[0]["explored"].rows
    assert [row.line for row in browsed.summaries] == [1, 3, 7]
    assert browsed.first == 2
    assert browsed.note.startswith("The first 2 rows, and line 7; --limit reads more.")


def test_without_a_file_it_has_rows_that_training_held_out(tiny_model_dir, source, tmp_path, started, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    run_dir = tmp_path / "run"
    shutil.copytree(tiny_model_dir, run_dir / "model")
    document = {"kind": "run", "schema": 1, "config": {"data": {"eval": [{"path": str(source)}]}}}
    (run_dir / "run.json").write_text(json.dumps(document))
    assert run("explore", run_dir / "model", "--port", 0, "--no-browser", "--limit", 2) == 0
    (served,) = started
    assert served["service"].settings.host_patterns == ()
    assert len(served["explored"].rows.summaries) == 2
    assert served["explored"].rows.note.startswith("No file was named")
    served["when_ready"]()
    assert not opened
    source.unlink()
    assert run("explore", run_dir / "model", "--port", 0, "--no-browser", "--allowed-host", "lab.example.org") == 0
    assert started[1]["explored"].rows.summaries == ()
    assert started[1]["service"].settings.host_patterns == ("lab.example.org",)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{source}", "--line", "2"], 1, "line 2 holds no row"),
        (["{source}", "--line", "9", "--limit", "1"], 1, "line 9 holds no row"),
        (["--line", "1"], 2, "there are no lines without FILE"),
        (["{source}", "{source}"], 2, "at most a second model and one source"),
        (["nowhere.jsonl"], 1, "nowhere.jsonl"),
        (["--allowed-host", "https://a.example"], 1, "'https://a.example' is no name of a host"),
    ],
)
def test_what_is_not_there(tiny_model_dir, source, started, capsys, arguments, code, words):
    given = [argument.format(source=source) for argument in arguments]
    assert run("explore", tiny_model_dir, *given, "--port", 0) == code
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert started == []


def test_sentences_in_a_terminal(tiny_model_dir, capsys):
    typed = ["--prompt", "how", "--completion", "Very good water. Is it safe?", "--completion", "no"]
    assert run("explain", tiny_model_dir, *typed, "--sentences", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    first, second = document["sentences"]
    assert [sentence["text"] for sentence in first["sentences"]] == ["Very good water. ", "Is it safe?"]
    assert second["sentences"] == []
    for sentence in first["sentences"]:
        assert sum(sentence["contributions"].values()) == pytest.approx(sentence["effect"])
    assert run("explain", tiny_model_dir, "--prompt", "how", "--completion", "Is it safe?", "--json") == 0
    rest = json.loads(capsys.readouterr().out)
    assert rest["sentences"] is None
    effect = document["completions"][0]["reward"]["mean"] - rest["completions"][0]["reward"]["mean"]
    assert first["sentences"][0]["effect"] == pytest.approx(effect, abs=1e-4)
    assert run("explain", tiny_model_dir, *typed, "--sentences") == 0
    text = capsys.readouterr().out
    assert f"{first['sentences'][0]['effect']:+.2f}" in text
    assert "one sentence, which cannot be left out" in text
