"""Tables as people read them in a terminal, as Markdown for the documentation, and as JSON; options that all share."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table as RichTable
from studies.speed.measure import CLOCKS, environment
from transformers.utils import logging


@dataclass
class Table:
    """Rows under named columns; `notes` say how to read them."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        self.rows.append(list(cells))

    def rich(self) -> RichTable:
        """For a terminal."""
        shown = RichTable(title=self.title, caption="\n".join(self.notes) or None, caption_justify="left")
        for index, column in enumerate(self.columns):
            shown.add_column(column, justify="right" if index else "left")
        for row in self.rows:
            shown.add_row(*row)
        return shown

    def markdown(self) -> str:
        """For docs/performance.md."""
        lines = [f"**{self.title}**", "", _line(self.columns), _line(["---", *["---:"] * (len(self.columns) - 1)])]
        lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, "", *self.notes])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def parser(description: str | None, rounds: int = 3) -> argparse.ArgumentParser:
    """Options of every benchmark."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path, help="write figures and facts about the machine to this file")
    options.add_argument("--markdown", action="store_true", help="print Markdown tables")
    options.add_argument("--quick", action="store_true", help="toy sizes, for tests: the figures mean nothing")
    options.add_argument("--rounds", type=int, default=rounds, help="repetitions, the sides in turn")
    return options


def add_clock(options: argparse.ArgumentParser) -> None:
    """The option of benchmarks that can count either time."""
    options.add_argument("--clock", choices=CLOCKS, default="wall", help="time that passes, or that is computed")


def quiet() -> None:
    """Keep the libraries' progress and advice out of the tables."""
    import os
    import warnings

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for category in (UserWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    try:
        from datasets.utils.logging import disable_progress_bar

        disable_progress_bar()
    except ImportError:
        pass


def finish(options: argparse.Namespace, tables: list[Table], figures: dict[str, Any]) -> None:
    """Write JSON if asked to, and print the tables last."""
    facts = environment()
    if options.json is not None:
        document = {"figures": figures, "environment": facts, "quick": options.quick}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    line = machine_line(facts)
    for table in tables:
        table.notes.append(f"Processor: {facts['processor']}, {facts['instructions']}, {facts['threads']} threads.")
    if options.quick:
        line += ". Toy sizes: the figures mean nothing"
    if options.markdown:
        print("\n\n".join(table.markdown() for table in tables) + f"\n\n{line}")
        return
    console = Console(width=None if Console().is_terminal else 160)
    console.print(line, soft_wrap=True)
    for table in tables:
        console.print(table.rich())


def machine_line(facts: dict[str, Any]) -> str:
    """The machine and the versions, in one line."""
    versions = ", ".join(f"{name} {facts[name]}" for name in ("torch", "transformers", "trl", "vrm"))
    gpu = f", {facts['gpu']}" if torch.cuda.is_available() else ""
    return f"{facts['processor']}{gpu}, {facts['threads']} threads; {versions}; load at the end {facts['load']}"
