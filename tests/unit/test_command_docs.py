"""docs/commands.md says what the application does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from vrm.cli.main import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_generator_prints():
    spec = importlib.util.spec_from_file_location("generate_commands", DOCS / "generate_commands.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert page == generator.render(), "docs/commands.md is out of date; run `make docs`"
    assert all(f"## `vrm {name}`" in page for name in COMMANDS)
