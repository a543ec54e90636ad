"""Windows of rows on their way through a cluster: read on the caller's node, judged by workers, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vrm.data.tokenized import OverlongReport
from vrm.data.validation import RecipeCounts
from vrm.errors import VrmError
from vrm.inference.score import (
    ALL_COLUMNS,
    Input,
    ScoreCounts,
    ScoreOptions,
    Scorer,
    ScoringRow,
    read_scoring_rows,
    windows_after,
)
from vrm.integrations.ray.workers import WorkerSettings

COLUMN = "window"
"""The one column of the datasets: a window is a row, and an object in it."""

Batch = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Window:
    """Consecutive rows of an input.

    Attributes:
        number: of the window, from 0.
        rows: without the columns that nobody asks for.
        recipe: counts up to its end.
        error: why reading ended here; None where it goes on, or ended well.
        last: whether nothing of its source comes after it.
    """

    number: int
    rows: list[ScoringRow]
    recipe: RecipeCounts = field(default_factory=RecipeCounts)
    error: str | None = None
    last: bool = False


@dataclass
class Answer:
    """What a worker says of a window.

    Attributes:
        window: as it was given, without its rows.
        rows: output rows; they end before a row that stops the run.
        error: why they do; None where they do not.
        counts: of these rows.
        report: of these rows.
    """

    window: Window
    rows: list[dict[str, Any]]
    error: str | None
    counts: ScoreCounts
    report: OverlongReport


def batch_of(objects: Sequence[object]) -> dict[str, NDArray[Any]]:
    """A batch of Ray Data with one object a row."""
    column = np.empty(len(objects), dtype=object)
    column[:] = objects
    return {COLUMN: column}


def read_windows(_: Batch, inputs: Sequence[Input], keep: Sequence[str] = ()) -> Iterator[Batch]:
    """The windows of sources, each in a batch of its own, for `map_batches`; the last one of a source has no rows.

    Args:
        inputs: sources, one after the other, the first rows of each left out; an error ends all.
        keep: columns that output rows will have; (`all`,) for every one.
    """
    number, error = 0, None
    for source, skip in inputs:
        recipe = RecipeCounts()
        try:
            for rows in windows_after(skip, read_scoring_rows(source, counts=recipe)):
                yield batch_of([Window(number, [_slim(row, keep) for row in rows], deepcopy(recipe))])
                number += 1
        except VrmError as problem:
            error = str(problem)
        yield batch_of([Window(number, [], recipe, error, last=True)])
        number += 1
        if error is not None:
            return


def _slim(row: ScoringRow, keep: Sequence[str]) -> ScoringRow:
    if tuple(keep) == (ALL_COLUMNS,):
        return row
    columns = {name: row.columns[name] for name in ("id", *keep) if name in row.columns}
    return replace(row, columns=columns)


class ScoreWindows:
    """Scores windows, for `map_batches`.

    Args:
        settings: of the model.
        options: which rewards, and what happens at rows that cannot be read.
    """

    def __init__(self, settings: WorkerSettings, options: ScoreOptions) -> None:
        self._scorer = Scorer(settings.engine(), options)

    def __call__(self, batch: Batch) -> Batch:
        """Answers to the windows of a batch."""
        return batch_of([self._answer(window) for window in batch[COLUMN]])

    def _answer(self, window: Window) -> Answer:
        scorer, rows, error = self._scorer, [], window.error
        scorer.counts = ScoreCounts()
        scorer.engine.reset_report()
        try:
            for part in scorer.stream(window.rows):
                rows += part
        except VrmError as problem:
            error = str(problem)
        return Answer(without_rows(window), rows, error, scorer.counts, scorer.engine.report)


def without_rows(window: Window) -> Window:
    """A window as answers carry it back."""
    return replace(window, rows=[])
