"""A backbone with adapters, trained on few pairs by `vrm train`'s own code, as a predictor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.evidence.fitting import Settings
from studies.evidence.folds import CONFIG
from studies.evidence.predictors import EnginePredictor
from studies.evidence.regimes import Parts
from studies.evidence.second.pooled import Backbone, settings

from vrm.config import load_config
from vrm.inference.engine import RewardEngine
from vrm.train.output import checkpoints
from vrm.train.run import run_training
from vrm.train.setup import RunData

LEARNING_RATE = 2e-4
"""Of the adapters, as is usual for them; nothing was tried."""


@dataclass(frozen=True)
class Schedule:
    """How long adapters are trained: pairs once through, in batches, with so many looks at held-out pairs."""

    pairs: int
    batch: int
    held: int
    evals: int

    @property
    def steps(self) -> int:
        """Of the optimizer."""
        return self.pairs // self.batch

    def rows(self, parts: Parts, seed: int) -> Parts:
        """The pairs, those that choose the checkpoint, and all that fit the temperature."""
        return Parts(parts.train.sample(self.pairs, seed), parts.held.sample(self.held, seed), parts.calibration)


def adapted(
    backbone: Backbone, choice: str, rows: Parts, schedule: Schedule, head: Settings, output: Path
) -> EnginePredictor:
    """`gated` and the backbone's adapters, trained together; goes on with a run that was broken off.

    Args:
        backbone: of the model.
        choice: what the head is given of it.
        rows: to train on and to choose the checkpoint by.
        schedule: of the training.
        head: learning rate, weight decay and dropout of the head.
        output: directory of the run.
    """
    values: dict[str, Any] = {
        "output_dir": output,
        "model.tuning": "lora",
        "model.head": "gated",
        "model.head_dropout": head.dropout,
        "train.epochs": 1,
        "train.batch_size": schedule.batch,
        "train.learning_rate": head.learning_rate,
        "train.weight_decay": head.weight_decay,
        "train.backbone_learning_rate": LEARNING_RATE,
        "train.evals": schedule.evals,
        "train.early_stopping": "null",
    }
    read = settings(backbone.name, *backbone.choices[choice])
    config = load_config(CONFIG, ['data.train=["none"]', *read, *(f"{key}={value}" for key, value in values.items())])
    data = RunData(rows.train.judgments, rows.held.judgments, [], f"{len(rows.train)} pairs")
    result = run_training(config, resume=bool(checkpoints(output)), data=data)
    return EnginePredictor(RewardEngine.from_pretrained(result.model_dir))
