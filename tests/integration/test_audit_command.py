"""`vrm audit`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json

import pytest

from vrm.cli.main import main
from vrm.data.planted import write_planted

FAST = ("--resamples", "50", "--limit", "12")


@pytest.fixture(scope="session")
def file(tmp_path_factory):
    return write_planted(tmp_path_factory.mktemp("audit"), raters=False)["dev"]


@pytest.fixture(scope="session")
def model(make_tiny_model):
    return make_tiny_model("vrm", "encoder", max_input_tokens=256)


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


def document(capsys, *arguments):
    run("audit", *arguments, "--json", "-", *FAST)
    return json.loads(capsys.readouterr().out)


def test_the_table_and_the_document_say_the_same(model, file, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    run("audit", model, file, "--json", tmp_path / "audit.json", *FAST)
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert (found["kind"], found["schema"], found["model"], found["head"]) == ("audit", 1, str(model), "vrm")
    assert {"torch", "transformers", "vrm"} <= set(found["versions"])
    assert len(found["backbone_sha256"]) == 64
    assert (found["judgments"], found["completions"], found["pairs"], found["spread"]) == (12, 24, 12, 1.5)
    assert len(found["edits"]) == 12
    for edit in found["edits"]:
        assert edit["measured"] + edit["not_applicable"] + edit["overlong"] + found["cut_completions"] == 24
        (line,) = (line for line in out.splitlines() if line.startswith(f"│ {edit['name']} "))
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        assert cells[1] == str(edit["measured"])
        assert cells[-1] == edit["verdict"]
        if edit["measured"]:
            shift, harm = edit["shift"], edit["harm"]
            assert cells[2] == f"{shift['estimate']:+.2f} [{shift['low']:+.2f}, {shift['high']:+.2f}]"
            assert cells[3].split(" ")[0] == f"{100 * edit['raised']['estimate']:.0f}"
            assert "by the interval of the shift" in " ".join(out.split())
            assert cells[5] == f"{100 * harm['estimate']:.0f} [{100 * harm['low']:.0f}, {100 * harm['high']:.0f}]"
    assert found["length"]["pairs"] > 0


def test_options_change_what_they_say(model, file, capsys, tmp_path):
    few = ("--edit", "bold", "--edit", "middle-cut")
    plain = document(capsys, model, file, *few)
    assert {edit["name"] for edit in plain["edits"]} == {"bold", "middle cut"}
    assert document(capsys, model, file, *few, "--feature-cache", tmp_path)["edits"] == plain["edits"]
    assert list(tmp_path.rglob("features.f32"))

    def bold(result):
        return next(edit["shift"]["estimate"] for edit in result["edits"] if edit["name"] == "bold")

    pessimistic = document(capsys, model, file, *few, "--kappa", "1")
    steered = document(capsys, model, file, *few, "--emphasize", "safety=50")
    reseeded = document(capsys, model, file, *few, "--seed", "1")
    assert len({bold(result) for result in (plain, pessimistic, steered, reseeded)}) == 4
    assert pessimistic["kappa"] == 1.0
    assert "this audit" in pessimistic["spread_source"]
    assert "this audit" in steered["spread_source"]
    assert steered["settings"]["steering"] == {"emphasis": ["safety=50"], "without": None}
    assert reseeded["seed"] == 1


def test_the_list_of_edits(capsys):
    run("audit", "--list-edits")
    out = capsys.readouterr().out
    assert "flattery" in out
    assert "must lower" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["MODEL", "FILE", "--edit", "italics"], 2, "there is no edit 'italics'; there are: padding"),
        (["MODEL", "FILE", "--kappa", "-1"], 2, "kappa"),
        (["MODEL", "absent.jsonl"], 1, "absent.jsonl"),
        (["absent", "FILE"], 1, "absent"),
        (["MODEL"], 2, "Missing argument"),
    ],
)
def test_wrong_arguments(model, file, capsys, arguments, code, message):
    named = {"MODEL": str(model), "FILE": str(file)}
    run("audit", *(named.get(argument, argument) for argument in arguments), code=code)
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.replace("│", " ").split())
    assert captured.out == ""
