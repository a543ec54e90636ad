"""The real run: every head and seed on the training folds of a directory, measured on its dev folds.

    python studies/preferences.py DATA_DIR --json runs/preferences/results.json

DATA_DIR holds NAME.train.jsonl.gz and NAME.dev.jsonl.gz. Checkpoints are chosen on prompts held out of the training
folds; the dev folds are read once, at the end. Finished runs are not repeated. Prints their tables.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

from transformers.utils import logging

from vrm.config import load_config, parse_config
from vrm.data.load import load_judgments
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.results.base import versions
from vrm.train.run import run_training

HEADS = ("bt", "mlp", "gated", "bottleneck", "vrm")
CONFIG = Path(__file__).parent.parent / "configs" / "preferences_minilm.yaml"


def run(head: str, seed: int, data: Path, output: Path, base: Path, overrides: list[str]) -> dict[str, Any]:
    """Train one head with one seed unless that is done, and evaluate it on every dev fold."""
    target = output / f"{head}-{seed}"
    done = target / "dev.json"
    if done.exists():
        return json.loads(done.read_text())
    folds = sorted(str(path) for path in data.glob("*.train.jsonl.gz"))
    settings = [f"data.train={json.dumps(folds)}", f"output_dir={target}", f"model.head={head}", f"seed={seed}"]
    config = parse_config(load_config(base, [*settings, *overrides]).model_dump())
    result = run_training(config, overwrite=True)
    options = ExtractionOptions(config.train.precision, config.features.token_budget, config.features.cache)
    engine = RewardEngine.from_pretrained(result.model_dir, options=options)
    figures: dict[str, Any] = {"held_out": result.metrics, "seconds": result.summary.seconds, "dev": {}}
    for path in sorted(data.glob("*.dev.jsonl.gz")):
        engine.reset_report()
        rows = load_judgments(str(path), on_bad_rows="skip").judgments
        figures["dev"][path.name.split(".")[0]] = evaluate_judgments(engine, rows).to_dict()
    done.write_text(json.dumps(figures) + "\n")
    return figures


def spread(values: list[float], scale: float = 1.0, digits: int = 1) -> str:
    """Mean and standard deviation over seeds."""
    shown = [scale * value for value in values if value is not None and not math.isnan(value)]
    if not shown:
        return "-"
    deviation = statistics.stdev(shown) if len(shown) > 1 else 0.0
    return f"{statistics.mean(shown):.{digits}f} ± {deviation:.{digits}f}"


def table(rows: list[list[str]]) -> str:
    """Markdown."""
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


METRICS = {
    "accuracy, %": (lambda pairs: pairs["accuracy"]["estimate"], 100.0, 1),
    "length-controlled accuracy, %": (lambda pairs: pairs["length_controlled"]["value"], 100.0, 1),
    "NLL, nats": (lambda pairs: pairs["negative_log_likelihood"], 1.0, 3),
    "calibration error": (lambda pairs: pairs["calibration"]["value"], 1.0, 3),
    "accuracy on the most certain half, %": (lambda pairs: pairs["accuracy_most_certain_half"], 100.0, 1),
}


def render(runs_of: dict[str, list[dict[str, Any]]]) -> str:
    """All tables as Markdown, mean ± standard deviation over seeds."""
    first = next(iter(runs_of.values()))[0]["dev"]
    folds = [name for name, result in first.items() if result["pairs"]]
    parts = []
    for title, (pick, scale, digits) in METRICS.items():
        rows = [["head", *folds]]
        for head, runs in runs_of.items():
            cells = [spread([pick(entry["dev"][fold]["pairs"]) for entry in runs], scale, digits) for fold in folds]
            rows.append([head, *cells])
        if title.startswith("accuracy, "):
            longer = [f"{100 * first[fold]['pairs']['longer_wins']['value']:.1f}" for fold in folds]
            interval = [first[fold]["pairs"]["accuracy"] for fold in folds]
            rows.append(["*longer wins*", *longer])
            rows.append(["*95 % half-width, one run*", *(f"{50 * (i['high'] - i['low']):.1f}" for i in interval)])
            rows.append(["*pairs*", *(str(first[fold]["pairs"]["count"]) for fold in folds)])
        parts.append(f"**{title}**\n\n{table(rows)}")
    parts.append(f"**objective votes**\n\n{votes_table(runs_of, first)}")
    return "\n\n".join(parts)


def votes_table(runs_of: dict[str, list[dict[str, Any]]], first: dict[str, Any]) -> str:
    """Recall and log-likelihood of votes for the heads that model objectives."""
    folds = [name for name, result in first.items() if any(runs[0]["dev"][name]["votes"] for runs in runs_of.values())]
    rows = [["head", *(f"{fold}: {name}" for fold in folds for name in ("recall at k, %", "log-likelihood"))]]
    base: list[str] = []
    for head, runs in runs_of.items():
        if not runs[0]["dev"][folds[0]]["votes"]:
            continue
        cells, base = [], []
        for fold in folds:
            votes = [entry["dev"][fold]["votes"] for entry in runs]
            cells.append(spread([entry["top_k_recall"] for entry in votes], 100.0, 1))
            cells.append(spread([entry["log_likelihood"] for entry in votes], 1.0, 3))
            base.append(f"{100 * votes[0]['top_k_recall_base_rate']:.1f}")
            base.append(f"{votes[0]['log_likelihood_base_rate']:.3f}")
        rows.append([head, *cells])
    return table([*rows, ["*base rate of the fold*", *base]])


def main() -> None:
    """Run what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/preferences"))
    parser.add_argument("--heads", nargs="+", default=list(HEADS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--config", type=Path, default=CONFIG, help="what all runs share; head, seed and data are set")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    runs_of = {
        head: [
            run(head, seed, arguments.data, arguments.output, arguments.config, arguments.overrides)
            for seed in arguments.seeds
        ]
        for head in arguments.heads
    }
    print(render(runs_of))
    if arguments.json:
        arguments.json.write_text(json.dumps({"runs": runs_of, "versions": versions()}) + "\n")


if __name__ == "__main__":
    main()
