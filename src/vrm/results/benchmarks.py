"""What `vrm evaluate` writes of a benchmark: its published figures, or best-of-n curves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vrm.metrics import BestOfN, BestOfNCurve, Interval, LengthControlledAccuracy
from vrm.results.base import Part


@dataclass(frozen=True)
class TableRow:
    """A row of a benchmark's table.

    Attributes:
        level: label whose value `row` is; empty for the whole.
        row: what it is about.
    """

    level: str
    row: str


@dataclass(frozen=True)
class TableCell(TableRow):
    """A cell of a benchmark's table.

    Attributes:
        column: what is measured.
    """

    column: str


@dataclass(frozen=True)
class FigureResult(Interval, TableCell):
    """One number of the table: a share in [0, 1], or another quantity, with its interval.

    Attributes:
        examples: how many it is computed from.
        prompts: how many prompts these have.
        longer_wins: the same figure for the rule that the longer completion wins.
    """

    examples: int = 0
    prompts: int = 0
    longer_wins: float = float("nan")


@dataclass(frozen=True)
class LengthControlledRow(LengthControlledAccuracy, TableRow):
    """Length-controlled accuracy over the pairs behind a row of the table."""


@dataclass(frozen=True)
class BenchmarkFigures(Part):
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
        length_controlled: of the rows of the figures, where the examples have pairs.
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
    length_controlled: tuple[LengthControlledRow, ...]


@dataclass(frozen=True)
class PickCurve(BestOfNCurve):
    """The curve of one way to pick a completion.

    Attributes:
        kappa: of picks by reward, standard deviations that are subtracted from E[r]; None for picks by anything else.
        spread: `reward` for the standard deviation of the reward (10), `relative` for that of the reward above the
            prompt's average completion; None for the mean reward, and for picks by anything else.
    """

    kappa: float | None = None
    spread: str | None = None


@dataclass(frozen=True)
class JudgedLists:
    """The lists of completions behind best-of-n curves.

    Attributes:
        prompts: different prompts among the rows judged.
        dropped: rows without rewards, because they were overlong.
        uncertain: whether the model's rewards have any uncertainty.
        one_best: whether each row has exactly one completion of gold 1 and the rest of gold 0.
        confidence: of the intervals.
    """

    prompts: int
    dropped: int
    uncertain: bool
    one_best: bool
    confidence: float


@dataclass(frozen=True)
class BestOfNFigures(BestOfN, JudgedLists, Part):
    """What picking by a model's rewards is worth."""

    curves: dict[str, PickCurve]  # type: ignore[assignment]  # a curve with its pick for each curve

    @property
    def picks(self) -> dict[str, PickCurve]:
        """The curves that are of a reward, the mean first."""
        return {name: curve for name, curve in self.curves.items() if curve.kappa is not None}


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What a document says of a benchmark beside its figures.

    Attributes:
        path: as the user named it; None for the Hub.
        counts: rows, examples, rows left out, and overlong ones.
        data: what was read.
        rewards_file: where the examples' rewards were written; None if nowhere.
    """

    path: str | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    rewards_file: str | None = None


@dataclass(frozen=True)
class BenchmarkEntry(_Entry, BenchmarkFigures):
    """A benchmark's figures in a document."""


@dataclass(frozen=True)
class BestOfNEntry(_Entry, BestOfNFigures):
    """Best-of-n curves in a document."""
