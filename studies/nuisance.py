"""What the nuisance offset (14) repairs on the quickstart corpus, whose flattery and padding make completions longer.

    python studies/nuisance.py --seeds 0 1 2 --output runs/nuisance --json nuisance.json

Every head is trained with the quickstart's configuration, without and with `nuisance.measures: [log_length]`. On `test`
the shortcut agrees with the label in four of five pairs, on `test_reversed` in one of five: a reward free of it is as
good on both. Columns: quality accuracy, as rewards are used; rater accuracy, offset included; the correlation
of the margin with the difference in log length.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers.utils import logging

from vrm.cli.quickstart import HEADS, SPLITS, quickstart_config
from vrm.config import NuisanceConfig
from vrm.data.planted import PlantedCorpus, planted_corpus, write_planted
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.rater import nuisance_table, rater_margins
from vrm.metrics import pairwise_accuracy, pearson
from vrm.results.base import versions
from vrm.train.run import run_training

SETTINGS: dict[str, list[str]] = {"without": [], "with": ["log_length"]}


def measure(engine: RewardEngine, rows: list[Judgment]) -> dict[str, float]:
    """Quality and rater accuracy on comparisons, and the correlation of the margin with length."""
    rewards = torch.cat([batch.moments.mean for batch in engine.stream(rows)])
    margin = (rewards[:, 0] - rewards[:, 1]).double()
    label = [row.preference for row in rows]
    first, second = ([row.completions[side] for row in rows] for side in (0, 1))
    rater = rater_margins(engine.model.config, margin, first, second)
    lengths = [nuisance_table(texts, ["log_length"])[:, 0] for texts in (first, second)]
    return {
        "accuracy": float(pairwise_accuracy(margin.numpy(), label).value),
        "rater_accuracy": float(pairwise_accuracy(rater.numpy(), label).value),
        "length_correlation": float(pearson(margin.numpy(), (lengths[0] - lengths[1]).numpy())),
    }


def run(head: str, measures: list[str], corpus: PlantedCorpus, output: Path, seed: int) -> dict[str, Any]:
    """Train one head and measure it on both test splits."""
    config = quickstart_config(head, output, seed)
    config.output_dir = str(output / ("with" if measures else "without") / head)
    config.nuisance = NuisanceConfig(measures=measures)
    result = run_training(config, overwrite=True)
    engine = RewardEngine.from_pretrained(
        result.model_dir, options=ExtractionOptions(cache=str(output / "features")), on_overlong="error"
    )
    figures: dict[str, Any] = {split: measure(engine, getattr(corpus, split)) for split in SPLITS}
    return {**figures, "nuisance": result.summary.nuisance}


def table(figures: dict[str, dict[str, list[dict[str, Any]]]]) -> Table:
    """Means over the seeds, and their standard deviations."""
    made = Table(title="Quickstart corpus, mean and standard deviation over seeds")
    for name in ("head", "offset"):
        made.add_column(name)
    names = ("accuracy", "rater_accuracy", "length_correlation")
    for split in SPLITS:
        for name in names:
            made.add_column(f"{split.removeprefix('test_')}\n{name.replace('_', ' ')}", justify="right")
    for head, settings in figures.items():
        for setting, runs in settings.items():
            cells = []
            for split in SPLITS:
                for name in names:
                    values = np.array([entry[split][name] for entry in runs])
                    cells.append(f"{values.mean():.3f} ({values.std(ddof=1) if len(values) > 1 else 0.0:.3f})")
            made.add_row(head, setting, *cells)
    return made


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--heads", nargs="+", default=list(HEADS))
    parser.add_argument("--output", type=Path, default=Path("runs/nuisance"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    figures: dict[str, dict[str, list[dict[str, Any]]]] = {
        head: {setting: [] for setting in SETTINGS} for head in arguments.heads
    }
    for seed in arguments.seeds:
        corpus, output = planted_corpus(seed, raters=False), arguments.output / f"seed{seed}"
        write_planted(output / "corpus", seed, raters=False)
        for head in arguments.heads:
            for setting, measures in SETTINGS.items():
                figures[head][setting].append(run(head, measures, corpus, output, seed))
        if arguments.json:
            arguments.json.write_text(json.dumps({"runs": figures, "versions": versions()}, indent=2) + "\n")
    Console(width=130).print(table(figures))


if __name__ == "__main__":
    main()
