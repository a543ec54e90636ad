"""Part two of the study at toy size: every question runs, goes on from its kept pieces, and prints its tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from studies.evidence.second import __main__ as command
from studies.evidence.second.questions import questions
from transformers.utils import logging

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(not (DATA / "raters").exists(), reason=f"the study's data is not at {DATA}"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One feature cache for all questions."""
    verbosity = logging.get_verbosity()
    yield tmp_path_factory.mktemp("features")
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()


SLOW = ("best_of_n", "certificate", "language_model", "loop", "never_behind", "new_group", "raters", "ratings")
"""Toy sizes of ten seconds and more."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in questions()]
)
def test_every_question_runs_at_toy_size(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--questions", name, "--quick", "--cache", str(cache), "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["second", str(DATA), *options])
    command.main()
    printed = capsys.readouterr().out
    assert f"## {questions()[name].title}" in printed
    assert "| --- |" in printed, "no table"
    document = json.loads((tmp_path / "quick" / name / f"{name}.json").read_text(encoding="utf-8"))
    assert document["quick"]
    assert document["figures"]

    monkeypatch.setattr(sys, "argv", ["second", "--tables", *options])
    command.main()
    assert "| --- |" in capsys.readouterr().out
