"""A model's figures on a benchmark: with intervals, beside what length alone would score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from vrm.benchmarks.base import Benchmark, BenchmarkExample, LoadedBenchmark, Rewards
from vrm.benchmarks.outcomes import Figure
from vrm.benchmarks.scoring import length_rewards
from vrm.benchmarks.table import figures_table, reading_lines
from vrm.data.style import text_length
from vrm.metrics import (
    ResampleOptions,
    field_values,
    length_controlled_accuracy,
)
from vrm.results.benchmarks import BenchmarkFigures, LengthControlledRow

NO_REWARDS = "Without rewards (overlong and dropped, or an empty text without a token), in no figure"


class BenchmarkSummary(BenchmarkFigures):
    """All numbers of one model on one benchmark, with a table of them."""

    def print(self, console: Console, loaded: LoadedBenchmark) -> None:
        """Print the table, and below it how to read it and what was unusual."""
        console.print(figures_table(f"{self.title} ({self.name})", self.figures, self.length_controlled))
        lines = [f"Pairs with equal rewards: {self.equal_pairs}; {self.equal_rewards}."]
        if self.ties:
            lines.append(f"Ties by their label, not in accuracy and lc: {self.ties}.")
        if self.scored < self.examples:
            lines.append(f"{NO_REWARDS}: {self.examples - self.scored}.")
        for line in [*lines, *reading_lines(loaded)]:
            console.print(line, markup=False)


def summarize_outcomes(
    benchmark: Benchmark, examples: Sequence[BenchmarkExample], rewards: Rewards, options: ResampleOptions
) -> BenchmarkSummary:
    """All figures of a benchmark's outcomes, with their intervals and baselines."""
    outcomes = benchmark.outcomes(examples, rewards)
    longer = benchmark.outcomes(examples, length_rewards(examples, rewards))
    results = [
        outcomes.result(figure, baseline.value(longer.credit), options)
        for figure, baseline in zip(outcomes.figures, longer.figures, strict=True)
    ]
    margins = [
        given.mean[first] - given.mean[second]
        for example, given in zip(examples, rewards, strict=True)
        if given is not None
        for first, second in example.better
    ]
    return BenchmarkSummary(
        name=benchmark.name,
        title=benchmark.title,
        equal_rewards=benchmark.equal_rewards,
        examples=len(examples),
        scored=sum(given is not None for given in rewards),
        prompts=len(set(outcomes.groups)),
        ties=sum(not example.better for example in examples),
        equal_pairs=sum(margin == 0 for margin in margins),
        figures=tuple(results),
        length_controlled=_length_controlled(examples, rewards, outcomes.figures),
    )


def _length_controlled(
    examples: Sequence[BenchmarkExample], rewards: Rewards, figures: Sequence[Figure]
) -> tuple[LengthControlledRow, ...]:
    """Over all pairs of the examples that stand behind each row of the table."""
    masks: dict[tuple[str, str], Any] = {}
    for figure in figures:
        key = (figure.level, figure.row)
        masks[key] = masks.get(key, False) | figure.members
    owner, margins, better_lengths, other_lengths = [], [], [], []
    for position, (example, given) in enumerate(zip(examples, rewards, strict=True)):
        if given is None or not example.better:
            continue
        lengths = [text_length(text) for text in example.judgment.completions]
        for first, second in example.better:
            owner.append(position)
            margins.append(given.mean[first] - given.mean[second])
            better_lengths.append(lengths[first])
            other_lengths.append(lengths[second])
    of, margin, better, other = (np.asarray(part) for part in (owner, margins, better_lengths, other_lengths))
    controlled = []
    for (level, row), mask in masks.items():
        rows = mask[of] if len(of) else np.zeros(0, dtype=bool)
        if rows.any():
            accuracy = length_controlled_accuracy(margin[rows], np.ones(rows.sum()), better[rows], other[rows])
            controlled.append(LengthControlledRow(level=level, row=row, **field_values(accuracy)))
    return tuple(controlled)
