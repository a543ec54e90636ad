"""What `vrm train` writes beside its model: `run.json` and `history.jsonl`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vrm.metrics import field_values
from vrm.results.base import Document, Kind


@dataclass(frozen=True)
class RowCounts:
    """Rows of a run.

    Attributes:
        train: that it learned from.
        eval: that chose the checkpoint.
    """

    train: int
    eval: int


@dataclass(frozen=True)
class StagePartTrial:
    """One part of the second stage (19), tried beside those kept before it.

    Attributes:
        part: of `vrm.choices.StagePart`.
        kept: whether it, and what it rests on, stayed.
        gain: in the log-likelihood of held-out pairs of prompts that it was not fitted on, in nats a judgment.
        standard_error: of the gain, over prompts.
    """

    part: str
    kept: bool
    gain: float
    standard_error: float


@dataclass(frozen=True)
class SecondStage:
    """What the second stage of a run tried and kept.

    Attributes:
        pairs: held-out pairs that it was fitted on.
        judgments: of these pairs.
        prompts: of these pairs.
        kept: parts that the model has.
        values: their constants: the temperature, the tie threshold, the variance of a feature as a share of the
            variance of its means, the total concentration; the last two at average texts.
        trials: in order.
        not_tried: why variances were not tried; empty where they were.
    """

    pairs: int
    judgments: int
    prompts: int
    kept: tuple[str, ...]
    values: dict[str, float]
    trials: tuple[StagePartTrial, ...]
    not_tried: str = ""


@dataclass(frozen=True, kw_only=True)
class RunDocument(Document):
    """`run.json`: what a finished run was made with, what it reached and what it cost.

    Attributes:
        config: as `RunConfig` writes it.
        rows: after those that cannot be used were left out.
        source_rows: rows read of each source of `train` and of `eval`, before weights, in the configuration's order;
            empty where rows were given in memory.
        batch_size: judgments a step, over all processes; None in runs of earlier versions.
        overlong: the limit of tokens, and rows over it by what became of them.
        objectives: names of the model's objectives.
        parameters: numbers of parameters of the head and of the backbone.
        nuisance: the fitted offset; None for runs without one.
        second_stage: what it kept; None for runs of one stage. `metrics` are those before it.
        metrics: of the kept checkpoint on the rows that chose it; empty without such rows.
        versions: {package: version}.
        compiled: whether the backbone was compiled.
        seconds: of the training (`train`) and of everything (`total`).
    """

    kind: Kind = Kind.RUN
    config: dict[str, Any] = field(default_factory=dict)
    rows: RowCounts | None = None
    source_rows: dict[str, list[int]] = field(default_factory=dict)
    batch_size: int | None = None
    overlong: dict[str, int] = field(default_factory=dict)
    objectives: tuple[str, ...] = ()
    parameters: dict[str, int] = field(default_factory=dict)
    nuisance: dict[str, Any] | None = None
    second_stage: SecondStage | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    compiled: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    def json_fields(self) -> dict[str, Any]:
        """The fields; `nuisance` and `second_stage` only where there is one."""
        optional = ("nuisance", "second_stage")
        return {name: value for name, value in field_values(self).items() if name not in optional or value is not None}


@dataclass(frozen=True)
class Run:
    """The directory of a run.

    Attributes:
        source: the directory.
        summary: `run.json`; None while the run is not finished.
        history: `history.jsonl`, what was logged by name, in order; empty where the file is missing.
    """

    source: str
    summary: RunDocument | None
    history: tuple[dict[str, float], ...]
