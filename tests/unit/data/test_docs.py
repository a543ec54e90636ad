"""What docs/data.md shows is what happens."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

from vrm.data import parse_row, parse_scoring_row
from vrm.data.columns import row_columns

TEXT = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
ROWS = re.findall(r"```json( scoring)?\n(.*?)\n```", TEXT, re.DOTALL)
SNIPPETS = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(("scoring", "row"), ROWS)
def test_example_rows_are_valid(scoring, row):
    judgment = (parse_scoring_row if scoring else parse_row)(json.loads(row))
    assert judgment.completions or judgment.objective_votes


def test_snippets_print_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    assert len(SNIPPETS) == TEXT.count("```python")
    for code, expected in SNIPPETS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == expected


def test_every_column_is_in_the_table():
    rows = "\n".join(line for line in TEXT.splitlines() if line.startswith("| `"))
    assert [name for name in row_columns() if f"`{name}`" not in rows] == []
