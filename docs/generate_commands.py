"""Print docs/commands.md, made from the application by Typer. `make docs` writes it."""

from __future__ import annotations

import re
from typing import Any

from typer.cli import get_docs_for_click
from typer.main import get_command

from vrm.cli.main import COMMANDS, app

HEAD = """\
# Commands

<!-- Written by docs/generate_commands.py from the application; run `make docs`. -->

`vrm COMMAND --help` prints the same for one command. Results go to stdout, progress and warnings to stderr. The exit
code is 0, 1 where something failed, or 2 for wrong usage.

"""


def render() -> str:
    """The whole page."""
    group = get_command(app)
    parent = group.make_context("vrm", ["--help"], resilient_parsing=True)
    parent.resilient_parsing = False
    return HEAD + "\n".join([*_list(), "", *(_section(group, parent, name) for name in COMMANDS)])


def _list() -> list[str]:
    rows = [f"| [`vrm {name}`](#vrm-{name}) | {entry.summary} |" for name, entry in COMMANDS.items()]
    return ["| command | what it does |", "|---|---|", *rows]


def _section(group: Any, parent: Any, name: str) -> str:
    command = group.get_command(parent, name)
    text = get_docs_for_click(obj=command, ctx=parent, name=name, call_prefix="vrm", indent=1)
    for kind in ("Argument", "Option"):
        text = text.replace(f"**{kind}s**:\n", f"| {kind.lower()} | what it is |\n|---|---|")
    text = re.sub(r"^\* `([^`]+)`: (.*)$", lambda row: f"| `{_cell(row[1])}` | {_cell(row[2])} |", text, flags=re.M)
    # Typer marks what is required with braces, as help on a screen does.
    return re.sub(r"^\$ vrm .*$", lambda usage: re.sub(r"[{}]", "", usage.group()), text.strip("\n") + "\n", flags=re.M)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(render(), end="")
