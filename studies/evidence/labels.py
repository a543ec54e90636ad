"""Question (c) on the built-in corpus, whose rows have ratings and votes and whose true objective weights are known.

    python -m studies.evidence.labels --seeds 0 1 2

Trains `vrm` and `gated` with the quickstart's settings and each kind of label switched on or off.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from studies.evidence.tables import markdown, spread
from transformers.utils import logging

from vrm.cli.quickstart import _uniform_distances, _weight_distances, quickstart_config
from vrm.data.planted import planted_corpus, write_planted
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.metrics import ResampleOptions
from vrm.train.run import run_training

LABELS = {"neither": (0.0, 0.0), "votes": (0.0, 1.0), "ratings": (0.3, 0.0), "both": (0.3, 1.0)}


def measure(head: str, labels: str, seed: int, output: Path) -> dict[str, float]:
    """Accuracy and NLL on both test splits, and the distance of the weights from the true ones."""
    target = output / f"seed-{seed}"
    done = target / f"{head}-{labels}.json"
    if done.exists():
        return json.loads(done.read_text())
    corpus = planted_corpus(seed, raters=False)
    write_planted(target / "corpus", seed, raters=False)
    config = quickstart_config(head, target, seed)
    config.output_dir = str(target / f"{head}-{labels}")
    config.loss.ratings, config.loss.votes = LABELS[labels]
    result = run_training(config, overwrite=True)
    options = ExtractionOptions("auto", cache=str(target / "features"))
    engine = RewardEngine.from_pretrained(result.model_dir, options=options)
    found = {}
    for split in ("test", "test_reversed"):
        pairs = evaluate_judgments(engine, getattr(corpus, split), ResampleOptions(resamples=1)).pairs
        found |= {f"{split} accuracy": pairs.accuracy.estimate, f"{split} nll": pairs.negative_log_likelihood}
    found["distance"] = statistics.mean(_weight_distances(engine, corpus).values())
    found["distance of uniform weights"] = statistics.mean(_uniform_distances(corpus).values())
    done.write_text(json.dumps(found))
    return found


def main() -> None:
    """Run what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/evidence/labels"))
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rows = [["head, labels", "accuracy", "NLL", "accuracy, reversed", "NLL, reversed", "weights' distance"]]
    uniform: list[float] = []
    for head in ("gated", "vrm"):
        for labels in LABELS:
            found = [measure(head, labels, seed, arguments.output) for seed in arguments.seeds]
            cells = [
                spread([entry[f"{split} {name}"] for entry in found], scale, digits)
                for split in ("test", "test_reversed")
                for name, scale, digits in (("accuracy", 100.0, 1), ("nll", 1.0, 3))
            ]
            rows.append([f"`{head}`, {labels}", *cells, spread([entry["distance"] for entry in found], 1.0, 2)])
            uniform = [entry["distance of uniform weights"] for entry in found]
    rows.append(["*uniform weights*", *["-"] * 4, spread(uniform, 1.0, 2)])
    print(markdown(rows))


if __name__ == "__main__":
    main()
