"""Train and predict for docs/evidence.md; every finished piece is kept, so the command can be repeated or shared out.

    python -m studies.evidence.run DATA --stage tune
    python -m studies.evidence.run DATA --stage fit --regimes all rmb --seeds 0 1 2 3 4
    python -m studies.evidence.run DATA --stage shortcut
    python -m studies.evidence.run DATA --stage adapt

DATA holds `preferences/` and `benchmarks/`. Needs `pip install -r studies/evidence/requirements.txt` for the Laplace
head. Tables: python -m studies.evidence.tables
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from studies.evidence.adapt import adapt
from studies.evidence.fitting import Settings
from studies.evidence.folds import Library
from studies.evidence.predictors import Ensemble, HeadPredictor, LastLayerLaplace, Predictor
from studies.evidence.regimes import REGIMES, Parts, parts
from studies.evidence.shortcut import repair
from studies.evidence.study import Study, save, train_head
from studies.evidence.variants import VARIANTS, Variant
from transformers.utils import logging

TUNED = ("bt", "mlp", "gated", "bottleneck", "vrm", "bnrm")
TRIALS = 6
MEMBERS = 5


def tune(study: Study, heads: tuple[str, ...]) -> None:
    """The same number of random trials for every head on regime `all`, seed 0, chosen by held-out NLL."""
    rows = parts(REGIMES["all"], study.library, 0)
    target = study.output / "tuned.json"
    for name in heads:
        found = json.loads(target.read_text()) if target.exists() else {}
        if name in found:
            continue
        generator = np.random.default_rng(7)
        trials = []
        for _ in range(TRIALS):
            settings = Settings(
                learning_rate=float(generator.choice([1e-4, 3e-4, 1e-3])),
                weight_decay=float(generator.choice([0.01, 0.1, 1.0])),
                dropout=float(generator.choice([0.1, 0.3, 0.5])),
                kl=float(generator.choice([1e-3, 3e-3, 1e-2, 3e-2])),
            )
            _, _, reached = train_head(study, name, rows, settings, 0)
            trials.append({"settings": asdict(settings), **reached})
            print(
                name, settings.learning_rate, settings.weight_decay, settings.dropout, settings.kl, reached, flush=True
            )
        best = min(trials, key=lambda trial: trial["held_out_nll"])
        # Several processes may tune different heads.
        found = json.loads(target.read_text()) if target.exists() else {}
        target.write_text(json.dumps({**found, name: {**best, "trials": trials}}, indent=1))


def fit_regime(study: Study, regime: str, heads: tuple[str, ...], seed: int) -> None:
    """Every head of a regime and seed that is not done."""
    todo = [name for name in heads if not (study.output / regime / f"{name}-{seed}" / "meta.json").exists()]
    if not todo:
        return
    setup = REGIMES[regime]
    rows = parts(setup, study.library, seed)
    for name in todo:
        started = time.perf_counter()
        predictor, facts = _predictor(study, name, rows, seed)
        save(study, regime, name, seed, predictor, rows, setup, {**facts, "seconds": time.perf_counter() - started})


def _predictor(study: Study, name: str, rows: Parts, seed: int) -> tuple[Predictor, dict[str, Any]]:
    if name == "ensemble":
        members = []
        for member in range(MEMBERS):
            head, _, _ = train_head(study, "mlp", rows, study.settings("mlp"), 100 + MEMBERS * seed + member)
            members.append(HeadPredictor(head, study.features))
        return Ensemble(members), {}
    if name == "laplace":
        head, _, reached = train_head(study, "mlp", rows, study.settings("mlp"), seed)
        pairs = rows.train.where(lambda row: row.is_comparison)
        return LastLayerLaplace(head, study.features, pairs), reached
    settings = study.settings(name)
    variant = VARIANTS.get(name, Variant(name))
    head, config, reached = train_head(study, variant.of, rows, settings, seed, variant.transform)
    facts = {**reached, "settings": asdict(settings), "objectives": list(config.objective_names)}
    return HeadPredictor(head, study.features, variant.transform), facts


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--stage", choices=["tune", "fit", "shortcut", "adapt"], required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--cache", type=Path, default=Path("runs/features"))
    parser.add_argument("--regimes", nargs="+", default=list(REGIMES), choices=list(REGIMES))
    parser.add_argument("--heads", nargs="+", default=[*TUNED, "ensemble", "laplace"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    arguments.output.mkdir(parents=True, exist_ok=True)
    study = Study(Library(arguments.data, arguments.cache), arguments.output)
    needed = {"tune": ["all"], "shortcut": ["shortcut"], "adapt": ["helpful"]}.get(arguments.stage, arguments.regimes)
    for regime in needed:
        for name in (*(f"{source}.train" for source in REGIMES[regime].sources), *REGIMES[regime].tests):
            study.library.fold(name)
    heads = tuple(arguments.heads)
    if arguments.stage == "tune":
        tune(study, heads)
    elif arguments.stage == "fit":
        for regime in arguments.regimes:
            for seed in arguments.seeds:
                fit_regime(study, regime, heads, seed)
    elif arguments.stage == "shortcut":
        for seed in arguments.seeds:
            repair(study, heads, seed)
    else:
        for seed in arguments.seeds:
            adapt(study, seed)


if __name__ == "__main__":
    main()
