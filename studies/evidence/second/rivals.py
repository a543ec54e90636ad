"""All heads on one split of training rows, with the package's defaults, and what each predicts of other folds."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from studies.evidence.fitting import Settings, new_head, pairs_of, posteriors
from studies.evidence.folds import Features, Fold, Library
from studies.evidence.predictors import Ensemble, HeadPredictor, LastLayerLaplace, Predictor, calibrated_scale
from studies.evidence.regimes import Parts
from studies.evidence.study import Study, head_config, train_head
from studies.gaussian.material import Rows
from torch import nn

from vrm.core.losses import LossWeights
from vrm.model.configuration_vrm import VRMConfig
from vrm.results.run import SecondStage
from vrm.train.closed_form import fit_in_closed_form
from vrm.train.reading import HeadPass
from vrm.train.second_stage import add_second_stage

HEADS = ("bt", "bayes", "mlp", "ensemble", "laplace", "bottleneck", "bnrm", "gated", "vrm", "vrm (7')", "staged")
DEFAULTS = Settings(learning_rate=1e-3, weight_decay=0.1, dropout=0.3, kl=0.001)
MEMBERS = 5


def can_be_fitted(name: str) -> bool:
    """Whether what a head needs is installed."""
    return name != "laplace" or importlib.util.find_spec("laplace") is not None


@dataclass(frozen=True)
class HeldOutReader:
    """Held-out rows as the package's second stage reads them, one pass."""

    model: SimpleNamespace
    features: Features
    fold: Fold

    @property
    def data(self) -> SimpleNamespace:
        """Its rows, by `eval.items`."""
        items = [SimpleNamespace(judgment=row) for row in self.fold.judgments]
        return SimpleNamespace(eval=SimpleNamespace(items=items))

    def passes(self, _: Any, numbers: Sequence[int]) -> Iterator[HeadPass]:
        """Some of the rows, by number."""
        some = self.fold.take(numbers)
        prompts, completions = self.features.of(some)
        predicted = posteriors(self.model.score, self.features, some)
        inputs = {"offsets": completions.new_zeros(completions.shape[:2])}
        yield HeadPass(some.judgments, inputs, prompts, completions, predicted, inputs["offsets"])


def in_two_stages(
    means: nn.Module, config: VRMConfig, features: Features, held: Fold, seed: int
) -> tuple[nn.Module, SecondStage]:
    """`vrm` of two stages: the weights of `gated`, which its first stage ends with, and the package's second.

    Args:
        means: a trained `gated`.
        config: of a `vrm` head for the same rows.
        features: of all folds.
        held: rows that the second stage is fitted on.
        seed: of the second stage.
    """
    config.loss = "staged"
    head = new_head("vrm", config, seed)
    missing, unexpected = head.load_state_dict(means.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("spread.") for name in missing), missing
    reader: Any = HeldOutReader(SimpleNamespace(score=head.eval(), config=config), features, held)
    return head, add_second_stage(reader, seed)


@dataclass
class Rivals:
    """Heads of one split and seed, each fitted when it is asked for.

    Attributes:
        library: of the features.
        rows: to fit, to stop early by, and for the temperature.
        seed: of the initial weights.
        members: of the ensemble.
        settings: of the loop.
        seconds: processor time of each fit, without heads that were fitted before.
        stages: what the second stage kept.
    """

    library: Library
    rows: Parts
    seed: int
    members: int = MEMBERS
    settings: Settings = DEFAULTS
    seconds: dict[str, float] = field(default_factory=dict)
    stages: dict[str, SecondStage] = field(default_factory=dict)
    _fitted: dict[str, HeadPredictor] = field(default_factory=dict)

    @property
    def features(self) -> Features:
        """Of every fold that was loaded."""
        return self.library.features()

    def predictor(self, name: str) -> Predictor:
        """A head of `HEADS`."""
        started = time.process_time()
        predictor = self._predictor(name)
        self.seconds.setdefault(name, round(time.process_time() - started, 2))
        return predictor

    def _predictor(self, name: str) -> Predictor:
        if name == "ensemble":
            first = self._stepped("mlp", "mlp", self.seed)
            seeds = range(100 + MEMBERS * self.seed + 1, 100 + MEMBERS * self.seed + self.members)
            return Ensemble([first, *(self._stepped(f"mlp {seed}", "mlp", seed) for seed in seeds)])
        if name == "laplace":
            mlp = self._stepped("mlp", "mlp", self.seed)
            return LastLayerLaplace(mlp.head, self.features, pairs_of(self.rows.train))
        if name == "bayes":
            return self._bayes()
        if name == "staged":
            return self._staged()
        loss = "marginal" if name == "vrm (7')" else "variational"
        return self._stepped(name, name.partition(" ")[0], self.seed, loss)

    @property
    def _study(self) -> Study:
        return Study(self.library, Path())

    def _stepped(self, key: str, kind: str, seed: int, loss: str = "variational") -> HeadPredictor:
        if key not in self._fitted:
            settings = replace(self.settings, loss=loss)
            head, _, _ = train_head(self._study, kind, self.rows, settings, seed)
            self._fitted[key] = HeadPredictor(head, self.features)
        return self._fitted[key]

    def _bayes(self) -> HeadPredictor:
        config = self.library.head_config(head="bayes")
        head = new_head("bayes", config, self.seed)
        rows = Rows.of(pairs_of(self.rows.train), self.features, config)
        head.fit_inputs(*rows.sample_features(4000, self.seed))
        fit_in_closed_form(head, rows, LossWeights(), self.seed)
        return HeadPredictor(head.eval(), self.features)

    def _staged(self) -> HeadPredictor:
        means = self._stepped("gated", "gated", self.seed).head
        config = head_config(self._study, "vrm", self.rows.train, self.settings)
        held = pairs_of(self.rows.held)
        head, self.stages["staged"] = in_two_stages(means, config, self.features, held, self.seed)
        return HeadPredictor(head, self.features)


def predictions(predictor: Predictor, calibration: Fold, folds: Mapping[str, Fold]) -> dict[str, np.ndarray]:
    """`FOLD:margin` (n,), `:variance` (n,), `:logs` and `:scaled` (n, 2) of every fold, and the temperature."""
    scale = calibrated_scale(predictor, pairs_of(calibration))
    arrays: dict[str, np.ndarray] = {"temperature": np.array(scale)}
    for name, fold in folds.items():
        said = predictor.say(fold)
        values = {
            "margin": said.margin,
            "variance": said.variance.sum(-1),
            "logs": said.logs(),
            "scaled": said.logs(scale),
        }
        arrays |= {f"{name}:{what}": array.astype(np.float32) for what, array in values.items()}
    return arrays


def kept(path: Path, make: Any) -> dict[str, np.ndarray]:
    """Arrays that `make` returns, computed once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.stem}.part.npz")
        np.savez_compressed(beside, **make())
        beside.rename(path)
        print(path.parent.name, path.stem, flush=True)
    with np.load(path) as found:
        return dict(found)
