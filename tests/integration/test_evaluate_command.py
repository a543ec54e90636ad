"""`vrm evaluate`: what it prints, what it writes, and that both are the same numbers."""

from __future__ import annotations

import json
import re

import pytest

from vrm.cli.main import main
from vrm.data.planted import write_planted

RESAMPLES = ("--resamples", "50")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A part of the planted corpus with ties among it, ranked lists, and rows with faults."""
    directory = tmp_path_factory.mktemp("evaluate")
    rows = [
        json.loads(line)
        for line in write_planted(directory, raters=False)["dev"].read_text(encoding="utf-8").splitlines()[:40]
    ]
    for row in rows[::8]:
        row["preference"] = 0.5
    lists = [{"prompt": f"how {n}", "completions": ["good plan", "bad", "no"], "scores": [2, 1, 0]} for n in range(5)]
    faulty = [*lists, {"prompt": "why", "chosen": "a"}]
    paths = {name: directory / f"{name}.jsonl" for name in ("pairs", "lists", "faulty")}
    for name, content in (("pairs", rows), ("lists", lists), ("faulty", faulty)):
        paths[name].write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return paths


@pytest.fixture(scope="session")
def model(make_tiny_model, files):
    row = json.loads(files["pairs"].read_text(encoding="utf-8").splitlines()[1])
    names = sorted(row["chosen_ratings"])
    return make_tiny_model(
        "vrm", "encoder", objectives=names, objectives_with_ratings=names, objectives_with_votes=names
    )


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


def test_the_table_and_the_document_say_the_same(model, files, capsys, tmp_path):
    output = tmp_path / "result.json"
    run("evaluate", model, files["pairs"], files["lists"], "--json", output, *RESAMPLES)
    captured = capsys.readouterr()
    document = json.loads(output.read_text())
    assert set(document["files"]) == {str(files["pairs"]), str(files["lists"])}
    pairs = document["files"][str(files["pairs"])]
    (line,) = (line for line in captured.out.splitlines() if re.match(r"│ all +│ +40 ", line))
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    measured = pairs["pairs"]
    accuracy = measured["accuracy"]
    assert cells == [
        "all",
        str(measured["count"]),
        f"{100 * accuracy['estimate']:.1f} [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]",
        f"{100 * measured['length_controlled']['value']:.1f}",
        f"{100 * measured['accuracy_most_certain_half']:.1f}",
        f"{100 * measured['longer_wins']['value']:.1f}",
        f"{measured['negative_log_likelihood']:.3f}",
        f"{measured['brier']:.3f}",
        f"{measured['calibration']['value']:.3f}",
    ]
    assert "5 ties count in NLL and Brier, not in accuracies." in captured.out
    assert measured["ties"] == 5
    assert pairs["ratings"]["count"] > 0
    for name, value in pairs["ratings"]["pearson"].items():
        assert re.search(rf"│ {name} +│ +{value:.3f} │ +{pairs['ratings']['spearman'][name]:.3f} │", captured.out)
    votes = pairs["votes"]
    assert f"Objective votes ({votes['count']} rows, {len(votes['objectives'])} objectives)" in captured.out
    assert f"{votes['log_likelihood']:.3f}" in captured.out
    lists = document["files"][str(files["lists"])]
    assert lists["pairs_from_lists"] == lists["pairs"]["count"] == 15
    assert "15 of the pairs are from ranked lists." in captured.out
    assert "40 rows, " in captured.out


def test_groups_are_in_the_table(model, files, capsys):
    run("evaluate", model, files["pairs"], "--json", "-", *RESAMPLES)
    document = json.loads(capsys.readouterr().out)["files"][str(files["pairs"])]
    run("evaluate", model, files["pairs"], *RESAMPLES)
    out = capsys.readouterr().out
    assert len(document["by_category"]) > 1
    for name, group in document["by_category"].items():
        assert re.search(rf"│ {name} +│ +{group['count']} │", out)


def test_the_document_says_how_it_was_made(model, files, capsys):
    run(
        "evaluate", model, files["lists"], "--json", "-", "--emphasize", "safety=3", "--on-overlong", "drop", *RESAMPLES
    )
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["model"] == str(model)
    assert document["head"] == "vrm"
    assert len(document["backbone_sha256"]) == 64
    assert document["settings"]["on_overlong"] == "drop"
    assert document["settings"]["steering"] == {"emphasis": ["safety=3"], "without": None}
    assert document["settings"]["resamples"] == 50
    assert {"torch", "transformers", "vrm"} <= set(document["versions"])
    run("evaluate", model, files["lists"], "--json", "-", *RESAMPLES)
    plain = json.loads(capsys.readouterr().out)
    key = str(files["lists"])
    steered, unsteered = (entry["files"][key]["pairs"]["brier"] for entry in (document, plain))
    assert steered != unsteered


def test_leaving_out_an_objective_works_with_ratings_and_votes(model, files, capsys):
    run("evaluate", model, files["pairs"], "--without", "safety", "--json", "-", *RESAMPLES)
    document = json.loads(capsys.readouterr().out)["files"][str(files["pairs"])]
    assert "safety" not in document["ratings"]["pearson"]
    assert document["unknown_objectives"]["safety"] > 0


def test_rows_with_faults_stop_or_are_skipped_and_counted(model, files, capsys):
    run("evaluate", model, files["faulty"], code=1)
    captured = capsys.readouterr()
    assert "faulty.jsonl:6" in captured.err
    assert captured.out == ""
    run("evaluate", model, files["faulty"], "--on-bad-rows", "skip", "--json", "-", *RESAMPLES)
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["files"][str(files["faulty"])]["judgments"] == 5
    assert "faulty.jsonl" in captured.err


def test_a_feature_cache_is_kept_and_changes_nothing(model, files, capsys, tmp_path):
    documents = []
    for _ in range(2):
        cache = ("--feature-cache", tmp_path / "cache")
        run("evaluate", model, files["lists"], "--json", "-", *cache, *RESAMPLES)
        documents.append(json.loads(capsys.readouterr().out)["files"])
    assert documents[0] == documents[1]
    assert list((tmp_path / "cache").rglob("features.f32"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent", "FILE"], 1, "absent"),
        (["MODEL", "absent.jsonl"], 1, "absent.jsonl"),
        (["MODEL", "FILE", "--emphasize", "speed=2"], 1, "steering names speed"),
        (["MODEL", "FILE", "--emphasize", "speed"], 2, "NAME=COUNT"),
        (["MODEL", "FILE", "--precision", "half"], 2, "not one of 'auto', 'float32', 'bfloat16'"),
        (["MODEL"], 2, "Missing argument"),
        (["MODEL", "FILE", "--resamples", "0"], 2, "resamples"),
        (["MODEL", "FILE", "--device", "warp"], 1, "device 'warp' cannot be used"),
    ],
)
def test_wrong_arguments(model, files, capsys, arguments, code, message):
    named = {"MODEL": str(model), "FILE": str(files["lists"])}
    run("evaluate", *(named.get(argument, argument) for argument in arguments), code=code)
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.replace("│", " ").split())
    assert captured.out == ""
