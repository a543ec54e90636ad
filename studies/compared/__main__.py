"""Run the probes of the packages that are installed, and print the table of docs/compared.md.

    python -m studies.compared                                        # vrm and what is installed beside it
    python -m studies.compared --python rewarduq=/venvs/uq/bin/python --python rewardbench=...
    python -m studies.compared --tables                               # from results.json, nothing is run

Each package runs under an interpreter of its own; `requirements/` has what was installed for it. A package that is not
installed is named and left as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studies.compared.questions import QUESTIONS, ROWS, TOOLS
from studies.evidence.tables import markdown

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
LOOKED_MARK = "°"
SERVED = ("openrlhf", "rewardbench")
"""Packages that ask a server of vrm for rewards."""


def arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=[], help="these questions alone; the others keep their answers"
    )
    parser.add_argument("--python", action="append", default=[], metavar="TOOL=PATH", help="an interpreter that has it")
    parser.add_argument("--work", type=Path, default=Path("runs/compared"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="print the tables of the results that are there")
    return parser.parse_args()


@contextmanager
def served_model(tool: str, work: Path) -> Iterator[str]:
    """URL of a server with the model that the probes of vrm have trained, for packages that ask one; else no text."""
    if tool not in SERVED:
        yield ""
        return
    from studies.drills.server_parts.serving import served

    model = work / "vrm" / "labels" / "model"
    if not model.exists():
        sys.exit(f"{tool} asks a server of vrm: run the probes of vrm first (--tools vrm)")
    with served(model.resolve(), work / f"serve-{tool}.log") as running:
        yield f"http://127.0.0.1:{running.port}"


def probe(tool: str, python: str, options: argparse.Namespace, url: str) -> dict[str, Any] | None:
    """Run a package's probes in a process of its own; None where the package is not installed there."""
    package = TOOLS[tool].package.partition("==")[0]
    check = f"import importlib.metadata as m; m.version({package!r})"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"VRM_URL": url, "VRM_EXPORTED": str((options.work / "vrm" / "exported").resolve())}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    if subprocess.run([python, "-c", check], env=environment, capture_output=True).returncode:
        return None
    work = (options.work / tool).resolve()
    work.mkdir(parents=True, exist_ok=True)
    result = work / "found.json"
    material = (options.work / "material").resolve()
    command = [python, "-m", f"studies.compared.probes.{tool}", str(material), str(work), str(result), *options.rows]
    with (work / "log.txt").open("w", encoding="utf-8") as log:
        progress = os.dup(sys.stderr.fileno())
        environment["COMPARED_PROGRESS"] = str(progress)
        subprocess.run(command, cwd=work, env=environment, stdout=log, stderr=log, pass_fds=(progress,), check=True)
        os.close(progress)
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def cell(found: dict[str, str] | None) -> str:
    """Words of a cell; a small circle marks what rests on options and names, and was not run. None: not asked yet."""
    if found is None:
        return "-"
    return found["says"] + (LOOKED_MARK if found["basis"] == "looked" else "")


def table(rows: list[list[str]]) -> str:
    """A table of words, which stand to the left."""
    return markdown(rows).replace(" ---:", " ---")


def tables(results: dict[str, Any]) -> str:
    """The table by question, and below it for each package how its cells were tried."""
    tools = [tool for tool in TOOLS if tool in results]
    blocks = []
    for title, questions in QUESTIONS.items():
        lines = [
            [words, *(cell(results[tool]["cells"].get(key)) for tool in tools)] for key, words in questions.items()
        ]
        blocks.append(table([[f"**{title}**", *(TOOLS[tool].title for tool in tools)], *lines]))
    return "\n\n".join(blocks)


def evidence(results: dict[str, Any]) -> str:
    """For each package, what each cell rests on."""
    blocks = []
    for tool in (tool for tool in TOOLS if tool in results):
        found = results[tool]
        versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        cells = found["cells"]
        lines = [[ROWS[key], cells[key]["basis"], cells[key]["how"]] for key in ROWS if key in cells]
        head = f"### {TOOLS[tool].title}\n\nWith {versions}."
        blocks.append(f"{head}\n\n{table([['question', 'basis', 'how'], *lines])}")
    return "\n\n".join(blocks)


def main() -> int:
    """Exit status 1 where a probe failed."""
    options = arguments()
    results: dict[str, Any] = (
        json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    )
    if not options.tables:
        from studies.compared.material import write

        write(options.work / "material")
        pythons = dict(entry.split("=", 1) for entry in options.python)
        for tool in options.tools:
            with served_model(tool, options.work) as url:
                found = probe(tool, pythons.get(tool, sys.executable), options, url)
            if found is None:
                print(f"{tool}: not installed in {pythons.get(tool, sys.executable)}", file=sys.stderr)
            else:
                if options.rows:
                    found["cells"] = results.get(tool, {"cells": {}})["cells"] | found["cells"]
                results[tool] = found
                options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(tables(results), evidence(results), sep="\n\n")
    return int(any(entry["says"] == "failed" for found in results.values() for entry in found["cells"].values()))


if __name__ == "__main__":
    sys.exit(main())
