"""The study of growth: its exponents and tables, what it kept, and, slow, that commands on many rows stay small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from studies.scale import curves, pairs, rows
from studies.scale.measured import Measured, keep, kept, measured

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "studies" / "scale" / "results.jsonl"
LIMIT_GB = 1.2
"""Resident memory of the data path, the model's aside."""


def run(task: str, count: int, processor: float, memory: float, *, finished: bool = True) -> Measured:
    return Measured(task, count, 2 * processor, processor, None, None, None, memory, 0.0, finished, 1.0, {})


def test_exponents_are_of_the_last_sizes_and_the_latest_runs():
    linear = [run("one", size, 1e-3 * size, 0.5) for size in (10, 1000, 10_000, 100_000)]
    runs = [
        run("one", 10_000, 7.0, 9.0),
        *linear,
        run("one", 1_000_000, 5.0, 1.0, finished=False),
        run("square", 10, 1.0, 1.0),
        run("square", 100, 100.0, 2.0),
    ]
    tasks = curves.by_task(runs)
    assert tasks["one"] == linear
    assert curves.exponent(tasks["one"], "processor") == pytest.approx(1)
    assert curves.exponent(tasks["one"], "memory") == pytest.approx(0)
    assert curves.exponent(tasks["square"], "processor") == pytest.approx(2)
    assert curves.a_row(tasks["square"], "processor") == pytest.approx(1.1)
    printed = curves.table(runs)
    assert "| one | 100,000 | 1.00 | 1 | 0.00 | 0 |  |  |" in printed
    assert "| one (ended) | 1,000,000 | 10 | 5 |  |  | 1.00 | 0 | 1 |" in printed


def test_runs_are_kept_and_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    file, plot = tmp_path / "results.jsonl", tmp_path / "plot.png"
    runs = [run("one", size, 1e-3 * size, 0.5) for size in (10, 1000)]
    for each in runs:
        keep(each, file)
    assert kept(file) == runs
    curves.main([str(file), "--plot", str(plot)])
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_page_shows_what_was_kept():
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    runs = kept(RESULTS)
    assert all(each.versions for each in runs)
    assert curves.table(runs) in page


@pytest.mark.slow
@pytest.mark.embedded
def test_pairs_train_on_generated_caches(tmp_path):
    """Features that are not found in the cache would be computed, and added to it."""
    pairs.make_caches(tmp_path, 3000)
    (store,) = (tmp_path / "caches" / "features").iterdir()
    before = (store / "keys.bin").read_bytes()
    assert len(before) == 3000 * 3 * 16
    found = measured("pairs", 3000, pairs.command(tmp_path, 3000), tmp_path, 600.0)
    assert found.finished
    assert (store / "keys.bin").read_bytes() == before
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["rows"]["train"] + summary["rows"]["eval"] == 3000


@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.timeout(3600)
def test_many_rows_stay_on_the_disk(tmp_path):
    """30,000 rows of 2 KB, from the file: `vrm train`, which reads, checks and tokenizes them, and `vrm doctor`."""
    count = 30_000
    source, tokenizer = tmp_path / "rows.jsonl", str(rows.word_tokenizer(tmp_path))
    rows.write_rows(source, count)
    for task in ("train", "doctor"):
        found = measured(task, count, rows.command(task, count, source, tmp_path, tokenizer), tmp_path, 3600.0)
        assert found.finished
        assert found.memory < LIMIT_GB
    report = json.loads((tmp_path / f"doctor-{count}.json").read_text())
    (profile,) = report["files"].values()
    assert profile["usable"] == count - count // rows.BAD_EVERY
