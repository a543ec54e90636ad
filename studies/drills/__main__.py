"""Run one drill, or print the tables of those that were run."""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from studies.drills.outcome import RESULTS, Drill, Setting, document, table, write

NAMES: tuple[str, ...] = (
    "checkpoints",
    "rows",
    # one line each, so that drills can be added side by side
    "kills",
    "server",
    "numerics",
    "footprint",
)
"""Modules of this folder, each with a `DRILL`, in the order of the page."""


def arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=NAMES)
    parser.add_argument("--tables", action="store_true", help="print tables from the documents that are there")
    parser.add_argument("--quick", action="store_true", help="toy sizes; the document stays below --work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/drills"))
    options = parser.parse_args()
    if options.name is None and not options.tables:
        parser.error(f"name a drill, one of {', '.join(NAMES)}, or ask for --tables")
    return options


def main() -> int:
    """Exit status 1 where a drill found a fault."""
    options = arguments()
    if options.tables:
        for path in (RESULTS / f"{name}.json" for name in NAMES):
            if path.exists():
                found = json.loads(path.read_text(encoding="utf-8"))
                print(f"{found['title']}: `{found['command']}`\n\n{table(found)}\n")
            else:
                print(f"{path.stem}: not run yet\n")
        return 0
    drill: Drill = import_module(f"studies.drills.{options.name}").DRILL
    found = document(options.name, drill, Setting(options.work / options.name, options.seed, options.quick))
    write(found, (options.work if options.quick else RESULTS) / f"{options.name}.json")
    print(table(found))
    return int(any(row["faults"] or row["lost"] for row in found["outcomes"]))


if __name__ == "__main__":
    sys.exit(main())
