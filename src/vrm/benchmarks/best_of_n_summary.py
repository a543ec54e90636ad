"""Best-of-n curves for machines and for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

from vrm.benchmarks.base import LoadedBenchmark
from vrm.benchmarks.summary import reading_lines
from vrm.metrics import ORACLE
from vrm.results.benchmarks import BestOfNFigures, PickCurve
from vrm.results.formats import few_words, number, signed, table, with_span

if TYPE_CHECKING:
    from rich.console import Console

MEAN, LONGEST = "mean", "longest"
"""Names of the curves of the mean reward and of the longest completion."""

_WIDTH = 60
_NOTHING = 1e-9
_PREFIX = {"reward": "pessimistic", "relative": "relative"}


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
        for part in (self._curves(loaded), self._end(), self._over_optimization()):
            console.print(part)
        for line in filter(None, (*self._notes(), few_words(self.prompts), *reading_lines(loaded))):
            console.print(line, markup=False, highlight=False)

    def _curves(self, loaded: LoadedBenchmark) -> Table:
        names = [MEAN, *(name for name, pick in self.picks.items() if pick.spread == "reward"), ORACLE, LONGEST]
        title = f"Best-of-n: {', '.join(loaded.files)} ({self.rows} rows, {self.prompts} prompts)"
        caption = (
            "expected gold of the pick among n completions, mean over rows; mean: by E[r], k=1: by E[r] - 1 sd of r; "
            "n = 1 is a random pick at any n; KL: from the policy that the completions are samples of, in nats"
        )
        curves = _table(title, caption, [Column("n", justify="right", no_wrap=True), "KL", *map(_short, names)])
        for n in shown_sizes(self.n[-1]):
            gold = (number(self.curves[name].gold[n - 1].estimate) for name in names)
            curves.add_row(str(n), number(self.policy_kl[n - 1], 2), *gold)
        return curves

    def _end(self) -> Table:
        caption = (
            f"{100 * self.confidence:g} % intervals by bootstrap over prompts; - mean: paired difference from the pick "
            "by mean reward; regret: the oracle's gold minus this"
        )
        if any(pick.spread == "relative" for pick in self.picks.values()):
            caption += "; rel: sd of r above the average completion of the prompt instead of that of r"
        end = _table(f"Best of {self.n[-1]}", caption, ["by", "gold", "- mean", "regret"])
        for name, curve in self._sections(end):
            difference = with_span(curve.difference[-1], signed) if curve.difference else ""
            end.add_row(_short(name), with_span(curve.gold[-1], number), difference, number(curve.regret.estimate))
        return end

    def _over_optimization(self) -> Table:
        size, one_size = self.n[-1], len(self.sizes) == 1
        caption = (
            f"proxy: own reward of the best of {size} above the prompt's mean, in sd within prompts; peak: the n of "
            "the highest gold; fall: from there to the end (intervals take the peak as given)"
        )
        if not one_size:
            caption += "; all: gold of the pick from all completions of a row, however many"
        peaks = _table("Over-optimization", caption, ["by", "proxy", "peak", "fall", *([] if one_size else ["all"])])
        for name, curve in self._sections(peaks):
            proxy = number(curve.proxy[-1], 2) if name in self.picks else ""
            # A flat curve peaks at 1 and falls by what rounding leaves.
            fall = with_span(curve.fall, number) if curve.fall.estimate > _NOTHING else number(0.0)
            everything = () if one_size else (with_span(curve.all_completions, number),)
            peaks.add_row(_short(name), proxy, str(curve.peak), fall, *everything)
        return peaks

    def _sections(self, rows: Table) -> Iterator[tuple[str, PickCurve]]:
        """Curves in order, with a rule before those of another kind."""
        before = None
        for name, curve in self.curves.items():
            kind = self.picks[name].spread if name in self.picks else "line"
            if kind != before and before is not None:
                rows.add_section()
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


def _table(title: str, caption: str, columns: Sequence[str | Column]) -> Table:
    return table(escape(title), columns, escape(caption), min_width=_WIDTH)


def _short(name: str) -> str:
    """A curve's name as tables have room for it."""
    return name.replace("pessimistic ", "k=").replace("relative ", "rel k=")
