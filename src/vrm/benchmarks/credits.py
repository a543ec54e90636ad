"""What examples add to accuracies: the pieces that several benchmarks share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from vrm.benchmarks.base import BenchmarkExample, ExampleRewards, Rewards, label_members
from vrm.benchmarks.outcomes import ALL, Figure, Outcomes, mean_figure
from vrm.metrics import Array

Credit = Callable[[BenchmarkExample, ExampleRewards], float]
"""From an example and its rewards to its credit; NaN where the measure is not about this example."""

WRONG, HALF = 0.0, 0.5
WRONG_TEXT = "equal rewards count as wrong, as in the benchmark's own code"
HALF_TEXT = "equal rewards count 1/2; the benchmark has no rule for them"
TIES_TEXT = (
    "accuracy leaves out what is labelled a tie, and equal rewards count 1/2; agreement takes all rows, where a "
    "label of a tie is right only if the rewards are equal"
)


def credit_column(examples: Sequence[BenchmarkExample], rewards: Rewards, credit: Credit) -> Array:
    """The credit of every example, (n,), NaN for those without rewards."""
    return np.array(
        [np.nan if given is None else credit(example, given) for example, given in zip(examples, rewards, strict=True)],
        dtype=np.float64,
    )


def point(better: float, other: float, equal: float) -> float:
    """1 if the better completion has the higher reward, `equal` if both have the same, else 0."""
    return 1.0 if better > other else equal if better == other else 0.0


def pair_credit(equal: float) -> Credit:
    """Share of an example's pairs whose better completion has the higher reward; NaN for an example without pairs."""

    def credit(example: BenchmarkExample, given: ExampleRewards) -> float:
        points = [point(given.mean[first], given.mean[second], equal) for first, second in example.better]
        return float(np.mean(points)) if points else np.nan

    return credit


def beats_all(example: BenchmarkExample, given: ExampleRewards) -> float:
    """1 if every pair's better completion has strictly the higher reward, else 0."""
    return float(all(given.mean[first] > given.mean[second] for first, second in example.better))


def agreement_credit(equal: float) -> Credit:
    """As `pair_credit`, and examples that the benchmark calls a tie are right if their rewards are equal."""
    of_pairs = pair_credit(equal)

    def credit(example: BenchmarkExample, given: ExampleRewards) -> float:
        return of_pairs(example, given) if example.better else float(len(set(given.mean)) == 1)

    return credit


def outcomes_of(examples: Sequence[BenchmarkExample], credit: dict[str, Array], figures: Sequence[Figure]) -> Outcomes:
    """Outcomes with the examples' ids and groups."""
    return Outcomes(
        ids=tuple(example.id for example in examples),
        groups=tuple(example.prompt_group for example in examples),
        credit=credit,
        figures=tuple(figures),
    )


def level_figures(
    examples: Sequence[BenchmarkExample], level: str, columns: Sequence[str], order: Sequence[str] = ()
) -> list[Figure]:
    """A plain mean of each measure (named by its column) for every value of a label, in `order` first, then sorted."""
    members = label_members(examples, level)
    ordered = [value for value in order if value in members] + [value for value in members if value not in order]
    return [mean_figure(value, column, column, members[value], level) for value in ordered for column in columns]


def absent(examples: Sequence[BenchmarkExample], level: str, values: Iterable[str]) -> list[str]:
    """The published values of a label that no example has."""
    there = {example.labels.get(level) for example in examples}
    return [value for value in values if value not in there]


def whole(examples: Sequence[BenchmarkExample], columns: Sequence[str]) -> list[Figure]:
    """A plain mean of each measure over all examples."""
    return [mean_figure(ALL, column, column, np.ones(len(examples), dtype=bool)) for column in columns]


def pair_outcomes(
    equal: float = HALF,
    levels: Sequence[str] = (),
    agreement: bool = False,
    orders: dict[str, Sequence[str]] | None = None,
) -> Callable[[Sequence[BenchmarkExample], Rewards], Outcomes]:
    """Outcomes of a benchmark of pairs: accuracy over all pairs and by label.

    Args:
        equal: credit of equal rewards.
        levels: labels by whose values figures are given.
        agreement: also the agreement on all rows, where a tie is right only if the rewards are equal.
        orders: {label: its values in the published order}.
    """

    def outcomes(examples: Sequence[BenchmarkExample], rewards: Rewards) -> Outcomes:
        credit = {"accuracy": credit_column(examples, rewards, pair_credit(equal))}
        if agreement:
            credit["agreement"] = credit_column(examples, rewards, agreement_credit(equal))
        figures = whole(examples, list(credit))
        for level in levels:
            figures += level_figures(examples, level, list(credit), (orders or {}).get(level, ()))
        return outcomes_of(examples, credit, figures)

    return outcomes
