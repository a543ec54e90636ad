"""`vrm score` in one process and with 1, 2 and 4 workers of a local Ray cluster: time, processor time and memory.

    python -m studies.scale.ray MODEL ROWS.jsonl --workers 1 2 4

Every process computes in one thread. The outputs are compared byte by byte. Where there are fewer cores than workers,
wall time says little, and processor time says what Ray costs beside the model. `started` is the time until the first
rows are written, in which the workers load torch and the model.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from studies.scale.measured import watch


@dataclass(frozen=True)
class Measured:
    """One run of `vrm score`.

    Attributes:
        workers: of Ray; 0 for one process without it.
        started: seconds until the first rows were written.
        seconds: until it ended.
        processor: seconds of processor time of all its processes.
        memory: largest resident memory of all its processes, in GB; shared pages are divided.
        equal: whether the output is that of one process.
    """

    workers: int
    started: float
    seconds: float
    processor: float
    memory: float
    equal: bool


def measured(model: str, rows: str, workers: int, folder: Path) -> Measured:
    """Score with so many workers, and watch it."""
    output = folder / f"{workers}.jsonl"
    command = [sys.executable, "-m", "vrm.cli.main", "score", model, rows, "-o", str(output), "--threads", "1"]
    if workers:
        command += ["--ray", "local", "--workers", str(workers)]
    begun, first = time.monotonic(), list[float]()
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=log)
        seen = threading.Thread(target=_note_first, args=(child, output, first), daemon=True)
        seen.start()
        memory, processor = watch(child, begun + 3600)
    if child.returncode != 0:
        raise SystemExit((folder / "log").read_text())
    seen.join()
    equal = filecmp.cmp(folder / "0.jsonl", output, shallow=False)
    return Measured(workers, first[0] - begun, time.monotonic() - begun, processor, memory / 1e9, equal)


def _note_first(child: subprocess.Popen[bytes], output: Path, first: list[float]) -> None:
    while child.poll() is None and not (output.exists() and output.stat().st_size):
        time.sleep(0.05)
    first.append(time.monotonic())


def table(runs: Sequence[Measured], texts: int) -> str:
    """The runs as a table of Markdown."""
    lines = ["| workers | started, s | all, s | processor, s | ms a text | memory, GB | same rows |"]
    lines.append("|---|---:|---:|---:|---:|---:|---|")
    for run in runs:
        name = str(run.workers) if run.workers else "no Ray"
        cost = 1e3 * run.processor / texts
        lines.append(
            f"| {name} | {run.started:.0f} | {run.seconds:.0f} | {run.processor:.0f} | {cost:.0f} | {run.memory:.1f} | "
            f"{'yes' if run.equal else 'no'} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("rows")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        runs = [measured(given.model, given.rows, workers, Path(folder)) for workers in (0, *given.workers)]
        rows = [json.loads(line) for line in (Path(folder) / "0.jsonl").read_text().splitlines()]
    texts = sum(len(row.get("rewards", ())) for row in rows)
    versions = ", ".join(f"{name} {version(name)}" for name in ("vrm", "ray", "torch"))
    load = os.getloadavg()[1]
    print(f"{texts:,} texts; {versions}; {os.cpu_count()} cores, load {load:.0f}\n\n{table(runs, texts)}")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")


if __name__ == "__main__":
    main()
