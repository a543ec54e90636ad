"""The whole: bad rows, files by name, what a report holds."""

from __future__ import annotations

import dataclasses
import json

import pytest

from vrm.data import Source
from vrm.doctor import DoctorSettings, diagnose
from vrm.errors import ConfigError, DataError

from .conftest import pair


def named(report, name):
    (found,) = (finding for finding in report.findings if finding.name == name)
    return found


def test_clean_rows_are_clean(look, clean, tiny_reading):
    report = look(clean, reading=dataclasses.replace(tiny_reading, limit=256))
    assert not report.invalid
    assert {finding.name for finding in report.findings if finding.severity in ("error", "warning")} == set()
    assert {finding.name for finding in report.of("not run")} == {"label_noise", "ratings_contradict"}
    assert named(report, "bad_rows").severity == "ok"
    profile = report.files["file0"]
    assert (profile["rows"], profile["usable"], profile["prompts"], profile["pairs"]) == (12, 12, 12, 12)


def test_bad_rows_with_place_field_and_kind_and_no_text(look, clean):
    rows = [
        *clean,
        pair("Why is it so?", "secret words", "secret words"),
        pair("How?", " ", "no"),
        pair("Who?", "yes", "no", preference=7),
        {"prompt": "What?"},
    ]
    report = look(rows, examples=9)
    found = named(report, "bad_rows")
    assert (found.severity, found.count, found.total) == ("error", 4, 16)
    assert [place.rpartition("/")[2] for place in found.places] == [
        "file0.jsonl:13 chosen (identical sides)",
        "file0.jsonl:14 chosen (empty completion)",
        "file0.jsonl:15 preference (out of range)",
        "file0.jsonl:16 (nothing to learn)",
    ]
    assert found.details["reasons"]["identical sides"] == 1
    for name, line in (("identical_sides", 13), ("empty_completions", 14)):
        assert (named(report, name).severity, named(report, name).count) == ("warning", 1)
        assert named(report, name).places[0].endswith(f":{line}")
    assert "secret" not in json.dumps(report.to_dict())
    assert report.files["file0"]["usable"] == 12


def test_few_bad_rows_are_a_warning(look):
    rows = [pair(f"Question {n}?", f"yes {n}", f"no {n}") for n in range(120)]
    assert named(look([*rows, pair("Why?", "", "no")]), "bad_rows").severity == "warning"


@pytest.mark.parametrize("text", ["", '{"prompt": "Why?", "chosen": "a", "rejected": "a"}\n', "no json\n"])
def test_a_file_without_a_usable_row_is_an_error_in_the_report(tmp_path, write, clean, tiny_reading, text):
    path = tmp_path / "useless.jsonl"
    path.write_text(text, encoding="utf-8")
    report = diagnose([write(clean), path], reading=tiny_reading)
    assert [finding.name for finding in report.of("error")] == ["bad_rows"]
    assert report.of("error")[0].files == ("useless",)
    assert report.files["useless"]["usable"] == 0
    assert report.files["data"]["usable"] == 12


def test_files_of_the_same_name_are_told_apart(tmp_path, write, clean, tiny_reading):
    (tmp_path / "other").mkdir()
    path = write(clean)
    copy = tmp_path / "other" / path.name
    copy.write_bytes(path.read_bytes())
    report = diagnose([path, copy], reading=tiny_reading)
    assert list(report.files) == ["data", "data#2"]
    assert named(report, "shared_prompts").files == ("data", "data#2")
    assert named(report, "shared_prompts").count == 12


def test_sources_can_be_mapped_and_limited(tmp_path, tiny_reading, clean):
    path = tmp_path / "x.jsonl"
    renamed = [{"question": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]} for row in clean]
    path.write_text("".join(json.dumps(row) + "\n" for row in renamed), encoding="utf-8")
    report = diagnose(Source(path, mapping={"prompt": "question"}, limit=5, name="mine"), reading=tiny_reading)
    assert report.files["mine"]["usable"] == 5


def test_a_profile_counts_labels_of_all_kinds(look):
    rows = [
        pair("A?", "yes", "no", preference=0.5, annotator="x", category="one", source="s"),
        pair("B?", "yes", "no", preference=0.9, margin=1.5, annotator="y", category="one", source="s"),
        pair("C?", "yes", "no", chosen_ratings={"a": 1, "b": 2}, rejected_ratings={"a": 2}, source="t", extra=1),
        {"prompt": "D?", "objective_votes": {"a": 1, "b": 0}, "category": "two"},
        {"prompt": "E?", "completions": ["x", "y", "z"], "scores": [1, 1, 0]},
    ]
    profile = look(rows).files["file0"]
    assert (profile["pairs"], profile["ties"], profile["soft_labels"], profile["target_margins"]) == (6, 2, 1, 1)
    assert (profile["annotators"], profile["num_categories"]) == (2, 2)
    assert profile["categories"] == {"one": 2, "two": 1}
    assert profile["sources"] == {"s": 2, "file0": 2, "t": 1}
    assert profile["rated_objectives"] == {"a": 2, "b": 1}
    assert profile["voted_objectives"] == {"a": 1}
    assert profile["ignored_columns"] == {"extra": 1}


def test_progress_is_told(write, clean, tiny_reading):
    told = []
    diagnose([write(clean)], reading=tiny_reading, progress=told.append)
    assert told[0] == "data: reading"
    assert len(told) == 5


def test_wrong_sources(tmp_path):
    with pytest.raises(ConfigError, match="no source"):
        diagnose([])
    with pytest.raises(DataError, match="absent"):
        diagnose(tmp_path / "absent.jsonl")


def test_the_number_of_places(look, clean):
    rows = [*clean, *clean[:5]]
    for examples in (0, 2, 9):
        found = named(look(rows, examples=examples), "duplicate_rows")
        assert len(found.places) == min(examples, 5)


def test_the_document_is_json_without_surprises(look, clean):
    report = look(clean, clean[:2], examples=1)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["invalid"] is True
    assert document["settings"]["thresholds"]["near"] == DoctorSettings().thresholds.near
    shared = next(entry for entry in document["findings"] if entry["name"] == "shared_prompts")
    assert (shared["severity"], shared["count"], shared["share"]) == ("error", 2, 1.0)
    rate = next(entry for entry in document["findings"] if entry["name"] == "longer_wins")["details"]["rate"]
    assert set(rate) == {"estimate", "low", "high", "confidence"}
    assert document["tokenizer"]["limit"] == 64
