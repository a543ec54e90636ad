"""Two stages (19) beside `gated` and `vrm`, on splits of the training files by prompt or debate.

    python -m studies.evidence.stages DATA --task hfngs --splits 0 1 2

DATA has `preferences/` and `raters/`. Each task reads one training file; dev files stay untouched. A quarter of its
prompts (a third of its debates for ukp) is the test fold of a split, a sixth of the rest is held out for early stopping
and the second stage. Rows that are done are kept in `--output`, so a run that was broken off goes on.

Variants of `vrm` take one part away from it, in training and in evaluation: `no-variance` sets s2 to 0, `no-dirichlet`
replaces w by its mean, `means` does both, so that only the floor of the concentrations tells it from `gated`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from studies.evidence.tables import markdown
from transformers.utils import logging

from vrm.config import RunConfig, load_config
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.data.load import load_judgments
from vrm.data.schema import Judgment
from vrm.data.splits import split_by_prompt
from vrm.data.statistics import objective_names
from vrm.evaluate.preferences import evaluate_judgments
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.metrics import ResampleOptions
from vrm.model.heads.vrm import VRMHead
from vrm.train.run import run_training
from vrm.train.setup import RunData

CONFIG = Path(__file__).parents[2] / "configs" / "preferences_minilm.yaml"


@dataclass(frozen=True)
class Task:
    """A training file and how it is read.

    Attributes:
        file: below DATA.
        by: what test folds hold out.
        ratings: whether ratings are trained on, with the named objectives alone.
        limit: rows at most.
    """

    file: str
    by: str = "prompt"
    ratings: bool = False
    limit: int | None = None


TASKS = {
    "hfngs": Task("raters/hfngs_v1"),
    "hfngs-ratings": Task("raters/hfngs_v1", ratings=True),
    "ukp": Task("raters/ukpconvarg1", by="category", limit=4_000),
    "rmb": Task("preferences/rmb", limit=3_000),
}


def _point(weights: ObjectiveWeights) -> ObjectiveWeights:
    return ObjectiveWeights(weights.mean)


def _without_variance(features: SemanticFeatures) -> SemanticFeatures:
    return SemanticFeatures(features.loc, torch.zeros_like(features.loc))


PARTS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "no-variance": {"semantic_features": _without_variance},
    "no-dirichlet": {"weights_from": _point},
    "means": {"semantic_features": _without_variance, "weights_from": _point},
}


@contextmanager
def taken_away(part: str | None) -> Iterator[None]:
    """`vrm` without one of its parts."""
    with ExitStack() as stack:
        for name, change in PARTS.get(part or "", {}).items():
            stack.enter_context(patch.object(VRMHead, name, _changed(getattr(VRMHead, name), change)))
        yield


def _changed(method: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda head, inputs: change(method(head, inputs))


VARIANTS: dict[str, dict[str, Any]] = {
    "gated": {"model.head": "gated"},
    "staged": {"loss.name": "staged"},
    "vrm": {},
    "vrm, KL 0": {"loss.beta_weights": 0.0, "loss.beta_features": 0.0},
    "vrm, marginal": {"loss.name": "marginal"},
    **{f"vrm, KL 0, {part}": {"loss.beta_weights": 0.0, "loss.beta_features": 0.0, "part": part} for part in PARTS},
    "gated, 16 free": {"model.head": "gated", "model.num_free_objectives": 16},
    "vrm, KL 0, 16 free": {"loss.beta_weights": 0.0, "loss.beta_features": 0.0, "model.num_free_objectives": 16},
}
"""{name: settings}; `part` names what is taken away."""


def rows_of(data: Path, task: Task) -> list[Judgment]:
    """The rows of a training file, without ratings where they are not asked for."""
    rows = load_judgments(str(data / f"{task.file}.train.jsonl.gz"), on_bad_rows="skip").judgments[: task.limit]
    return rows if task.ratings else [without_ratings(row) for row in rows]


def without_ratings(row: Judgment) -> Judgment:
    """The row as votes alone."""
    judgments = row.judgments and [replace(one, ratings=None, objective_votes=None) for one in row.judgments]
    return replace(row, ratings=None, objective_votes=None, judgments=judgments)


def run_config(task: Task, settings: Mapping[str, Any], output: Path, cache: Path, seed: int) -> RunConfig:
    """The configuration of a variant."""
    values = {
        "train.learning_rate": 1e-3,
        "train.batch_size": 64,
        "loss.beta_weights": 0.001,
        "loss.beta_features": 0.001,
        "model.num_free_objectives": 0 if task.ratings else 16,
        **{key: value for key, value in settings.items() if key != "part"},
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    fixed = ['data.train=["none"]', f"features.cache={cache}", f"output_dir={output}", f"seed={seed}"]
    return load_config(CONFIG, [*fixed, *overrides])


def measure(data: Path, name: str, variant: str, split: int, output: Path, cache: Path) -> dict[str, Any]:
    """What one variant reaches on the test fold of one split."""
    done = output / name / f"{variant.replace(', ', '-').replace(' ', '-')}-{split}.json"
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text())
        return found
    task, settings = TASKS[name], VARIANTS[variant]
    rows = rows_of(data, task)
    rest, test = split_by_prompt(rows, 0.25 if task.by == "prompt" else 1 / 3, seed=split, by=task.by)
    train, held = split_by_prompt(rest, 1 / 6, seed=1000 + split, by=task.by)
    rated, _ = objective_names(train)
    config = run_config(task, settings, output / name / "run", cache, split)
    with taken_away(settings.get("part")):
        result = run_training(config, data=RunData(train, held, rated, f"{name}, split {split}"), overwrite=True)
        options = ExtractionOptions("auto", cache=str(cache))
        engine = RewardEngine.from_pretrained(result.model_dir, options=options)
        evaluation = evaluate_judgments(engine, test, ResampleOptions(resamples=1))
    pairs, several = evaluation.pairs, evaluation.several_raters
    assert pairs is not None
    found = {
        "accuracy": 100 * pairs.accuracy.estimate,
        "length-controlled": 100 * pairs.length_controlled.value,
        "nll": pairs.negative_log_likelihood,
        "joint": None if several is None else several.joint_nll.estimate,
        "share": None if several is None else several.share_nll.estimate,
        "auroc": None if several is None else several.disagreement.signals["disagreement"].auroc.estimate,
        "held out": result.metrics["nll"],
        "kept": None if result.summary.second_stage is None else list(result.summary.second_stage.kept),
        "stage": None if result.summary.second_stage is None else [vars(t) for t in result.summary.second_stage.trials],
    }
    done.parent.mkdir(parents=True, exist_ok=True)
    done.write_text(json.dumps(found, indent=1))
    return found


COLUMNS = {"accuracy": 1, "length-controlled": 1, "nll": 4, "joint": 4, "share": 4, "auroc": 3}


def table(found: Mapping[str, list[dict[str, Any]]]) -> str:
    """Mean over the splits, and mean and standard error of the difference to `gated` on the same splits."""
    rows = [["", *COLUMNS, "kept"]]
    for variant, entries in found.items():
        cells = []
        for name, digits in COLUMNS.items():
            values = [entry[name] for entry in entries]
            if None in values:
                cells.append("-")
                continue
            cell = f"{statistics.mean(values):.{digits}f}"
            if variant != "gated" and "gated" in found and len(values) > 1:
                away = [value - other[name] for value, other in zip(values, found["gated"], strict=True)]
                error = statistics.stdev(away) / len(away) ** 0.5
                cell += f" ({statistics.mean(away):+.{digits}f} ± {error:.{digits}f})"
            cells.append(cell)
        kept = ["+".join(entry["kept"]) or "nothing" for entry in entries if entry["kept"] is not None]
        counted = ", ".join(f"{words}: {kept.count(words)}" for words in dict.fromkeys(kept))
        rows.append([variant, *cells, counted or "-"])
    return markdown(rows)


def main() -> None:
    """Run what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", choices=TASKS, default="hfngs")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["gated", "staged", "vrm"])
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/evidence/stages"))
    parser.add_argument("--cache", type=Path, default=Path("runs/features"))
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found: dict[str, list[dict[str, Any]]] = {}
    for split in arguments.splits:
        for variant in arguments.variants:
            entry = measure(arguments.data, arguments.task, variant, split, arguments.output, arguments.cache)
            found.setdefault(variant, []).append(entry)
    print(table(found))


if __name__ == "__main__":
    main()
