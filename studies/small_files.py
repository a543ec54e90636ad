"""Batch sizes for files of few rows: held-out NLL of `vrm train` at its defaults, by rows and `train.batch_size`.

    python -m studies.small_files DATA_DIR --sets rmb hh_helpful --batches 256 32 16 64 --results results.jsonl
    python -m studies.small_files DATA_DIR --sets ukp_convarg2 --results studies/small_files.jsonl --tables

DATA_DIR holds NAME.train.jsonl.gz and NAME.dev.jsonl.gz. Each seed draws other training rows; the first `TESTED` rows
of the dev fold are the test. Runs that the results hold are not repeated, and `--tables` makes none. Prints the means
over seeds and sets.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vrm.config import parse_config
from vrm.data.load import Source, load_judgments
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.train.run import run_training

TESTED = 300
KEYS = ("set", "rows", "head", "seed", "batch")


def measured(data: Path, run: dict[str, Any]) -> dict[str, Any]:
    """Train as `run` says, on rows drawn by its seed; figures on the test rows."""
    with gzip.open(data / f"{run['set']}.train.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = random.Random(run["seed"]).sample(file.readlines(), run["rows"])
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.write_text("".join(lines), encoding="utf-8")
        settings: dict[str, Any] = {
            "output_dir": f"{folder}/run",
            "seed": run["seed"],
            "data": {"train": [str(rows)], "on_bad_rows": "skip"},
        }
        settings["model"] = {"backbone": "embedded", "head": run["head"]}
        if run["batch"] != "default":
            batch, _, epochs = run["batch"].partition("x")
            settings["train"] = {"batch_size": int(batch), **({"epochs": float(epochs)} if epochs else {})}
        config = parse_config(settings)
        result = run_training(config, overwrite=True)
        options = ExtractionOptions(config.train.precision, config.features.token_budget).with_cache(None)
        engine = RewardEngine.from_pretrained(result.model_dir, options=options)
        fold = Source(path=str(data / f"{run['set']}.dev.jsonl.gz"), limit=TESTED)
        test = load_judgments(fold, on_bad_rows="skip").judgments
        pairs = evaluate_judgments(engine, test).pairs
    assert pairs is not None
    return {
        **run,
        "nll": pairs.negative_log_likelihood,
        "accuracy": pairs.accuracy.estimate,
    }


def table(runs: Iterable[dict[str, Any]]) -> str:
    """Means by rows, head and batch, and how far the NLL lies from that of 256 on the same rows."""
    runs = list(runs)
    plain = {tuple(run[key] for key in KEYS[:-1]): run["nll"] for run in runs if run["batch"] == "256"}
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["rows"], run["head"], str(run["batch"])].append(run)
    lines = ["| rows | head | batch | NLL | minus that of 256 | its range over runs | accuracy |"]
    lines.append("|---:|---|---:|---:|---:|---:|---:|")
    for (rows, head, batch), members in groups.items():
        behind = [
            run["nll"] - plain[key] for run in members if (key := tuple(run[name] for name in KEYS[:-1])) in plain
        ]
        gap = f"{statistics.mean(behind):+.4f} | {min(behind):+.4f} to {max(behind):+.4f}" if behind else " | "
        nll, accuracy = (statistics.mean(run[key] for run in members) for key in ("nll", "accuracy"))
        lines.append(f"| {rows:,} | {head} | {batch} | {nll:.4f} | {gap} | {100 * accuracy:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the results do not hold, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--heads", nargs="+", default=["vrm", "bt"])
    parser.add_argument("--batches", nargs="+", default=["256", "default"], help="16, 16x30 for 30 epochs, or default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, to which the runs are added")
    parser.add_argument("--tables", action="store_true", help="of what the results hold; nothing is run")
    given = parser.parse_args(arguments)
    given.results.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in given.results.read_text().splitlines()] if given.results.exists() else []
    done = {tuple(run[key] for key in KEYS): run for run in known}
    wanted = list(itertools.product(given.sets, given.rows, given.heads, given.seeds, given.batches))
    wanted = [key for key in wanted if key in done] if given.tables else wanted
    for number, key in enumerate(wanted):
        if key not in done:
            print(f"{number + 1} of {len(wanted)}: {key}", file=sys.stderr)
            done[key] = measured(given.data, dict(zip(KEYS, key, strict=True)))
            with given.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[key]) + "\n")
    print(table(done[key] for key in sorted(wanted, key=lambda key: (key[1], key[2]))))


if __name__ == "__main__":
    main()
