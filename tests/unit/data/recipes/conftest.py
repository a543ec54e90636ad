from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vrm.data.recipes import Converted, get_recipe

FIXTURES = Path(__file__).parents[3] / "fixtures" / "recipes"


def _table(name: str) -> list[dict[str, Any]]:
    lines = (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _run(recipe: str, *tables: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    rows: list[dict[str, Any]] = []
    skipped: Counter[str] = Counter()
    for converted in get_recipe(recipe).convert_all(*tables):
        assert isinstance(converted, Converted)
        assert converted.rows or converted.skipped, "a row vanished without a reason"
        rows += list(converted)
        skipped.update(converted.skipped)
    return rows, dict(skipped)


@pytest.fixture
def table() -> Callable[[str], list[dict[str, Any]]]:
    """Reads the fixture file of that name."""
    return _table


@pytest.fixture
def run() -> Callable[..., tuple[list[dict[str, Any]], dict[str, int]]]:
    """Converts whole tables: run(recipe, *tables) -> rows, skipped."""
    return _run
