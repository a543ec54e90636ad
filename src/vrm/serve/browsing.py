"""Rows of a file as the page `/explore` browses them: judged once, before the server answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from vrm.data.schema import Judgment
from vrm.data.style import plain_text
from vrm.inference.engine import RewardEngine
from vrm.inference.judged import JudgedBatch
from vrm.inference.rewards import shortest
from vrm.model.configuration_vrm import VRMConfig
from vrm.wire.explorer import RowSummary

_EXCERPT = 160
"""Characters of a prompt that a list of rows shows."""


@dataclass(frozen=True)
class Browsed:
    """A file that can be browsed.

    Attributes:
        file: as the command named it; None without one.
        judgments: its rows, each with a completion or more.
        summaries: one a row.
        note: what of the file is not here, in words.
        first: place of the row that the page begins with.
    """

    file: str | None = None
    judgments: Sequence[Judgment] = ()
    summaries: Sequence[RowSummary] = field(default_factory=tuple)
    note: str = ""
    first: int = 0


def summaries_of(
    engine: RewardEngine,
    judgments: Sequence[Judgment],
    other: RewardEngine | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[RowSummary]:
    """Margins, probabilities, disagreement and unfamiliarity of rows.

    Args:
        engine: of the model.
        judgments: with one completion or more each; the engine leaves none out.
        other: of a second model, whose probabilities stand beside.
        progress: called with the number of rows that are done.
    """
    summaries: list[RowSummary] = []
    for batch in engine.stream(judgments):
        summaries += _of_batch(batch, engine.model.config)
        progress(len(summaries))
    if other is not None:
        others = [value for batch in other.stream(judgments) for value in _probabilities(batch)]
        pairs = zip(summaries, others, strict=True)
        summaries = [summary.model_copy(update={"other_probability": value}) for summary, value in pairs]
    return summaries


def _of_batch(batch: JudgedBatch, config: VRMConfig) -> Iterator[RowSummary]:
    rewards, distances = batch.moments.mean, batch.posteriors.unfamiliarity
    disagreement = _disagreement(batch) if config.learned_disagreement else [None] * len(batch)
    numbers = zip(batch.judgments, _probabilities(batch), disagreement, strict=True)
    for index, (judgment, probability, differ) in enumerate(numbers):
        count = len(judgment.completions)
        row = rewards[index, :count]
        yield RowSummary(
            line=judgment.line,
            prompt=" ".join(plain_text(judgment.prompt).split())[:_EXCERPT],
            category=judgment.category,
            completions=count,
            margin=shortest(float(row[0] - row[1:].max())) if count > 1 else None,
            probability=probability,
            disagreement=differ,
            unfamiliarity=None if distances is None else shortest(float(distances.distance[index, :count].max())),
        )


def _pairs(batch: JudgedBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows with two completions or more, and the places of the first two."""
    rows = torch.tensor([i for i, judgment in enumerate(batch.judgments) if len(judgment.completions) > 1], dtype=int)
    return rows, torch.zeros_like(rows), torch.ones_like(rows)


def _spread(batch: JudgedBatch, values: torch.Tensor) -> list[float | None]:
    """Values of `_pairs`, by row."""
    spread: list[float | None] = [None] * len(batch)
    for row, value in zip(_pairs(batch)[0].tolist(), values.tolist(), strict=True):
        spread[row] = shortest(value)
    return spread


def _probabilities(batch: JudgedBatch) -> list[float | None]:
    first, _ = batch.log_probabilities(*_pairs(batch))
    return _spread(batch, first.exp())


def _disagreement(batch: JudgedBatch) -> list[float | None]:
    return _spread(batch, batch.votes(*_pairs(batch)).disagreement())
