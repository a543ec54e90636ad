"""Train and predict for docs/evidence.md; every finished piece is kept, so the command can be repeated or shared out.

    python -m benchmarks.evidence.run DATA --stage tune
    python -m benchmarks.evidence.run DATA --stage fit --regimes all rmb --seeds 0 1 2 3 4
    python -m benchmarks.evidence.run DATA --stage shortcut
    python -m benchmarks.evidence.run DATA --stage adapt

DATA holds `preferences/` and `benchmarks/`. Needs `pip install -r benchmarks/evidence/requirements.txt` for the Laplace
head. Tables: python -m benchmarks.evidence.tables
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.evidence.fitting import Settings, Transform, fit, new_head
from benchmarks.evidence.folds import Features, Fold, Library
from benchmarks.evidence.predictors import Ensemble, HeadPredictor, LastLayerLaplace, Predictor, Said, calibrated_scale
from benchmarks.evidence.regimes import REGIMES, Parts, Regime, parts
from benchmarks.evidence.variants import VARIANTS, Variant
from torch import nn
from transformers.utils import logging

from vrm.data.statistics import objective_names
from vrm.model.configuration_vrm import VRMConfig

TUNED = ("bt", "mlp", "gated", "bottleneck", "vrm", "bnrm")
TRIALS = 6
MEMBERS = 5


@dataclass(frozen=True)
class Study:
    """What every stage needs."""

    library: Library
    output: Path

    @property
    def features(self) -> Features:
        """Of every fold that was loaded."""
        return self.library.features()

    def settings(self, head: str) -> Settings:
        """Tuned settings of a head, or of the head that a variant is of."""
        variant = VARIANTS.get(head)
        found = json.loads((self.output / "tuned.json").read_text())[variant.of if variant else head]
        settings = Settings(**found["settings"])
        return replace(settings, **variant.settings) if variant else settings


def head_config(study: Study, name: str, train: Fold, settings: Settings) -> VRMConfig:
    """Configuration of a head for these training rows, as `vrm train` would make it."""
    kind = "bottleneck" if name == "bnrm" else name
    multi = kind in ("vrm", "gated")
    rated, voted = objective_names(train.judgments)
    objectives = list(dict.fromkeys([*rated, *voted])) if multi else []
    fields: dict[str, Any] = {"head_dropout": settings.dropout, **settings.head}
    return study.library.head_config(
        head=kind, objectives=objectives, objectives_with_votes=[n for n in objectives if n in voted], **fields
    )


def train_head(
    study: Study, name: str, rows: Parts, settings: Settings, seed: int, transform: Transform | None = None
) -> tuple[nn.Module, VRMConfig, dict[str, float]]:
    """One trained head."""
    config = head_config(study, name, rows.train, settings)
    head = new_head(name, config, seed)
    held = _with_known_objectives(rows.held, config)
    reached = fit(head, config, study.features, (rows.train, held), settings, seed, transform)
    return head, config, reached


def _with_known_objectives(fold: Fold, config: VRMConfig) -> Fold:
    """Held-out rows choose by comparisons alone."""
    return fold.relabelled([replace(row, objective_votes=None, ratings=None) for row in fold.judgments])


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


def save(
    study: Study, regime: str, name: str, seed: int, predictor: Predictor, rows: Parts, setup: Regime, facts: Any
) -> None:
    """Predictions of every test fold, as trained and temperature-scaled."""
    target = study.output / regime / f"{name}-{seed}"
    target.mkdir(parents=True, exist_ok=True)
    scale = calibrated_scale(predictor, rows.calibration.where(lambda row: row.is_comparison))
    for test in setup.tests:
        fold = study.library.fold(test)
        if fold.completions.shape[1] >= 2 and (fold.completions >= 0).any():
            save_said(predictor.say(fold), scale, target / f"{test}.npz")
        if isinstance(predictor, HeadPredictor) and any(row.objective_votes for row in fold.judgments):
            _save_votes(predictor, fold, target / f"{test}.votes.npz")
    counts = {"train": len(rows.train), "held": len(rows.held), "calibration": len(rows.calibration)}
    (target / "meta.json").write_text(json.dumps({**facts, "temperature": scale, "rows": counts}))
    print(regime, name, seed, {k: v for k, v in facts.items() if k != "settings" and k != "objectives"}, flush=True)


def save_said(said: Said, scale: float, path: Path) -> None:
    """Predictions of one fold."""
    arrays = {name: getattr(said, name) for name in ("rewards", "spreads", "margin", "variance")}
    np.savez_compressed(path, **arrays, logs=said.logs(), scaled_logs=said.logs(scale))


def _save_votes(predictor: HeadPredictor, fold: Fold, path: Path) -> None:
    found = predictor.posteriors(fold, slice(None))
    concentration = found.weights.concentration
    np.savez_compressed(
        path,
        mean=found.weights.mean.numpy(),
        concentration=np.empty(0) if concentration is None else concentration.numpy(),
    )


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
        from benchmarks.evidence.shortcut import repair

        for seed in arguments.seeds:
            repair(study, heads, seed)
    else:
        from benchmarks.evidence.adapt import adapt

        for seed in arguments.seeds:
            adapt(study, seed)


if __name__ == "__main__":
    main()
