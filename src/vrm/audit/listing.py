"""The list of edits for people; needs no model and loads none."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from vrm.audit.edits import EDITS, Edit


def print_edits(console: Console, edits: Mapping[str, Edit] = EDITS) -> None:
    """Print the names of edits with what they do."""
    table = Table(title="Edits", title_justify="left")
    table.add_column("name", no_wrap=True)
    for name in ("what it does", "where it applies", "a reward"):
        table.add_column(name)
    for name, edit in edits.items():
        table.add_row(name, edit.summary, edit.needs or "everywhere", edit.kind)
    console.print(table)
