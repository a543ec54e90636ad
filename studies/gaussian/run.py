"""Small training sets: heads by steps, `bayes`, and objectives as Gaussian processes, equation (20).

    python -m studies.gaussian.run DATA --stage fit --seeds 0 1 2
    python -m studies.gaussian.run DATA --stage table

DATA holds `preferences/` and `raters/`. Every finished piece is kept. Heads by steps have the package's defaults, more
epochs and smaller batches, and stop early by rows held out of the training files. Nothing else is chosen.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from studies.evidence.fitting import Settings, fit, new_head
from studies.evidence.folds import Features, Fold
from studies.evidence.predictors import HeadPredictor, Predictor, Said, calibrated_scale
from studies.evidence.regimes import Parts
from studies.gaussian.material import SIZES, SOURCES, Material, Rows
from studies.gaussian.objectives import GaussianObjectives, ObjectiveSettings
from studies.gaussian.tables import show
from torch import nn
from transformers.utils import logging

from vrm.core.losses import LossWeights
from vrm.core.quadrature import MarginGivenWeights
from vrm.train.closed_form import fit_in_closed_form

STEPPED = ("bt", "mlp", "gated", "vrm")
HEADS = (*STEPPED, "bayes", "gp")
PROMPT_COMPONENTS = 32
BASE = Settings(learning_rate=1e-3, epochs=40, batch_size=64, evals_per_epoch=1, patience=6, kl=0.001)


@dataclass(frozen=True)
class Study:
    """What every stage needs."""

    material: Material
    output: Path

    @property
    def features(self) -> Features:
        """Of every fold that was loaded."""
        return self.material.features()


def predictor(study: Study, head: str, rows: Parts, seed: int) -> Predictor:
    """A head fitted on `rows.train`."""
    if head in STEPPED:
        config = study.material.head_config(head=head, head_dropout=BASE.dropout)
        model = new_head(head, config, seed)
        fit(model, config, study.features, (rows.train, rows.held), BASE, seed)
        return HeadPredictor(model, study.features)
    model = _bayes(study, rows.train, seed)
    if head == "bayes":
        return HeadPredictor(model, study.features)
    return Objectives(study, model, rows.train, ObjectiveSettings(), seed)


def _bayes(study: Study, train: Fold, seed: int) -> nn.Module:
    config = study.material.head_config(head="bayes")
    head = new_head("bayes", config, seed)
    rows = Rows.of(train, study.features, config)
    head.fit_inputs(*rows.sample_features(4000, seed))
    head.fitted = fit_in_closed_form(head, rows, LossWeights(), seed)
    return head.eval()


class Objectives:
    """`GaussianObjectives` on the features of a fitted `bayes` head, scaled by its prior."""

    def __init__(self, study: Study, head: nn.Module, train: Fold, settings: ObjectiveSettings, seed: int) -> None:
        self.features, self.head = study.features, head
        spreads = torch.tensor(head.fitted.spreads).repeat_interleave(torch.tensor(head.basis.groups)).double()
        self.spreads = spreads
        prompts = study.features.normed[torch.from_numpy(train.prompts)]
        self.loc, self.scale = prompts.mean(0), prompts.std(0).clamp_min(1e-2)
        count = min(PROMPT_COMPONENTS, len(set(train.prompts.tolist())) - 1)
        _, values, self.directions = torch.pca_lowrank((prompts - self.loc) / self.scale, q=count)
        self.directions = self.directions * (len(prompts) ** 0.5 / values.clamp_min(1e-3))
        differences, inputs = self._inputs(train)
        labels = torch.tensor([row.preference for row in train.judgments], dtype=torch.float64)
        start = head._last_layer().weight[0].detach().double() / spreads
        self.fitted = GaussianObjectives(differences, inputs, labels, start, settings, seed)

    @torch.no_grad()
    def _inputs(self, fold: Fold) -> tuple[torch.Tensor, torch.Tensor]:
        prompts, completions = self.features.of(fold)
        phi = self.head.basis(self.head.completion_norm(completions)).double() * self.spreads
        reduced = ((prompts - self.loc) / self.scale @ self.directions).double()
        return phi[:, 0] - phi[:, 1], reduced

    @torch.no_grad()
    def say(self, fold: Fold) -> Said:
        """Predictions for a fold; rewards and parts are not needed here."""
        mean, variance = self.fitted.margin(*self._inputs(fold))
        nothing = np.zeros((len(fold), 2))
        parts = np.stack([variance.numpy(), 0 * variance.numpy(), 0 * variance.numpy()], -1)
        return Said(nothing, nothing, mean.numpy(), parts, MarginGivenWeights(mean[None], variance[None]))


def nll(logs: np.ndarray, fold: Fold) -> np.ndarray:
    """(n,) nats."""
    label = np.array([row.preference for row in fold.judgments])
    return -(label * logs[:, 0] + (1 - label) * logs[:, 1])


def measure(study: Study, source: str, size: int, head: str, seed: int) -> None:
    """Fit, and keep what is said of the dev file."""
    target = study.output / f"{source}-{size}-{head}-{seed}.npz"
    if target.exists():
        return
    started = time.perf_counter()
    rows = study.material.parts(source, size, seed)
    found = predictor(study, head, rows, seed)
    seconds = time.perf_counter() - started
    dev = study.material.fold(f"{source}.dev")
    scale = calibrated_scale(found, rows.calibration)
    said = found.say(dev)
    logs, scaled = said.logs(), said.logs(scale)
    np.savez_compressed(
        target, margin=said.margin, nll=nll(logs, dev), scaled=nll(scaled, dev), temperature=scale, seconds=seconds,
        preference=[row.preference for row in dev.judgments], groups=dev.groups, variance=said.variance.sum(1),
    )  # fmt: skip
    print(source, size, head, seed, f"nll {nll(logs, dev).mean():.3f} scaled {nll(scaled, dev).mean():.3f}", flush=True)


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--stage", choices=["features", "fit", "table"], required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/gaussian"))
    parser.add_argument("--cache", type=Path, default=Path("runs/features"))
    parser.add_argument("--sources", nargs="+", default=list(SOURCES), choices=SOURCES)
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=HEADS)
    parser.add_argument("--sizes", nargs="+", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    if arguments.stage == "table":
        show(arguments.output, HEADS, SIZES)
        return
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    arguments.output.mkdir(parents=True, exist_ok=True)
    study = Study(Material(arguments.data, arguments.cache), arguments.output)
    for source in arguments.sources:
        study.material.fold(f"{source}.train")
        study.material.fold(f"{source}.dev")
    for source in arguments.sources if arguments.stage == "fit" else ():
        for size, head, seed in product(arguments.sizes or SIZES[source], arguments.heads, arguments.seeds):
            measure(study, source, size, head, seed)


if __name__ == "__main__":
    main()
