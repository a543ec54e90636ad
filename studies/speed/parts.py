"""Copies and parts: what each of several processes of `vrm train` holds, and what a step costs.

    python -m studies.speed.parts --json parts.json

Runs of one, two and four processes train the same decoder on the same pairs in float32, with copies of it (DDP) and in
parts (FSDP2). Each process reports the bytes of its weights, gradients and optimizer state after a backward pass, its
peak of resident memory, and processor time a step, the first left out. All processes share this machine's cores and
speak through its memory: the bytes that each holds are those of separate machines, times are not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import yaml
from studies.speed.inputs import TOY, DecoderShape, generated_pairs, save_decoder
from studies.speed.tables import Table, finish, parser, quiet

MEDIUM = DecoderShape(layers=8, hidden=576, intermediate=1536, heads=9, kv_heads=9)
WAYS = ((1, "ddp"), (2, "ddp"), (2, "fsdp"), (4, "ddp"), (4, "fsdp"))
PLACE = "VRM_PARTS_FOLDER"
"""Where a process of a run writes what it has measured; set in its environment."""


def held(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of this process's parts."""
    from torch.distributed.tensor import DTensor

    return sum((each.to_local() if isinstance(each, DTensor) else each).nbytes for each in tensors)


def train_and_report() -> None:
    """A process of a run: `vrm train` with a progress bar that also measures."""
    import time

    from vrm.cli.main import main
    from vrm.train import run

    class Measured(run.ProgressBar):
        seconds: list[float]

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.seconds, self.last = [], time.process_time()

        def on_pre_optimizer_step(self, *args: Any, model: Any = None, **kwargs: Any) -> None:
            parameters = list(model.parameters())
            self.sizes = {"weights": held(parameters)}
            self.sizes["gradients"] = held(each.grad for each in parameters if each.grad is not None)

        def on_step_end(self, *args: Any, optimizer: Any = None, **kwargs: Any) -> None:
            now = time.process_time()
            self.seconds.append(now - self.last)
            self.last = now
            states = (value for entry in optimizer.state.values() for value in entry.values() if value.dim())
            figures = self.sizes | {"optimizer": held(states), "seconds": self.seconds[1:]}
            figures["resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            Path(os.environ[PLACE], f"{os.environ['RANK']}.json").write_text(json.dumps(figures))

    run.ProgressBar = Measured
    main()


def measure(count: int, way: str, files: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What each process of a run has reported."""
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "output_dir": f"{folder}/run",
            "data": {"train": str(files / "pairs.jsonl"), "held_out": 0},
            "model": {"backbone": str(files / "decoder"), "tuning": "full", "head": "gated", "max_input_tokens": 1024},
            "train": {
                "parallel": way, "batch_size": 8, "epochs": 1, "evals": 1, "precision": "float32",
                "token_budget": 2048,
            },
        }  # fmt: skip
        path = Path(folder) / "run.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
        command = [sys.executable, "-m", *launcher, "-m", "studies.speed.parts", "--child", "train", str(path)]
        environment = {**os.environ, PLACE: folder, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
        return [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(count)]


def measured_table(figures: dict[str, list[list[dict[str, Any]]]], shape: DecoderShape) -> Table:
    """A line for each way, by its largest process; seconds are those of all processes together."""
    columns = [
        "processes",
        "weights, MB",
        "gradients, MB",
        "optimizer, MB",
        "together",
        "peak resident, MB",
        "s a step",
    ]
    table = Table(f"What the largest process holds: {shape.describe()}", columns)
    whole = 0
    for name, rounds in figures.items():
        sizes = [max(process[kind] for process in rounds[0]) for kind in ("weights", "gradients", "optimizer")]
        whole = whole or sum(sizes)
        resident = [max(process["resident"] for process in processes) for processes in rounds]
        seconds = [sum(statistics.median(process["seconds"]) for process in processes) for processes in rounds]
        spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f}-{max(seconds):.1f})"
        share = f"{sum(sizes) / whole:.0%}"
        table.add(name, *(f"{size / 1e6:.0f}" for size in sizes), share, f"{max(resident) / 1e6:.0f}", spread)
    table.notes.append("Seconds are of processors, over all processes: the median of steps, and its range over rounds.")
    return table


def main() -> None:
    """Measure, or be a process of a run."""
    if sys.argv[1:2] == ["--child"]:
        del sys.argv[1]
        train_and_report()
        return
    options = parser(__doc__, rounds=2)
    options.add_argument("--steps", type=int, default=5, help="optimizer steps of a run")
    options = options.parse_args()
    figures: dict[str, list[list[dict[str, Any]]]] = {}
    quiet()
    shape = TOY if options.quick else MEDIUM
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        save_decoder(shape, files)
        with open(files / "pairs.jsonl", "w", encoding="utf-8") as file:
            for pair in generated_pairs(8 * options.steps, seed=0):
                chosen, rejected = pair.completions
                row = {"prompt": pair.prompt, "chosen": chosen, "rejected": rejected}
                file.write(json.dumps(row) + "\n")
        for _ in range(options.rounds):
            for count, way in WAYS[::2] if options.quick else WAYS:
                name = f"{count}, {'copies' if way == 'ddp' else 'parts'}" if count > 1 else "1"
                figures.setdefault(name, []).append(measure(count, way, files, options))
    finish(options, [measured_table(figures, shape)], figures)


if __name__ == "__main__":
    main()
