"""docs/commands.md says what the application does."""

from __future__ import annotations

from pathlib import Path

from vrm.cli.main import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_generator_prints(page_generator):
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert page == page_generator("commands").render(), "docs/commands.md is out of date; run `make docs`"
    assert all(f"## `vrm {name}`" in page for name in COMMANDS)
