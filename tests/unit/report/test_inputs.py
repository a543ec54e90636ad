"""Inputs are recognised by what they hold; what is none is an error that names the file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vrm.errors import ConfigError, DataError
from vrm.metrics import json_ready
from vrm.report import read_inputs
from vrm.results import AuditDocument


def test_documents_and_runs_are_read_in_order(write, write_run, make):
    paths = [write("d.json", make.doctor()), write_run("r"), write("a.json", make.audit())]
    found = read_inputs(paths)
    assert [entry.content.kind for entry in found.documents] == ["doctor", "audit"]
    assert found.of(AuditDocument)[0].source == str(paths[2])
    assert found.runs[0].source == str(paths[1])
    assert len(found.runs[0].history) == 5
    assert found.runs[0].summary.rows.train == 2400


def test_an_unfinished_run_and_one_without_a_history(write_run):
    unfinished, bare = read_inputs([write_run("u", summary=None), write_run("b", history=None)]).runs
    assert unfinished.summary is None
    assert len(unfinished.history) == 5
    assert bare.history == ()


def test_the_quickstart_directory_is_its_results_and_its_runs(tmp_path, write, write_run, make):
    write("quick/results.json", {"heads": {"bt": {"test": make.measured()}, "vrm": {"test": make.measured()}}})
    for head in ("vrm", "bt"):
        write_run(f"quick/{head}")
    (tmp_path / "quick" / "corpus").mkdir()
    found = read_inputs([tmp_path / "quick"])
    assert [entry.content.model for entry in found.documents] == [
        str(tmp_path / "quick" / head / "model") for head in ("bt", "vrm")
    ]
    assert [run.source for run in found.runs] == [str(tmp_path / "quick" / head) for head in ("bt", "vrm")]


def test_other_json_and_other_schemas_are_refused(write, make):
    with pytest.raises(DataError, match=r"other\.json.*no 'kind'.*evaluation, comparison, audit, doctor"):
        read_inputs([write("other.json", {"a": 1})])
    with pytest.raises(DataError, match=r"kind\.json.*its kind is 'benchmark'"):
        read_inputs([write("kind.json", {"kind": "benchmark", "schema": 1})])
    with pytest.raises(DataError, match=r"new\.json.*its schema is 2, and this version of vrm reads 1"):
        read_inputs([write("new.json", replace(make.audit(), schema=2))])
    with pytest.raises(DataError, match=r"list\.json.*must be a JSON object, got list"):
        read_inputs([write("list.json", [1])])
    with pytest.raises(DataError, match=r"results\.json: heads\.bt: Input should be a valid dictionary"):
        read_inputs([write("results.json", {"heads": {"bt": []}})])


def test_a_value_of_another_type_is_named_with_its_file(write, make):
    audit, doctor = json_ready(make.audit()), json_ready(make.doctor())
    audit["edits"][1]["verdict"] = "pays well"
    with pytest.raises(DataError, match=r"a\.json: edits\.1\.verdict: Input should be 'raises the reward', "):
        read_inputs([write("a.json", audit)])
    doctor["findings"][0]["count"] = "many"
    with pytest.raises(DataError, match=r"d\.json: findings\.0\.count: Input should be a valid integer"):
        read_inputs([write("d.json", doctor)])


def test_files_that_are_not_json_are_named(tmp_path):
    texts = {"broken.json": b'{"kind": ', "latin.json": b'{"a": "\xe9"}', "deep.json": b"[" * 200_000}
    for name, content in texts.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.json: not JSON \(line 1, column 10"):
        read_inputs([tmp_path / "broken.json"])
    with pytest.raises(DataError, match=r"latin\.json: not UTF-8 text \(byte 7\)"):
        read_inputs([tmp_path / "latin.json"])
    with pytest.raises(DataError, match=r"deep\.json: .*nested too deeply"):
        read_inputs([tmp_path / "deep.json"])
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        read_inputs([tmp_path / "absent.json"])


def test_a_bad_line_of_a_history_is_named(write_run):
    run = write_run("r")
    (run / "history.jsonl").write_text('{"step": 1}\n\n{"step"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"history\.jsonl:3: not JSON"):
        read_inputs([run])
    (run / "history.jsonl").write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(DataError, match=r"history\.jsonl:1: must be a JSON object"):
        read_inputs([run])


def test_directories_that_are_no_runs_say_what_could_be_meant(tmp_path, write_run):
    run = write_run("runs/a")
    with pytest.raises(DataError, match=f"it holds runs, which can be given: {run}"):
        read_inputs([tmp_path / "runs"])
    (run / "model").mkdir()
    (run / "model" / "config.json").write_text("{}")
    with pytest.raises(DataError, match=f"it is the model of a run: give {run}"):
        read_inputs([run / "model"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: not an input of a report\. Allowed is a run directory"):
        read_inputs([tmp_path / "empty"])


def test_nothing_and_the_same_twice_are_refused(tmp_path, write, make):
    with pytest.raises(ConfigError, match="at least one input"):
        read_inputs([])
    path = write("a.json", make.audit())
    with pytest.raises(ConfigError, match=r"a\.json is given twice"):
        read_inputs([path, path.parent / "." / "a.json"])
