"""A command in a process of its own, watched: time, processor time, memory and disk; runs are kept as JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

MARKED = """
import resource, sys, time
import psutil
from vrm.train import run
class Marked(run.VRMTrainer):
    def train(self, *args, **options):
        started = psutil.Process().create_time()
        def mark(name):
            used = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
            print(f"\\n{name} {time.time() - started:.2f} {used:.2f}", file=sys.stderr, flush=True)
        mark("BEGIN")
        try:
            return super().train(*args, **options)
        finally:
            mark("END")
run.VRMTrainer = Marked
"""
"""Before `vrm train`: it then tells when training begins and ends."""

COMMAND = "from vrm.cli.main import main\nimport sys\nif __name__ == '__main__':\n    sys.exit(main())\n"


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes:
        task: which.
        rows: of the file.
        seconds: until it ended, or was ended.
        processor: seconds of processor time, of all its processes.
        start_up: seconds from the start of the process to the first step of training; None for other tasks.
        start_processor: processor time until then.
        steps_processor: processor time of the training steps; None for other tasks.
        memory: largest resident memory, in GB.
        disk: what lies in its caches afterwards, in GB.
        finished: whether it came to its end.
        load: of the machine, the mean of the last minutes.
        versions: of what it ran on.
    """

    task: str
    rows: int
    seconds: float
    processor: float
    start_up: float | None
    start_processor: float | None
    steps_processor: float | None
    memory: float
    disk: float
    finished: bool
    load: float
    versions: dict[str, str]


def measured(task: str, rows: int, arguments: Sequence[str], place: Path, limit: float) -> Measured:
    """Run `vrm` with its caches in `place`, and watch it.

    Args:
        task: what to call it.
        rows: how many it is about.
        arguments: of the command.
        place: for caches and the log.
        limit: seconds after which it is ended.
    """
    caches = place / "caches"
    environment = os.environ | {
        "VRM_ROW_CACHE": str(caches / "rows"),
        "HF_HOME": str(caches / "hub"),
        "VRM_FEATURE_CACHE": "none",
    }
    code = (MARKED if arguments[0] == "train" else "") + COMMAND
    log = place / f"{task}-{rows}.log"
    started = time.monotonic()
    with log.open("w") as stream:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], env=environment, stderr=stream, stdout=stream
        )
        memory, processor = watch(child, started + limit)
    seconds = time.monotonic() - started
    marks = {words[0]: words[1:3] for line in log.read_text().splitlines() if (words := line.split()[:3])}
    begin, end = (list(map(float, marks[name])) if name in marks else None for name in ("BEGIN", "END"))
    if child.returncode not in (0, 1, -9, -15):
        raise SystemExit(f"{task}: see {log}")
    return Measured(
        task=task,
        rows=rows,
        seconds=round(seconds, 1),
        processor=round(processor, 1),
        start_up=begin and begin[0],
        start_processor=begin and begin[1],
        steps_processor=round(end[1] - begin[1], 2) if begin and end else None,
        memory=round(memory / 1e9, 3),
        disk=round(size_of(caches) / 1e9, 4),
        finished=child.returncode in (0, 1),
        load=round(os.getloadavg()[1], 1),
        versions={name: version(name) for name in ("vrm", "datasets", "pyarrow", "torch", "transformers")},
    )


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def watch(child: subprocess.Popen[Any], end: float) -> tuple[float, float]:
    """Largest memory in bytes and processor time, in seconds, of a process and its children; ends it in time.

    Memory is sampled twice a second: resident pages as the system counts them (a page that several processes share is
    divided among them), those of mapped files included.
    """
    memory, times = 0.0, dict[int, float]()
    parent = psutil.Process(child.pid)
    while child.poll() is None:
        total = 0.0
        for process in [parent, *_children(parent)]:
            try:
                total += process.memory_full_info().pss
                used = process.cpu_times()
                times[process.pid] = used.user + used.system
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
        memory = max(memory, total)
        if time.monotonic() > end:
            for process in [*_children(parent), parent]:
                process.kill()
            child.wait()
        time.sleep(0.5)
    return memory, sum(times.values())


def _children(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def keep(run: Measured, file: Path | None) -> None:
    """Tell of a run, and write it behind those that the file holds."""
    text = json.dumps(asdict(run))
    print(text, file=sys.stderr, flush=True)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")


def kept(file: Path) -> list[Measured]:
    """The runs of a file, in their order."""
    return [Measured(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
