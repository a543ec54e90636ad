"""The charts of a report: what is drawn, apart from what it means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vrm.metrics import Interval, ReliabilityBin
from vrm.report.blocks import Chart
from vrm.report.svg import INK, MUTED, SERIES, drawing, new_figure, to_svg
from vrm.report.values import clip_middle, has_ends

WIDTH = 440.0
MAX_WHISKERS = 2
"""Models whose intervals a reliability diagram shows; of more they would hide one another."""

NAME = 34
"""Characters of a name in a legend or at an axis."""

_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
_REFERENCES: tuple[Any, ...] = ((0, (5, 2, 1.5, 2)), (0, (1.2, 1.8)), (0, (5, 2.5)))
_MARKERS = "osD^vPX*"


@dataclass(frozen=True, slots=True)
class Line:
    """A curve.

    Attributes:
        label: in the legend; empty for none.
        x: positions.
        y: values, as many; NaN leaves a gap.
        low: lower ends of a band, or nothing.
        high: upper ends.
        series: number of its colour, and of its dashes where the colours are used up; None for a reference line.
        reference: number of a reference line's dashes.
        markers: whether to mark the points.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    series: int | None = 0
    reference: int = 0
    markers: bool = False


@dataclass(frozen=True, slots=True)
class Axes:
    """Titles and ranges of a chart's axes; a range of None is the data's own. Shares may be shown as percentages."""

    x: str
    y: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    percent: bool = False
    percent_x: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar or a point with an interval."""

    label: str
    value: Interval
    series: int = 0


@dataclass(frozen=True, slots=True)
class Reliability:
    """A model's reliability table, and its pairs by confidence in `counts`, one a part between two `edges`."""

    label: str
    bins: Sequence[ReliabilityBin]
    edges: Sequence[float]
    counts: Sequence[int]
    series: int = 0


@dataclass(slots=True)
class Drawer:
    """Makes the charts of one page, which number their ids.

    Use inside `with Drawer.open() as draw`.
    """

    made: int = field(default=0)

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Drawer]:
        """A drawer, under the settings that charts need.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        with drawing():
            yield cls()

    def lines(self, lines: Sequence[Line], axes: Axes, title: str, caption: str = "") -> Chart:
        """Curves with bands."""
        figure = new_figure(WIDTH, 250 + 16 * _legend_rows([line.label for line in lines]))
        plot = figure.add_subplot()
        for line in lines:
            _draw_line(plot, line)
        _dress(plot, axes)
        _legend(figure, plot)
        return self._chart(figure, title, caption)

    def bars(self, bars: Sequence[Bar], axis: str, title: str, caption: str = "") -> Chart:
        """Horizontal bars from zero, the first on top, with intervals as whiskers."""
        figure = new_figure(WIDTH, 60 + 22 * len(bars))
        plot = figure.add_subplot()
        lengths, colours = [bar.value.estimate for bar in bars], [_colour(bar.series) for bar in bars]
        plot.barh(range(len(bars)), lengths, height=0.62, color=colours)
        _whiskers(plot, bars)
        plot.axvline(0, color=MUTED, linewidth=1)
        _name_rows(plot, [bar.label for bar in bars], axis)
        return self._chart(figure, title, caption)

    def points(
        self, points: Sequence[Bar], axis: str, title: str, caption: str = "", reference: Sequence[float] = ()
    ) -> Chart:
        """Points with intervals, the first on top; `reference` marks another value in each row."""
        figure = new_figure(WIDTH, 60 + 24 * len(points))
        plot = figure.add_subplot()
        _whiskers(plot, points, colours=True)
        for place, point in enumerate(points):
            plot.plot(point.value.estimate, place, _marker(point.series), color=_colour(point.series), markersize=7)
        for place, value in enumerate(reference):
            if not math.isnan(value):
                plot.plot([value, value], [place - 0.32, place + 0.32], color=MUTED, linewidth=2)
        _name_rows(plot, [point.label for point in points], axis)
        return self._chart(figure, title, caption)

    def reliability(self, tables: Sequence[Reliability], title: str, caption: str = "") -> Chart:
        """Accuracy against confidence, and below it how many pairs each bin holds."""
        figure = new_figure(WIDTH, 370 + 16 * _legend_rows([table.label for table in tables]))
        upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
        upper.plot([0.5, 1], [0.5, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        for table in tables:
            _draw_bins(upper, table, whiskers=len(tables) <= MAX_WHISKERS)
            _draw_counts(lower, table, filled=len(tables) == 1)
        low = min([0.45, *(part.observed.estimate - 0.05 for table in tables for part in table.bins)])
        _dress(upper, Axes("", "accuracy, %", (0.49, 1.01), (max(low, -0.03), 1.03), percent=True))
        _dress(lower, Axes("confidence of the predicted side, %", "pairs", (0.49, 1.01)))
        _percent_axis(lower.xaxis)
        _percent_axis(upper.xaxis)
        lower.set_ylim(bottom=0)
        _whole_axis(lower.yaxis)
        _legend(figure, upper)
        return self._chart(figure, title, caption)

    def _chart(self, figure: Any, title: str, caption: str) -> Chart:
        self.made += 1
        return Chart(to_svg(figure, f"c{self.made}", title), title, caption)


def _draw_line(plot: Any, line: Line) -> None:
    reference = line.series is None
    colour = MUTED if line.series is None else _colour(line.series)
    style = {
        "color": colour,
        "linewidth": 1.3 if reference else 2,
        "linestyle": _REFERENCES[line.reference % len(_REFERENCES)]
        if reference
        else _DASHES[(line.series or 0) // len(SERIES) % len(_DASHES)],
        "label": clip_middle(line.label, NAME) or "_",
    }
    if line.markers or len(line.y) == 1:
        style |= {"marker": _marker(line.series or 0), "markersize": 5}
    plot.plot(line.x, line.y, **style)
    if line.low and line.high:
        plot.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)


def _draw_bins(plot: Any, table: Reliability, whiskers: bool) -> None:
    x, observed = [part.predicted for part in table.bins], [part.observed for part in table.bins]
    shares = [interval.estimate for interval in observed]
    if whiskers:
        style = {"color": _colour(table.series), "linestyle": "", "marker": _marker(table.series), "markersize": 5}
        plot.plot(x, shares, label=clip_middle(table.label, NAME), **style)
    else:
        _draw_line(plot, Line(table.label, x, shares, series=table.series, markers=True))
    for place, interval in zip(x, observed, strict=True):
        if whiskers and has_ends(interval):
            ends = [interval.low, interval.high]
            plot.plot([place, place], ends, color=_colour(table.series), linewidth=1.2, alpha=0.6)


def _draw_counts(plot: Any, table: Reliability, filled: bool) -> None:
    if not table.counts:
        return
    colour = _colour(table.series)
    if filled:
        plot.stairs(table.counts, table.edges, fill=True, color=colour, alpha=0.55)
    plot.stairs(table.counts, table.edges, color=colour, linewidth=1.4)


def _whiskers(plot: Any, bars: Sequence[Bar], colours: bool = False) -> None:
    for place, bar in enumerate(bars):
        if has_ends(bar.value):
            colour = _colour(bar.series) if colours else INK
            plot.plot([bar.value.low, bar.value.high], [place, place], color=colour, linewidth=1.8 if colours else 1.2)


def _name_rows(plot: Any, names: Sequence[str], axis: str) -> None:
    plot.set_yticks(range(len(names)), [clip_middle(name, NAME) for name in names])
    plot.set_ylim(len(names) - 0.4, -0.6)
    plot.set_xlabel(axis)
    plot.grid(visible=False, axis="y")
    plot.tick_params(axis="y", length=0)
    plot.spines["left"].set_visible(False)


def _dress(plot: Any, axes: Axes) -> None:
    plot.set_xlabel(axes.x)
    plot.set_ylabel(axes.y)
    if axes.x_range is not None:
        plot.set_xlim(*axes.x_range)
    if axes.y_range is not None:
        plot.set_ylim(*axes.y_range)
    if axes.percent:
        _percent_axis(plot.yaxis)
    if axes.percent_x:
        _percent_axis(plot.xaxis)


def _percent_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))


def _whole_axis(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=3, integer=True))


def _legend(figure: Any, plot: Any) -> None:
    handles, labels = plot.get_legend_handles_labels()
    if not labels:
        return
    figure.legend(
        handles, labels, loc="outside lower center", ncols=_columns(labels), handlelength=2.2, columnspacing=1.4
    )


def _columns(labels: Sequence[str]) -> int:
    widest = max(len(clip_middle(label, NAME)) for label in labels)
    return max(1, min(len(labels), int(62 // (widest + 7))))


def _legend_rows(labels: Sequence[str]) -> int:
    named = [label for label in labels if label]
    return -(-len(named) // _columns(named)) if named else 0


def _colour(series: int) -> str:
    return SERIES[series % len(SERIES)]


def _marker(series: int) -> str:
    return _MARKERS[series % len(_MARKERS)]
