"""Best-of-n curves for machines and for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from vrm.benchmarks.base import LoadedBenchmark
from vrm.benchmarks.table import reading_lines
from vrm.metrics import ORACLE, Interval
from vrm.results.benchmarks import BestOfNFigures, PickCurve
from vrm.results.formats import number

if TYPE_CHECKING:
    from rich.console import Console

MEAN, LONGEST = "mean", "longest"
"""Names of the curves of the mean reward and of the longest completion."""

_WIDTH = 60
_NOTHING = 1e-9
_PREFIX = {"reward": "pessimistic", "relative": "relative"}


@dataclass(frozen=True, slots=True)
class Pick:
    """A way to pick by reward: E[r] - kappa times a standard deviation.

    Attributes:
        kappa: >= 0.
        spread: `reward` for the standard deviation of the reward (10), `relative` for that of the reward above the
            prompt's average completion; None for the mean reward.
    """

    kappa: float
    spread: str | None


def pick_name(spread: str, kappa: float) -> str:
    """Name of a pessimistic curve, such as `pessimistic 0.5` or `relative 2`."""
    return f"{_PREFIX[spread]} {kappa:g}"


def shown_sizes(largest: int) -> list[int]:
    """The n that tables show: 1, 2, 3, 4, then powers of two, and the largest."""
    sizes = {n for n in (1, 2, 3, 4) if n <= largest} | {largest}
    return sorted(sizes | {1 << power for power in range(2, largest.bit_length()) if 1 << power <= largest})


class BestOfNSummary(BestOfNFigures):
    """What picking by a model's rewards is worth, with tables of it."""

    def print(self, console: Console, loaded: LoadedBenchmark) -> None:
        """Print the curves, what each pick is worth at their end, what it hides, and what was odd about the rows."""
        for table in (self._curves(loaded), self._end(), self._over_optimization()):
            console.print(table)
        for line in (*self._notes(), *reading_lines(loaded)):
            console.print(line, markup=False, highlight=False)

    def _curves(self, loaded: LoadedBenchmark) -> Table:
        names = [MEAN, *(name for name, pick in self.picks.items() if pick.spread == "reward"), ORACLE, LONGEST]
        title = f"Best-of-n: {', '.join(loaded.files)} ({self.rows} rows, {self.prompts} prompts)"
        caption = (
            "expected gold of the pick among n completions, mean over rows; mean: by E[r], k=1: by E[r] - 1 sd of r; "
            "n = 1 is a random pick at any n; KL: from the policy that the completions are samples of, in nats"
        )
        table = _table(title, caption, ["n", "KL", *map(_short, names)])
        for n in shown_sizes(self.n[-1]):
            gold = (number(self.curves[name].gold[n - 1].estimate) for name in names)
            table.add_row(str(n), number(self.policy_kl[n - 1], 2), *gold)
        return table

    def _end(self) -> Table:
        caption = (
            f"{100 * self.confidence:g} % intervals by bootstrap over prompts; - mean: paired difference from the pick "
            "by mean reward; regret: the oracle's gold minus this"
        )
        if any(pick.spread == "relative" for pick in self.picks.values()):
            caption += "; rel: sd of r above the average completion of the prompt instead of that of r"
        table = _table(f"Best of {self.n[-1]}", caption, ["by", "gold", "- mean", "regret"])
        for name, curve in self._sections(table):
            difference = _with_ends(curve.difference[-1], "+") if curve.difference else ""
            table.add_row(_short(name), _with_ends(curve.gold[-1]), difference, number(curve.regret.estimate))
        return table

    def _over_optimization(self) -> Table:
        size, one_size = self.n[-1], len(self.sizes) == 1
        caption = (
            f"proxy: own reward of the best of {size} above the prompt's mean, in sd within prompts; peak: the n of "
            "the highest gold; fall: from there to the end (intervals take the peak as given)"
        )
        if not one_size:
            caption += "; all: gold of the pick from all completions of a row, however many"
        table = _table("Over-optimization", caption, ["by", "proxy", "peak", "fall", *([] if one_size else ["all"])])
        for name, curve in self._sections(table):
            proxy = number(curve.proxy[-1], 2) if name in self.picks else ""
            # A flat curve peaks at 1 and falls by what rounding leaves.
            fall = _with_ends(curve.fall) if curve.fall.estimate > _NOTHING else number(0.0)
            everything = () if one_size else (_with_ends(curve.all_completions),)
            table.add_row(_short(name), proxy, str(curve.peak), fall, *everything)
        return table

    def _sections(self, table: Table) -> Iterator[tuple[str, PickCurve]]:
        """Curves in order, with a rule before those of another kind."""
        before = None
        for name, curve in self.curves.items():
            kind = self.picks[name].spread if name in self.picks else "line"
            if kind != before and before is not None:
                table.add_section()
            before = kind or "reward"
            yield name, curve

    def _notes(self) -> list[str]:
        notes = []
        if len(self.sizes) > 1:
            sizes = ", ".join(f"{count} with {size}" for size, count in self.sizes.items())
            notes.append(f"Rows by number of completions: {sizes}. Curves are over the same rows at every n.")
        if self.left_out:
            notes.append(f"Left out, having fewer than {self.n[-1]} completions: {self.left_out} of the rows.")
        if self.dropped:
            notes.append(f"Dropped as overlong: {self.dropped} of the rows.")
        if self.one_best:
            notes.append("One completion a row has gold 1, the rest 0: gold is how often the best one is picked.")
        if not self.uncertain:
            notes.append("This model's rewards have no uncertainty, so there is no pessimistic pick.")
        return notes


def _table(title: str, caption: str, columns: Sequence[str]) -> Table:
    table = Table(title=escape(title), caption=escape(caption), title_justify="left", caption_justify="left")
    table.min_width = _WIDTH
    for position, name in enumerate(columns):
        table.add_column(name, justify="left" if position == 0 and name == "by" else "right", no_wrap=name != "by")
    return table


def _short(name: str) -> str:
    """A curve's name as tables have room for it."""
    return name.replace("pessimistic ", "k=").replace("relative ", "rel k=")


def _with_ends(interval: Interval, sign: str = "") -> str:
    def shown(value: float) -> str:
        return "-" if math.isnan(value) else f"{value:{sign}.3f}"

    return escape(f"{shown(interval.estimate)} [{shown(interval.low)}, {shown(interval.high)}]")
