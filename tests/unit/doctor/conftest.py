"""Files made of rows, looked at by the doctor with a tiny tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vrm.data import load_judgments
from vrm.doctor import DoctorReport, DoctorSettings, Finding, Reading, diagnose, load_reading
from vrm.doctor.across import check_across
from vrm.doctor.duplicates import check_duplicates
from vrm.doctor.labels import check_labels
from vrm.doctor.languages import check_languages
from vrm.doctor.lengths import check_lengths, check_tokens
from vrm.doctor.rows import FileRows
from vrm.doctor.templates import NAMES


@pytest.fixture(scope="session")
def tiny_reading(tiny_encoder_backbone: Path) -> Reading:
    return load_reading(str(tiny_encoder_backbone), 64)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: list[dict[str, Any]], name: str = "data") -> Path:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def look(write: Callable[..., Path], tiny_reading: Reading) -> Callable[..., DoctorReport]:
    """look(rows, ..., reading=..., **settings): the report on one file for each list of rows."""

    def look(*files: list[dict[str, Any]], reading: Reading = tiny_reading, **settings: Any) -> DoctorReport:
        paths = [write(rows, f"file{index}") for index, rows in enumerate(files)]
        return diagnose(paths, settings=DoctorSettings(**settings), reading=reading)

    return look


@pytest.fixture
def file_rows(write: Callable[..., Path]) -> Callable[..., FileRows]:
    """file_rows(rows, name="data"): what the checks get."""

    def build(rows: list[dict[str, Any]], name: str = "data") -> FileRows:
        result = load_judgments(write(rows, name))
        return FileRows.of(name, result.judgments, result.report)

    return build


@pytest.fixture
def find(file_rows: Callable[..., FileRows], tiny_reading: Reading) -> Callable[..., Finding]:
    """find(name, rows, ...): the one finding of that name, by the check alone that makes it."""

    def find(name: str, *files: list[dict[str, Any]], reading: Reading | str = tiny_reading, **values: Any) -> Finding:
        settings = DoctorSettings(**values)
        rows = [file_rows(entry, f"file{index}") for index, entry in enumerate(files)]
        if "shared" in name:
            found = check_across(rows, settings)
        elif name in (*NAMES, "cut_to_identical", "over_limit"):
            found, _ = check_tokens(rows[0], settings, reading)
        elif name == "languages":
            found = [check_languages(rows[0], settings, isinstance(reading, Reading) and reading.english_only)]
        else:
            checks = (check_duplicates, check_lengths) if name in _IN_TEXTS else (check_labels,)
            found = [finding for check in checks for finding in check(rows[0], settings)]
        (one,) = (finding for finding in found if finding.name == name)
        return one

    return find


_IN_TEXTS = (
    "repeated_prompts",
    "near_duplicate_prompts",
    "duplicate_rows",
    "near_duplicate_rows",
    "repeated_completions",
    "longer_wins",
    "case_only",
)


def pair(prompt: str, chosen: str, rejected: str, **columns: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **columns}


@pytest.fixture
def clean() -> list[dict[str, Any]]:
    """Rows with nothing wrong: different prompts, either side the longer one in turn."""
    things = ["tree", "fish", "bird", "stone", "river", "cloud", "tower", "bridge", "garden", "kettle", "lamp", "cello"]
    return [
        pair(
            f"Please tell me everything about one {thing} of your choice, number {index}.",
            f"A {thing} is good{' to have around' * (index % 2)}.",
            f"No {thing} is bad{' to have around' * (1 - index % 2)}.",
        )
        for index, thing in enumerate(things)
    ]
