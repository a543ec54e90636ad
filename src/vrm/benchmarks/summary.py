"""A model's figures on a benchmark: with intervals, beside what length alone would score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vrm.benchmarks.base import Benchmark, BenchmarkExample, ExampleRewards, LoadedBenchmark, Rewards
from vrm.benchmarks.outcomes import Figure
from vrm.data.style import text_length
from vrm.metrics import ResampleOptions, field_values, length_controlled_accuracy
from vrm.results.benchmarks import BenchmarkFigures, FigureResult, LengthControlledRow
from vrm.results.formats import few_words, percent, span, table, with_span

NO_REWARDS = "Without rewards (overlong and dropped, or an empty text without a token), in no figure"

MAX_ROWS = 25
"""Rows of one level that a table shows; JSON has all."""

_INLINE = 2
"""With more measures than this, intervals and what the longer wins stand inside a figure's cell, to save width."""


class BenchmarkSummary(BenchmarkFigures):
    """All numbers of one model on one benchmark, with a table of them."""

    def print(self, console: Console, loaded: LoadedBenchmark) -> None:
        """Print the table, and below it how to read it and what was unusual."""
        console.print(_figures_table(f"{self.title} ({self.name})", self.figures, self.length_controlled))
        lines = [f"Pairs with equal rewards: {self.equal_pairs}; {self.equal_rewards}."]
        if self.ties:
            lines.append(f"Ties by their label, not in accuracy and lc: {self.ties}.")
        if self.scored < self.examples:
            lines.append(f"{NO_REWARDS}: {self.examples - self.scored}.")
        for line in filter(None, [*lines, few_words(self.prompts), *reading_lines(loaded)]):
            console.print(line, markup=False)


def summarize_outcomes(
    benchmark: Benchmark, examples: Sequence[BenchmarkExample], rewards: Rewards, options: ResampleOptions
) -> BenchmarkSummary:
    """All figures of a benchmark's outcomes, with their intervals and baselines."""
    outcomes = benchmark.outcomes(examples, rewards)
    longer = benchmark.outcomes(examples, _length_rewards(examples, rewards))
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


def _length_rewards(examples: Sequence[BenchmarkExample], rewards: Rewards) -> list[ExampleRewards | None]:
    """The completions' lengths in the place of rewards, for examples that have rewards: "the longer wins"."""
    lengths = ([float(text_length(text)) for text in example.judgment.completions] for example in examples)
    return [
        None if given is None else ExampleRewards(tuple(values), (0.0,) * len(values))
        for given, values in zip(rewards, lengths, strict=True)
    ]


def _figures_table(title: str, figures: Sequence[FigureResult], controlled: Sequence[LengthControlledRow]) -> Table:
    """A line for each row of the figures, a column for each of their columns."""
    columns = list(dict.fromkeys(figure.column for figure in figures))
    rows: dict[tuple[str, str], dict[str, FigureResult]] = {}
    for figure in figures:
        rows.setdefault((figure.level, figure.row), {})[figure.column] = figure
    by_row = {(entry.level, entry.row): entry for entry in controlled}
    built = table(title, ["", "n", *columns, "lc", *_longer_columns(columns)], _caption(figures, len(columns)))
    levels: dict[str, list[tuple[str, str]]] = {}
    for level, row in rows:
        levels.setdefault(level, []).append((level, row))
    for level, keys in levels.items():
        if level:
            built.add_section()
        for key in keys[:MAX_ROWS]:
            built.add_row(*_cells(key[1], rows[key], columns, by_row.get(key)), style="" if level else "bold")
        if len(keys) > MAX_ROWS:
            built.add_row(f"({len(keys) - MAX_ROWS} more by {level}: --json)")
    return built


def reading_lines(loaded: LoadedBenchmark) -> list[str]:
    """What was read, what was unusual about it, and what else there is to say."""
    lines = [f"{loaded.rows} rows read, {len(loaded.examples)} examples."]
    if loaded.unusual.reasons:
        lines[0] += " Unusual:"
        lines += [f"  {line}" for line in loaded.unusual.lines()]
    return [*lines, *loaded.notes]


def _longer_columns(columns: Sequence[str]) -> list[str]:
    if len(columns) > _INLINE:
        return []
    return ["longer"] if len(columns) == 1 else [f"longer: {name}" for name in columns]


def _caption(figures: Sequence[FigureResult], columns: int) -> str:
    confidence = f"{100 * figures[0].confidence:g}" if figures else "95"
    longer = "longer" if columns <= _INLINE else "in parentheses"
    return (
        f"in %, {confidence} % interval over prompts; n: examples; lc: length-controlled, the mean of the "
        f"accuracies on the pairs whose better side is the longer and the shorter; {longer}: what 'the longer wins' "
        "scores"
    )


def _cells(
    name: str,
    figures: Mapping[str, FigureResult],
    columns: Sequence[str],
    controlled: LengthControlledRow | None,
) -> list[str]:
    count = max(figure.examples for figure in figures.values())
    inside = len(columns) > _INLINE
    values = [_value(figures.get(column), inside) for column in columns]
    lengths = "-" if controlled is None else percent(controlled.value)
    longer = [] if inside else [_longer(figures.get(column)) for column in columns]
    return [name.replace("[", r"\["), str(count), *values, lengths, *longer]


def _value(figure: FigureResult | None, inside: bool) -> str:
    if figure is None:
        return ""
    if inside:
        return f"{percent(figure.estimate)} ({_longer(figure)})\n[dim]{span(figure)}[/dim]"
    return with_span(figure)


def _longer(figure: FigureResult | None) -> str:
    return "" if figure is None else percent(figure.longer_wins)
