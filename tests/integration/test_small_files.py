"""The study of batch sizes for small files: its page is what its kept results say, and a toy run ends in a table."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from studies import small_files

from vrm.data.planted import write_planted

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "decisions" / "0028-steps-of-small-files.md"
KEPT = ROOT / "studies" / "small_files.jsonl"


def test_the_page_says_what_the_results_say(capsys):
    sets = ["hh_harmless", "finegrained_qa", "ukp_convarg2"]
    command = ["--seeds", "0", "--batches", "256", "32", "default", "--results", str(KEPT), "--tables"]
    small_files.main(["DATA", "--sets", *sets, *command])
    assert capsys.readouterr().out.strip() in PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.embedded
def test_a_toy_run_is_kept_and_not_made_again(tmp_path, capsys):
    write_planted(tmp_path / "corpus")
    for name, count in (("train", 60), ("dev", 20)):
        lines = (tmp_path / "corpus" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        with gzip.open(tmp_path / f"toy.{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(lines[:count])
    results = tmp_path / "results.jsonl"
    command = [
        str(tmp_path),
        "--sets",
        "toy",
        "--rows",
        "40",
        "--heads",
        "bt",
        "--seeds",
        "0",
        "--results",
        str(results),
    ]
    small_files.main([*command, "--batches", "256", "default"])
    shown = capsys.readouterr().out
    kept = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [run["batch"] for run in kept] == ["256", "default"]
    assert kept[0]["nll"] != kept[1]["nll"]
    small_files.main([*command, "--batches", "256", "default", "--tables"])
    assert capsys.readouterr().out.strip() in shown
    assert len(results.read_text(encoding="utf-8").splitlines()) == 2
