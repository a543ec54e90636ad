"""Every command that writes results refuses to replace those that are there, before it loads anything."""

from __future__ import annotations

import sys

import pytest

from vrm.cli.main import main
from vrm.files import holds_something


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code or 0


COMMANDS = {
    "evaluate": ["a/model", "pairs.jsonl"],
    "compare": ["a/model", "b/model", "pairs.jsonl"],
    "audit": ["a/model", "pairs.jsonl"],
    "doctor": ["pairs.jsonl"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_document_is_kept(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("not a row\n")
    file = tmp_path / "result.json"
    file.write_text("{}\n")
    assert run(command, *COMMANDS[command], "--json", file) == 1
    error = capsys.readouterr().err
    assert error == f"error: {file} exists already: choose another name, or replace it with --overwrite\n"
    assert file.read_text() == "{}\n"
    # What comes next is wrong too, and no longer about the result.
    for more in (["--overwrite"], []):
        if not more:
            file.write_text("")
        assert run(command, *COMMANDS[command], "--json", file, *more) == 1
        assert "exists already" not in capsys.readouterr().err


@pytest.mark.usefixtures("hub_may_be_asked")
def test_rewards_of_benchmarks_are_kept(tmp_path, capsys):
    file = tmp_path / "result.bon.rewards.jsonl"
    file.write_text("{}\n")
    assert run("evaluate", "a/model", "bon=x.jsonl", "--json", tmp_path / "result.json") == 1
    assert f"{file} exists already" in capsys.readouterr().err
    file = tmp_path / "bon.rewards.jsonl"
    file.write_text("{}\n")
    assert run("evaluate", "a/model", "bon=x.jsonl", "--rewards", tmp_path) == 1
    assert f"{file} exists already" in capsys.readouterr().err


def test_a_page_replaces_a_page_and_nothing_else(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    result, page = tmp_path / "run.json", tmp_path / "page.html"
    result.write_text("{}\n")
    page.write_text("<html>my notes</html>")
    assert run("report", result, "-o", page) == 1
    assert "is no page of vrm report; choose another name, or pass --overwrite" in capsys.readouterr().err
    page.write_text('<meta name="generator" content="vrm 0.1">')
    for more in ([], ["--overwrite"]):
        assert run("report", result, "-o", page, *more) == 1
        assert "page of vrm report" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results.json", "vrm"])
def test_a_quickstart_is_kept(tmp_path, capsys, name):
    (tmp_path / name).mkdir()
    assert run("quickstart", "-o", tmp_path) == 1
    assert f"{tmp_path} holds results ({name}): choose another --output, or " in capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == [tmp_path / name]


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_a_quickstart_does_not_go_beside_a_run(tmp_path, capsys, more):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "corpus").mkdir()
    assert run("quickstart", "-o", tmp_path, *more) == 1
    assert f"{tmp_path} holds something else (config.json): choose another --output" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.json", "corpus"]


def test_a_run_is_continued_or_replaced(capsys):
    assert run("train", "run.yaml", "--resume", "--overwrite") == 2
    assert "continued or replaced, not both" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_streams_and_empty_files_hold_nothing(tmp_path):
    (tmp_path / "empty").touch()
    places = [tmp_path / "empty", tmp_path / "absent", tmp_path, "/dev/null", "/dev/stdout", "-"]
    assert [place for place in places if holds_something(place)] == []
    assert holds_something(sys.executable)
