"""An explanation in a terminal: bars for weights, tables for scores and rewards, sentences for reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vrm.cli.sentences_view import sentences_table
from vrm.wire.explanation import (
    QUESTIONS,
    CompletionReport,
    CredibleInterval,
    Explanation,
    PairReport,
    RaterReport,
    UncertaintyReport,
    WeightReport,
    reasons,
)

MAX_FREE = 3
"""Free objectives that are printed one by one, the heaviest; the rest are one line, but for those that reasons name."""

MAX_PAIRS = 6
MIN_WIDTH = 60
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")


@dataclass(frozen=True)
class _Marks:
    """What bars are drawn with."""

    full: str
    thin: str
    low: str
    mean: str
    high: str
    block: str


_UNICODE = _Marks("━", "─", "┝", "●", "┤", "█")
_ASCII = _Marks("=", "-", "[", "o", "]", "#")


def print_explanation(console: Console, explanation: Explanation) -> None:
    """Print an explanation, in the console's width; ASCII where its encoding has no line-drawing characters.

    Narrower consoles than `MIN_WIDTH` wrap its lines themselves, since columns would be cut.
    """
    console.width = max(console.width, MIN_WIDTH)
    shown = explanation if explanation.identifiability.intervals else _without_intervals(explanation)
    _View(console, shown).print()


def _without_intervals(explanation: Explanation) -> Explanation:
    """The same means, as points: where training does not show how wide an interval should be, none is printed."""

    def point(interval: CredibleInterval) -> CredibleInterval:
        return CredibleInterval(interval.mean, interval.mean, interval.mean)

    completions = (
        replace(
            report,
            reward=point(report.reward),
            standardized_reward=point(report.standardized_reward),
            uncertainty=None,
        )
        for report in explanation.completions
    )
    return replace(
        explanation,
        weights=tuple(
            replace(report, weight=point(report.weight), concentration=None) for report in explanation.weights
        ),
        completions=tuple(completions),
        pairs=tuple(replace(pair, margin=point(pair.margin), uncertainty=None) for pair in explanation.pairs),
    )


@dataclass(frozen=True)
class _View:
    console: Console
    explanation: Explanation

    @property
    def marks(self) -> _Marks:
        return _ASCII if self.console.options.ascii_only else _UNICODE

    def print(self) -> None:
        for title, body in self._sections():
            self.console.print(Text(title, style="bold"))
            self.console.print(Padding(body, (0, 0, 1, 2), expand=False))

    def _sections(self) -> Iterable[tuple[str, RenderableType]]:
        explained = self.explanation
        yield "Prompt", self._clipped(explained.prompt)
        yield "Completions", self._completions()
        if self._has_weights:
            yield f"Objective weights for this prompt{self._interval_words()}", self._weights()
            if explained.judged_as is not None:
                title = f"As {explained.judged_as.name} judges: what is added to these weights"
                yield f"{title}{self._interval_words()}", self._rater(explained.judged_as)
            weight = "weight" if explained.judged_as is None else "weight with what is added"
            yield f"Objective scores, and contributions to the reward ({weight} x score)", self._scores()
        yield f"Rewards{self._interval_words()}", self._rewards()
        if explained.pairs:
            yield "Comparisons", Group(*self._pairs())
        elif self._has_weights and explained.completions[0].uncertainty is not None:
            yield "Where the reward's uncertainty comes from", self._shares(explained.completions[0].uncertainty)
        if explained.sentences is not None:
            cells = max(min(self.console.width - 60, 30), 10)
            yield "What each sentence adds to the reward", sentences_table(explained.sentences, cells, self.marks.block)
        yield "What can be read into this", self._statements()

    def _interval_words(self) -> str:
        explained = self.explanation
        certain = not any(report.uncertainty for report in explained.completions) and all(
            report.concentration is None for report in explained.weights
        )
        return "" if certain else f", with {self.explanation.level * 100:.0f} % intervals"

    def _clipped(self, text: str, used: int = 2, lines: int = 2) -> Text:
        """A text on one paragraph, cut after some lines of the console."""
        width = max(self.console.width - used, 20)
        words = Text(" ".join(text.split()), overflow="fold")
        wrapped = words.wrap(self.console, width)
        if len(wrapped) <= lines:
            return words
        last = wrapped[lines - 1].plain.rstrip()
        while cell_len(last) > width - 4:
            last = last.rsplit(" ", 1)[0] if " " in last else last[:-1]
        return Text("\n").join([*wrapped[: lines - 1], Text(f"{last} ...")])

    def _completions(self) -> RenderableType:
        table = Table.grid(padding=(0, 2, 0, 0))
        for index, report in enumerate(self.explanation.completions):
            table.add_row(Text(report.label, style=_colour(index)), self._clipped(report.text, used=6))
        known = [(report.label, report.unfamiliarity) for report in self.explanation.completions]
        far = [words for label, found in known if found is not None and (words := found.in_words(label))]
        return Group(table, *(Text(words, style="yellow") for words in far))

    def _weights(self) -> RenderableType:
        named, rest = self._split_free()
        table = Table.grid(padding=(0, 2, 0, 0))
        widest = max(len(report.objective) for report in named)
        cells = max(min(self.console.width - widest - 27, 60), 10)
        for report in sorted(named, key=lambda report: -report.weight.mean):
            style = "cyan" if report.named else "dim"
            table.add_row(
                Text(report.objective, style="" if report.named else "dim"),
                f"{report.weight.mean:.2f}",
                Text(_weight_bar(report.weight, cells, self.marks), style=style),
                self._weight_range(report),
            )
        if rest:
            total = sum(report.weight.mean for report in rest)
            table.add_row(Text(f"{len(rest)} more free", style="dim"), f"{total:.2f}", Text("together", style="dim"))
        return Group(table, *self._concentration())

    def _rater(self, rater: RaterReport) -> RenderableType:
        named, _ = self._split_free()
        shown = {report.objective for report in named}
        table = Table.grid(padding=(0, 2, 0, 0))
        for name, tilt in rater.tilts.items():
            if name in shown:
                table.add_row(Text(name), _signed(tilt.mean), self._range(tilt))
        votes = f"{rater.comparisons:,} judgment{'' if rater.comparisons == 1 else 's'}"
        return Group(table, Text(f"\n{rater.statement} By {votes}.{_ties_in_words(rater)}"))

    @staticmethod
    def _weight_range(report: WeightReport) -> str:
        if report.concentration is None:
            return ""
        return f"[{report.weight.low:.2f}, {report.weight.high:.2f}]"

    def _concentration(self) -> Iterable[Text]:
        explained = self.explanation
        if explained.total_concentration is not None:
            line = f"Total concentration {explained.total_concentration:.1f}"
            if explained.emphasis:
                counts = ", ".join(f"{name} +{count:g}" for name, count in explained.emphasis.items())
                own = explained.total_concentration - explained.added_concentration
                line += f" = {own:.1f} of the model + {explained.added_concentration:g} of emphasis ({counts})"
            yield Text(f"\n{line}. {explained.counts_meaning}", style="dim")
        if explained.without:
            yield Text(f"Left out: {', '.join(explained.without)}; the other weights are renormalized.", style="dim")

    def _split_free(self) -> tuple[list[WeightReport], list[WeightReport]]:
        """Weights to print one by one, and the free ones that are summed up: none that a reason names."""
        reasoned = {name for pair in self.explanation.pairs[:MAX_PAIRS] for name in reasons(pair.contributions)}
        free = sorted(
            (report for report in self.explanation.weights if not report.named), key=lambda report: -report.weight.mean
        )
        rest = [report for report in free[MAX_FREE:] if report.objective not in reasoned]
        rest = rest if len(rest) > 1 else []
        return [report for report in self.explanation.weights if report not in rest], rest

    def _scores(self) -> RenderableType:
        named, rest = self._split_free()
        shown = self._fitting(max(len(report.objective) for report in named))
        table = _table("objective", "weight")
        for index, report in shown:
            table.add_column(f"{report.label} score", justify="right")
            table.add_column("w x score", justify="right", style=_colour(index))
        for weight in sorted(named, key=lambda report: -report.weight.mean):
            name = weight.objective
            cells = [(report.objective_scores[name], report.contributions[name]) for _, report in shown]
            table.add_row(
                Text(name, style="" if weight.named else "dim"),
                _signed(weight.weight.mean + self._added(name)).lstrip(" +"),
                *(_signed(value) for pair in cells for value in pair),
            )
        if rest:
            sums = [sum(report.contributions[weight.objective] for weight in rest) for _, report in shown]
            total = sum(report.weight.mean + self._added(report.objective) for report in rest)
            table.add_row(f"{len(rest)} more free", f"{total:.2f}", *(cell for s in sums for cell in ("", _signed(s))))
        table.add_section()
        rewards = [_signed(report.reward.mean) for _, report in shown]
        table.add_row("sum = reward", "", *(cell for reward in rewards for cell in ("", reward)))
        left_out = len(self.explanation.completions) - len(shown)
        more = [Text(f"{left_out} more did not fit into the width; --json has all.", style="dim")] if left_out else []
        return Group(table, *more)

    def _added(self, objective: str) -> float:
        """A rater's tilt of an objective; 0 for the population."""
        rater = self.explanation.judged_as
        return 0.0 if rater is None else rater.tilts[objective].mean

    def _fitting(self, name_width: int) -> list[tuple[int, CompletionReport]]:
        """Completions whose columns fit into the console, those of the highest rewards, in order."""
        count = max((self.console.width - name_width - 18) // 22, 1)
        ranked = sorted(enumerate(self.explanation.completions), key=lambda item: -item[1].reward.mean)
        return sorted(ranked[:count], key=lambda item: item[0])

    def _rewards(self) -> RenderableType:
        uncertain = any(report.uncertainty for report in self.explanation.completions)
        table = _table("", "reward", *(["interval"] if uncertain else []), "standardized", *(["interval"] * uncertain))
        for index, report in enumerate(self.explanation.completions):
            cells = [report.reward, report.standardized_reward]
            texts = [
                part for value in cells for part in (_signed(value.mean), *([self._range(value)] if uncertain else []))
            ]
            table.add_row(Text(report.label, style=_colour(index)), *texts)
        hint = "Rewards are known up to a constant per prompt: only differences between its completions count."
        return Group(table, Text(hint, style="dim"))

    @staticmethod
    def _range(interval: CredibleInterval) -> str:
        return f"[{_signed(interval.low).strip()}, {_signed(interval.high).strip()}]"

    def _pairs(self) -> Iterable[RenderableType]:
        pairs = self.explanation.pairs
        for position, pair in enumerate(pairs[:MAX_PAIRS]):
            yield from self._pair(pair, blank=position > 0)
        if len(pairs) > 1 and pairs[0].uncertainty is not None and self._has_weights:
            questions = ", ".join(f"{part} ({QUESTIONS[part]})" for part in pairs[0].uncertainty.shares)
            yield Text(f"\nShares of the margin's variance: {questions}.", style="dim")
        if len(pairs) > MAX_PAIRS:
            yield Text(f"{len(pairs) - MAX_PAIRS} more comparisons; --json has all.", style="dim")

    @property
    def _has_weights(self) -> bool:
        return len(self.explanation.weights) > 1

    def _pair(self, pair: PairReport, blank: bool) -> Iterable[RenderableType]:
        margin = f"margin {_signed(pair.margin.mean).strip()} log-odds"
        if pair.uncertainty is not None:
            margin += f", {self._range(pair.margin)}"
        headline = Text("\n" if blank else "")
        headline.append(f"{pair.first} beats {pair.second} with probability {_probability(pair.probability)}", "bold")
        headline.append(f"   ({margin})")
        yield headline
        raters = _of_raters(pair.disagreement, pair.p_tie)
        if raters:
            yield Padding(Text(raters), (0, 0, 0, 2), expand=False)
        if not self._has_weights:
            return
        yield Padding(Text(pair.reasons), (0, 0, 0, 2), expand=False)
        if pair.uncertainty is not None and len(self.explanation.pairs) > 1:
            shares = ", ".join(f"{part} {share * 100:.0f} %" for part, share in pair.uncertainty.shares.items())
            yield Padding(Text(f"uncertainty: {shares}", style="dim"), (0, 0, 0, 2), expand=False)
        elif pair.uncertainty is not None:
            yield Padding(Text("What the margin's uncertainty comes from:", style="dim"), (0, 0, 0, 2), expand=False)
            yield Padding(self._shares(pair.uncertainty), (0, 0, 0, 4), expand=False)

    def _shares(self, uncertainty: UncertaintyReport) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        cells = min(max(self.console.width - 52, 8), 40)
        for part, share in uncertainty.shares.items():
            bar = self.marks.block * round(share * cells)
            table.add_row(part, Text(QUESTIONS[part], style="italic"), f"{share * 100:3.0f} %", Text(bar, style="blue"))
        return table

    def _statements(self) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0))
        for statement in (*self.explanation.identifiability.statements, *self.explanation.notes):
            table.add_row("*" if self.console.options.ascii_only else "•", Text(statement))
        return table


def _ties_in_words(rater: RaterReport) -> str:
    if rater.tie_threshold is None or rater.population_tie_threshold is None:
        return ""
    own, population = rater.tie_threshold, rater.population_tie_threshold
    words = f"{own.mean:.2f} [{own.low:.2f}, {own.high:.2f}] (the population's is {population:.2f})"
    return f" Calls a tie where the margin is below about {words}."


def _of_raters(disagreement: float | None, p_tie: float | None) -> str:
    """What is known of raters: that two differ, and that one ties."""
    differ = f"two raters differ with probability {_probability(disagreement)}" if disagreement is not None else ""
    ties = f"a rater calls it a tie with probability {_probability(p_tie)}" if p_tie else ""
    return "; ".join(filter(None, [differ, ties]))


def _weight_bar(weight: CredibleInterval, cells: int, marks: _Marks) -> str:
    """`━━┝━━●───┤` on a scale from 0 to 1: a bar to the mean, with the ends of the interval marked."""
    low, mean, high = (min(int(value * cells), cells - 1) for value in (weight.low, weight.mean, weight.high))
    drawn = [marks.full] * mean + [marks.mean] + [marks.thin] * (high - mean)
    if low < mean:
        drawn[low] = marks.low
    if high > mean:
        drawn[high] = marks.high
    return "".join(drawn).ljust(cells)


def _signed(value: float) -> str:
    """Two decimals and a sign, without one for what is rounded to zero."""
    text = f"{value:+.2f}"
    return " 0.00" if text in ("+0.00", "-0.00") else text


def _probability(value: float) -> str:
    """Two digits, more near 1: never a plain 1.00 for what is not certain."""
    return f"{value:.2f}" if value < 0.995 else f"{value:.3f}" if value < 0.9995 else "> 0.999"


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False, header_style="dim")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", no_wrap=True)
    return table
