"""The drills at toy size, and the page's tables against the kept documents."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from studies.drills import __main__ as command
from studies.drills.outcome import RESULTS, table

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

SLOW: tuple[str, ...] = (
    "checkpoints",
    "rows",
    # one line each: toy sizes of ten seconds and more
    "kills",
    "server",
    "numerics",
    "footprint",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in command.NAMES]
)
def test_every_drill_runs_at_toy_size_and_finds_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["drills", name, "--quick", "--work", str(tmp_path)])
    status = command.main()
    assert status == 0, capsys.readouterr().out
    document = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert document["quick"]
    assert all(row["tries"] for row in document["outcomes"])


@pytest.mark.parametrize("name", command.NAMES)
def test_the_page_has_the_table_of_the_document(name: str) -> None:
    document = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert not document["quick"]
    assert table(document) in PAGE.read_text(encoding="utf-8")
    assert document["command"] in PAGE.read_text(encoding="utf-8")
