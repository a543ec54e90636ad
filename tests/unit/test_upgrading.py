"""The upgrade notes name what is there, and what is not there any more."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import vrm
from vrm.renamed import RENAMED

PAGE = (Path(__file__).parents[2] / "docs" / "upgrading.md").read_text(encoding="utf-8")
ROWS = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `")]
NAME = re.compile(r"`(vrm(?:\.\w+)+)")
BOOTSTRAP = re.compile(r"`(bootstrap_\w+|auroc_interval|best_of_n_curve|\w+_difference_interval|expected_best_of_n)`")
OF_METRICS = PAGE.partition("In `vrm.metrics` every bootstrap")[2].splitlines()


def found(dotted: str) -> Any:
    """The module or attribute, or None."""
    try:
        return import_module(dotted)
    except ImportError:
        module, _, name = dotted.rpartition(".")
        return getattr(import_module(module), name, None) if module else None


def is_there(dotted: str) -> bool:
    try:
        return found(dotted) is not None
    except ImportError:
        return False


@pytest.mark.parametrize("row", [row for row in ROWS if NAME.search(row[0])], ids=lambda row: row[0].strip())
def test_moved_paths(row):
    before, now = NAME.findall(row[0]), NAME.findall(row[1])
    assert not any(is_there(name) for name in before)
    assert all(is_there(name) for name in now)


def test_renamed_functions_of_metrics():
    pairs = [
        (BOOTSTRAP.findall(line.split("|")[1]), BOOTSTRAP.findall(line.split("|")[2]))
        for line in OF_METRICS
        if line.startswith("| `")
    ]
    assert len(pairs) >= 6
    for before, now in pairs:
        assert before
        assert now
        assert not any(is_there(f"vrm.metrics.{name}") for name in before)
        assert all(is_there(f"vrm.metrics.{name}") for name in now)


def test_renamed_keys_are_listed():
    for old, new in RENAMED.items():
        assert f"| `{old}` | `{new}`" in PAGE


def test_names_of_the_package():
    named = re.findall(r"`(\w+)`", PAGE.partition("### Imports")[2].partition("[The reference]")[0])
    assert set(named) - {"vrm"} <= set(vrm.__all__)
