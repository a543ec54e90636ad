"""The doctor of rows that are on the disk finds what it finds in memory."""

from __future__ import annotations

import json
import random

import numpy as np

from vrm.data import storage
from vrm.data.stored.rows import StoredRows
from vrm.doctor import DoctorSettings, diagnose
from vrm.doctor.rows import FileRows, occurring_again
from vrm.metrics import json_ready


def write(path, seed):
    """Rows with copies, near copies, contradictions, several raters, ties, stock answers and faults."""
    generator = random.Random(seed)
    words = [f"word{number}" for number in range(60)]

    def text(length):
        return " ".join(generator.choices(words, k=length))

    rows = [{"prompt": f"{text(20)}?", "chosen": text(30), "rejected": text(12)} for _ in range(60)]
    for row in generator.sample(rows, 10):
        rows += [dict(row), row | {"chosen": row["rejected"], "rejected": row["chosen"]}]
        rows.append(row | {"prompt": row["prompt"].replace("word1", "changed")})
    for row in generator.sample(rows, 10):
        rows.append(row | {"rejected": "I do not know.", "annotator": generator.choice("ab"), "category": "c"})
        rows.append(row | {"judgments": [{"annotator": "a", "preference": p} for p in (1, 1, 0.5)]})
        rows.append(row | {"chosen_ratings": {"q": 1}, "rejected_ratings": {"q": generator.choice([0, 2])}})
        rows.append(row | {"rejected": row["chosen"]})
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_the_report_is_that_of_memory(tmp_path, monkeypatch):
    files = [write(tmp_path / "a.jsonl", 0), write(tmp_path / "b.jsonl", 1)]
    settings = DoctorSettings(split_by="category")
    monkeypatch.setenv("VRM_ROW_CACHE", str(tmp_path / "cache"))
    reports, kinds = [], []
    of = FileRows.of

    def noted(name, rows, report):
        kinds.append(type(rows))
        return of(name, rows, report)

    monkeypatch.setattr(FileRows, "of", staticmethod(noted))
    for limit in (10**9, 0):
        monkeypatch.setattr(storage, "DISK_FROM_BYTES", limit)
        reports.append(json_ready(diagnose(files, settings=settings)))
    assert kinds == [list, list, StoredRows, StoredRows]
    assert reports[0] == reports[1]
    found = {finding["name"]: finding["count"] for finding in reports[0]["findings"] if finding["count"]}
    assert {"duplicate_rows", "near_duplicate_rows", "contradictory_pairs", "repeated_completions", "bad_rows"} <= set(
        found
    )


def test_values_that_occur_again():
    assert occurring_again(["a", "b", "a", "c"]).tolist() == [True, False, True, False]
    assert occurring_again([]).dtype == np.bool_
