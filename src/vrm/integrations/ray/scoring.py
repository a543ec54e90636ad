"""Scoring with the workers of a cluster: the rows that one process writes, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vrm.data.load import Source
from vrm.data.readers import locate
from vrm.data.tokenized import OverlongReport
from vrm.data.validation import RecipeCounts
from vrm.errors import ConfigError, DataError, ModelError, VrmError
from vrm.inference.score import Input, ScoreCounts, ScoreOptions, Scorer
from vrm.inference.score_output import reward_settings
from vrm.integrations.ray.cluster import Workers
from vrm.integrations.ray.windows import Answer, ScoreWindows, read_windows
from vrm.integrations.ray.workers import WorkerSettings


class RayScorer:
    """Stands where a `vrm.inference.Scorer` stands, and has its work done by workers.

    Attributes:
        counts: of the rows that were given.
        report: the same, of their tokens.
        settings: `reward_settings` of the model, as a worker has loaded it.

    Raises:
        ModelError: a worker cannot load the model, or cannot follow the options.
    """

    def __init__(self, workers: Workers, settings: WorkerSettings, options: ScoreOptions | None = None) -> None:
        self._workers = workers
        self._options = options or ScoreOptions()
        self._worker = replace(settings, device=workers.device, threads=workers.threads)
        self.settings, limit, problem = workers.ask_one(_described, self._worker, self._options)
        if problem is not None:
            raise ModelError(problem)
        self.counts, self.report = ScoreCounts(), OverlongReport(limit)

    def windows(
        self, source: Source, skip: int = 0, recipe: RecipeCounts | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """As `Scorer.windows`. The input is read once, by a process on this machine.

        Raises:
            ConfigError: another process cannot read the input, as it is a stream of this one.
            DataError: the source, or a row, cannot be read.
            ModelError: the cluster failed.
        """
        yield from next(self.each([(source, skip)], recipe))

    def each(
        self, inputs: Sequence[Input], recipe: RecipeCounts | None = None
    ) -> Iterator[Iterator[list[dict[str, Any]]]]:
        """As `Scorer.each`, by workers that load the model once for all; raises as `windows`."""
        for source, _ in inputs:
            check_readable(source)
        given = {"inputs": list(inputs), "keep": self._options.keep}
        answers = enumerate(self._workers.stream(read_windows, given, ScoreWindows, self._worker, self._options))
        for _ in inputs:
            yield self._of_one(answers, recipe)

    def _of_one(
        self, answers: Iterator[tuple[int, Answer]], recipe: RecipeCounts | None
    ) -> Iterator[list[dict[str, Any]]]:
        """Output rows of one source."""
        for number, answer in answers:
            if answer.window.number != number:
                raise ModelError(f"the cluster gave window {answer.window.number} where {number} comes")
            self._count(answer, recipe)
            if answer.rows:
                yield answer.rows
            if answer.error is not None:
                raise DataError(answer.error)
            if answer.window.last:
                return
        raise ModelError("the cluster gave only a part of the rows")

    def _count(self, answer: Answer, recipe: RecipeCounts | None) -> None:
        self.counts.add(answer.counts)
        self.report.merge(answer.report)
        if recipe is not None:
            counted = answer.window.recipe
            recipe.read, recipe.made, recipe.left_out = counted.read, counted.made, counted.left_out


def check_readable(source: Source) -> None:
    """Raise ConfigError for a source that comes once, DataError for one that does not exist."""
    location = locate(source.path, source.split)
    if location.comes_once:
        raise ConfigError(f"{location.label} cannot be read by a process of the cluster: give the rows as a file")


def _described(settings: WorkerSettings, options: ScoreOptions) -> tuple[dict[str, Any], int, str | None]:
    """Settings and limit of tokens of a model; or what is wrong with it, in words."""
    try:
        scorer = Scorer(settings.engine(), options)
        return reward_settings(scorer), scorer.engine.report.limit, None
    except VrmError as error:
        return {}, 0, str(error)
