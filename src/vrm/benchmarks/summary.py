"""A model's figures on a benchmark: with intervals, beside what length alone would score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from vrm.benchmarks.base import Benchmark, BenchmarkExample, LoadedBenchmark, Rewards
from vrm.benchmarks.outcomes import Figure, FigureResult
from vrm.benchmarks.scoring import length_rewards
from vrm.benchmarks.table import figures_table, reading_lines
from vrm.data.style import text_length
from vrm.metrics import (
    LengthControlledAccuracy,
    ResampleOptions,
    json_ready,
    length_controlled_accuracy,
)

NO_REWARDS = "Without rewards (overlong and dropped, or an empty text without a token), in no figure"


@dataclass(frozen=True, slots=True)
class BenchmarkSummary:
    """All numbers of one model on one benchmark.

    Attributes:
        name: of the benchmark.
        title: what its authors call it.
        equal_rewards: what completions of equal reward count.
        examples: how many there are.
        scored: how many got rewards; see `score_examples` for the others.
        prompts: distinct prompts among all of them.
        ties: examples that the benchmark calls a tie.
        equal_pairs: pairs whose rewards are equal.
        figures: the main one first.
        length_controlled: by (level, row) of the figures, where the examples have pairs.
    """

    name: str
    title: str
    equal_rewards: str
    examples: int
    scored: int
    prompts: int
    ties: int
    equal_pairs: int
    figures: tuple[FigureResult, ...]
    length_controlled: dict[tuple[str, str], LengthControlledAccuracy]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; the length-controlled accuracy of a row stands with each of its figures."""
        found: dict[str, Any] = json_ready(
            {name: getattr(self, name) for name in self.__slots__ if name not in ("figures", "length_controlled")}
        )
        found["figures"] = [
            {
                "level": figure.level,
                "row": figure.row,
                "column": figure.column,
                **json_ready(figure.value),
                "examples": figure.examples,
                "prompts": figure.prompts,
                "longer_wins": json_ready(figure.longer_wins),
            }
            for figure in self.figures
        ]
        found["length_controlled"] = [
            {"level": level, "row": row, **json_ready(value)} for (level, row), value in self.length_controlled.items()
        ]
        return found

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
) -> dict[tuple[str, str], LengthControlledAccuracy]:
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
    found = {}
    for key, mask in masks.items():
        rows = mask[of] if len(of) else np.zeros(0, dtype=bool)
        if rows.any():
            found[key] = length_controlled_accuracy(margin[rows], np.ones(int(rows.sum())), better[rows], other[rows])
    return found
