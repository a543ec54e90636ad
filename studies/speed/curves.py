"""Growth curves, and their picture: seconds and memory over size on logarithmic axes, slopes written in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS, MEMORY, GUIDE = "#1f5fa8", "#b4530a", "#9a9a9a"


@dataclass(frozen=True)
class Point:
    """Cost at one size."""

    size: float
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Curve:
    """How a cost grows.

    Attributes:
        name: what grows.
        unit: of `size`.
        cost: what `seconds` are for.
        points: by rising size.
    """

    name: str
    unit: str
    cost: str
    points: list[Point]

    def slope(self, field: str = "seconds") -> float:
        """Exponent between the last two points; NaN where there are none."""
        if len(self.points) < 2:
            return math.nan
        last, before = self.points[-1], self.points[-2]
        above, below = float(getattr(last, field)), float(getattr(before, field))
        return math.log(above / below) / math.log(last.size / before.size) if above > 0 < below else math.nan


def plot_curves(curves: Sequence[Curve], file: Path) -> None:
    """Write one column a curve: seconds above, peak memory below; the dashed lines grow in proportion to size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        2, len(curves), figsize=(3.6 * len(curves), 6.4), sharex="col", squeeze=False, layout="constrained"
    )
    for column, curve in enumerate(curves):
        top, bottom = panels[0][column], panels[1][column]
        sizes = [point.size for point in curve.points]
        _panel(top, sizes, [point.seconds for point in curve.points], curve.slope(), SECONDS)
        mebibytes = [point.peak_bytes / 2**20 for point in curve.points]
        _panel(bottom, sizes, mebibytes, curve.slope("peak_bytes"), MEMORY)
        top.set_title(f"{curve.name}\n\n", fontsize=11, fontweight="bold")
        top.text(0.5, 1.02, _wrapped(curve.cost), transform=top.transAxes, ha="center", fontsize=7.5, color="#555555")
        bottom.set_xlabel(curve.unit, fontsize=9)
    panels[0][0].set_ylabel("seconds", fontsize=9)
    panels[1][0].set_ylabel("peak memory, MiB", fontsize=9)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def _wrapped(text: str, width: int = 40) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)[:2])


def _panel(axes: Any, sizes: Sequence[float], costs: Sequence[float], slope: float, color: str) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    kept = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if cost > 0]
    if not kept:
        return
    across, up = zip(*kept, strict=True)
    ends = (across[0], across[-1])
    (guide,) = axes.plot(ends, [up[0] * size / across[0] for size in ends], "--", color=GUIDE, linewidth=0.9, zorder=1)
    axes.legend([guide], ["proportional"], loc="upper left", fontsize=7.5, frameon=False, labelcolor="#777777")
    axes.plot(across, up, "o-", color=color, markersize=4.5, linewidth=1.6, zorder=2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(across)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.margins(0.12, 0.18)
    axes.grid(True, which="major", color="#e4e4e4", linewidth=0.6)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.text(0.97, 0.05, f"slope {slope:.2f}", transform=axes.transAxes, ha="right", fontsize=9, color=color)


def _short(value: float) -> str:
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit and (unit > 1e3 or value % unit == 0):
            return f"{value / unit:.3g}{name}"
    return f"{value:,.0f}"
