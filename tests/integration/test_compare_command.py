"""`vrm compare`: what it prints, what it writes, and that both are what the single evaluations say."""

from __future__ import annotations

import json
import re

import pytest

from vrm.cli.main import main
from vrm.data.load import load_judgments
from vrm.data.planted import write_planted
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.metrics import ResampleOptions

RESAMPLES = ("--resamples", "50")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A part of the planted corpus, one row of it over the models' limits, and a row with a fault."""
    directory = tmp_path_factory.mktemp("compare")
    rows = [
        json.loads(line)
        for line in write_planted(directory, raters=False)["dev"].read_text(encoding="utf-8").splitlines()[:48]
    ]
    rows[0]["preference"] = 0.5
    pairs, faulty, words = (directory / f"{name}.jsonl" for name in ("pairs", "faulty", "words"))
    short = [{"prompt": f"how {n}", "chosen": "good " * (3 * n + 1), "rejected": "bad"} for n in range(24)]
    words.write_text("".join(json.dumps(row) + "\n" for row in short), encoding="utf-8")
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    faulty.write_text("".join(json.dumps(row) + "\n" for row in [*rows[:3], {"prompt": "why"}]), encoding="utf-8")
    return {"pairs": pairs, "faulty": faulty, "words": words, "bench": _judgebench(directory, rows)}


def _judgebench(directory, rows):
    path = directory / "judgebench.jsonl"
    entries = [
        {"pair_id": f"id{n}", "original_id": f"o{n}", "source": ("mmlu-pro-law", "livebench-math")[n % 2],
         "question": row["prompt"][0]["content"], "response_model": "m", "response_A": row["chosen"][0]["content"],
         "response_B": row["rejected"][0]["content"], "label": "A>B"}
        for n, row in enumerate(rows[:20])
    ]  # fmt: skip
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return f"judgebench={path}"


@pytest.fixture(scope="session")
def models(make_tiny_model):
    return make_tiny_model("vrm", max_input_tokens=100), make_tiny_model("gated", max_input_tokens=100)


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert (stop.value.code or 0) == code


def test_the_table_the_document_and_single_evaluations_say_the_same(models, files, capsys, tmp_path):
    output = tmp_path / "a new folder" / "result.json"
    run("compare", *models, files["pairs"], "--json", output, *RESAMPLES)
    out = capsys.readouterr().out
    document = json.loads(output.read_text())
    assert list(document)[:4] == ["kind", "schema", "model", "model_b"]
    assert (document["kind"], document["schema"]) == ("comparison", 1)
    assert (document["model"], document["models"]["b"]["head"]) == (str(models[0]), "gated")
    found = document["files"][str(files["pairs"])]
    judgments = load_judgments(files["pairs"]).judgments
    options = ExtractionOptions(precision="float32")
    engines = [RewardEngine.from_pretrained(model, options=options) for model in models]
    singles = [evaluate_judgments(engine, judgments, ResampleOptions(resamples=1)).to_dict() for engine in engines]
    overall = found["overall"]
    assert (overall["count"], overall["ties"]) == (48, 1)
    for side, single in zip(("first", "second"), singles, strict=True):
        assert overall["accuracy"][side] == pytest.approx(single["pairs"]["accuracy"]["estimate"])
        assert overall["length_controlled"][side] == pytest.approx(single["pairs"]["length_controlled"]["value"])
        assert overall["style_controlled"][side] == pytest.approx(
            single["style_controlled"]["accuracy"]["accuracy"]["estimate"]
        )
        nll = single["pairs"]["negative_log_likelihood"]
        assert overall["negative_log_likelihood"][side] == pytest.approx(nll)
        for name, group in single["by_category"].items():
            accuracy = found["by_category"][name]["accuracy"][side]
            assert accuracy == pytest.approx(group["accuracy"]["estimate"], nan_ok=True)
    measure = overall["accuracy"]
    cells = [f"{100 * measure['first']:.1f}", f"{100 * measure['second']:.1f}"]
    cells.append(f"{100 * measure['difference']['estimate']:+.1f}")
    assert re.search(r"│ accuracy, % +│ +" + r" │ +".join(map(re.escape, cells)) + " │", out)
    flat = " ".join(out.split())
    assert all(sentence in flat for sentence in found["conclusions"])
    assert f"A: {models[0]} (head vrm)" in flat
    assert max(map(len, out.splitlines()[2:])) <= 100


def test_a_model_is_equal_to_itself(models, files, capsys):
    run("compare", models[0], models[0], files["pairs"], *RESAMPLES)
    assert "right and wrong on the same of the 47 pairs" in " ".join(capsys.readouterr().out.split())


def test_rows_that_one_model_drops_are_left_out_of_both(models, make_tiny_model, files, capsys):
    short = make_tiny_model("vrm", max_input_tokens=40)
    run("compare", models[0], short, files["words"], "--on-overlong", "drop", "--json", "-", *RESAMPLES)
    document = json.loads(capsys.readouterr().out)["files"][str(files["words"])]
    assert 5 < document["only_first"] < 20
    assert document["only_second"] == 0
    assert document["overall"]["count"] == 24 - document["only_first"]
    assert f"{document['only_first']} dropped" in document["overlong"]["b"]
    assert "all within 100 tokens" in document["overlong"]["a"]
    run("compare", models[0], short, files["pairs"], "--on-overlong", "drop", code=1)
    assert "no pair of completions that both models judged" in capsys.readouterr().err


def test_a_benchmark_by_name(models, files, capsys, tmp_path):
    output = tmp_path / "result.json"
    run("compare", *models, files["bench"], "--json", output, *RESAMPLES)
    out = capsys.readouterr().out
    found = json.loads(output.read_text())["benchmarks"][files["bench"]]
    assert found["examples"] == 20
    values = []
    for model in models:
        run("evaluate", model, files["bench"], "--json", "-", *RESAMPLES)
        values.append(capsys.readouterr().out)
    main_figure = found["figures"][0]
    difference = f"{100 * main_figure['difference']['estimate']:+.1f}"
    assert difference in out
    assert [figure["count"] for figure in found["figures"] if figure["name"].startswith(("knowledge", "math"))] == [
        10,
        10,
    ]
    assert all(f"{main_figure[side]}"[:8] in text for side, text in zip(("first", "second"), values, strict=True))
    assert found["conclusions"][0] in " ".join(out.split())


def test_features_of_a_shared_backbone_are_computed_once(models, files, capsys, tmp_path, monkeypatch):
    from vrm.inference.feature_store import FeatureStore

    added = []
    add = FeatureStore.add
    monkeypatch.setattr(FeatureStore, "add", lambda self, keys, rows: (added.append(len(keys)), add(self, keys, rows)))
    run("compare", *models, files["pairs"], "--feature-cache", tmp_path / "cache", "--json", "-", *RESAMPLES)
    cached = json.loads(capsys.readouterr().out)["files"]
    once = sum(added)
    added.clear()
    run("compare", *models, files["pairs"], "--json", "-", *RESAMPLES)
    assert sum(added) == 2 * once > 0
    assert json.loads(capsys.readouterr().out)["files"] == cached


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["A", "B"], 2, "Missing argument"),
        (["A", "absent", "PAIRS"], 1, "absent"),
        (["A", "B", "absent.jsonl"], 1, "absent.jsonl"),
        (["A", "B", "FAULTY"], 1, "faulty.jsonl:4"),
        (["A", "B", "PAIRS", "PAIRS"], 2, "given twice"),
        (["A", "B", "BENCH", "--recipe", "ultrafeedback"], 2, "recipes are for files of judgments"),
        (["A", "B", "PAIRS", "--precision", "half"], 2, "not one of 'auto', 'float32', 'bfloat16'"),
    ],
)
def test_wrong_arguments(models, files, capsys, arguments, code, message):
    named = {
        "A": models[0],
        "B": models[1],
        "PAIRS": files["pairs"],
        "FAULTY": files["faulty"],
        "BENCH": files["bench"],
    }
    run("compare", *(named.get(argument, argument) for argument in arguments), code=code)
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.replace("│", " ").split())
    assert captured.out == ""


def test_rows_with_faults_may_be_skipped(models, files, capsys):
    run("compare", *models, files["faulty"], "--on-bad-rows", "skip", "--json", "-", *RESAMPLES)
    document = json.loads(capsys.readouterr().out)["files"][str(files["faulty"])]
    assert document["overall"]["count"] == 3
    assert document["data"]["problems"]
