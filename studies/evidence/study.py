"""What every stage of the study shares: settings, a trained head, and predictions on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from studies.evidence.fitting import Settings, Transform, fit, new_head
from studies.evidence.folds import Features, Fold, Library
from studies.evidence.predictors import HeadPredictor, Predictor, Said, calibrated_scale
from studies.evidence.regimes import Parts, Regime
from studies.evidence.variants import VARIANTS
from torch import nn

from vrm.data.statistics import objective_names
from vrm.model.configuration_vrm import VRMConfig


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
