"""The runs that the other scripts kept, as a table and a plot, with exponents.

    python -m studies.scale.curves studies/scale/results.jsonl --plot docs/images/scale.png

An exponent is the slope of a straight line through the logarithms of the last three sizes of a task, by least squares:
1 is proportional, 0 does not grow. Beside it stands what one more row costs between the last two. Of several runs of a
task and size the last one counts.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from studies.scale.measured import Measured, kept

LAST = 3
"""Sizes that an exponent is fitted to."""

COSTS = {"processor": "processor s", "memory": "resident memory, GB", "disk": "caches on the disk, GB"}


def by_task(runs: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The finished runs of each task, by rising size."""
    latest = {(run.task, run.rows): run for run in runs if run.finished}
    tasks: dict[str, list[Measured]] = {}
    for (task, _), run in sorted(latest.items(), key=lambda entry: entry[0][1]):
        tasks.setdefault(task, []).append(run)
    return tasks


def exponent(runs: Sequence[Measured], cost: str) -> float:
    """Of a cost over the last sizes at which it is not 0; NaN where there are fewer than two."""
    points = [(run.rows, value) for run in runs if (value := getattr(run, cost))][-LAST:]
    if len(points) < 2:
        return math.nan
    sizes, costs = np.log(np.array(points, dtype=np.float64)).T
    # Rounded, so that what does not grow is not printed as -0.00.
    return round(float(np.polyfit(sizes, costs, 1)[0]), 2) + 0.0


def a_row(runs: Sequence[Measured], cost: str) -> float:
    """What one more row costs between the last two sizes, in the cost's unit; NaN where there are fewer."""
    if len(runs) < 2:
        return math.nan
    before, last = runs[-2:]
    return (getattr(last, cost) - getattr(before, cost)) / (last.rows - before.rows)


def table(runs: Sequence[Measured]) -> str:
    """All runs, and how each task grows, as two tables of Markdown."""
    lines = [
        "| task | rows | seconds | processor s | to the first step: s | processor s | memory, GB | caches, GB | load |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    ended = [run for run in runs if not run.finished]
    for run in [*(run for task in by_task(runs).values() for run in task), *ended]:
        start = " | " if run.start_up is None else f"{run.start_up:.0f} | {run.start_processor:.0f}"
        lines.append(
            f"| {run.task}{'' if run.finished else ' (ended)'} | {run.rows:,} | {run.seconds:,.0f} | "
            f"{run.processor:,.0f} | {start} | {run.memory:.2f} | {_short(run.disk)} | {run.load:.0f} |"
        )
    return "\n".join([*lines, "", *growth(runs)])


def growth(runs: Sequence[Measured]) -> list[str]:
    """Exponents and the price of a row, as the lines of a table."""
    lines = [
        "| task | up to | processor time: exponent | ms a row | memory: exponent | bytes a row | disk: exponent | "
        "bytes a row |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for task, some in by_task(runs).items():
        if len(some) < 2:
            continue
        cells = [f"{exponent(some, 'processor'):.2f}", _short(1e3 * a_row(some, "processor"))]
        for cost in ("memory", "disk"):
            slope = exponent(some, cost)
            cells += ["", ""] if math.isnan(slope) else [f"{slope:.2f}", f"{1e9 * a_row(some, cost):,.0f}"]
        lines.append(f"| {task} | {some[-1].rows:,} | {' | '.join(cells)} |")
    return lines


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def plot(runs: Sequence[Measured], file: Path) -> None:
    """A panel for each cost, a line for each task, on logarithmic axes; the dashed line is proportional to rows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(COSTS), figsize=(13, 4.6), layout="constrained")
    tasks = {task: some for task, some in by_task(runs).items() if len(some) > 1}
    for axes, (cost, label) in zip(panels, COSTS.items(), strict=True):
        for number, (task, some) in enumerate(tasks.items()):
            points = [(run.rows, getattr(run, cost)) for run in some if getattr(run, cost)]
            if len(points) < 2:
                continue
            name = f"{task} ({exponent(some, cost):.2f})"
            axes.plot(*zip(*points, strict=True), "o-", color=f"C{number}", markersize=4, linewidth=1.5, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        axes.plot([left, right], [low, low * right / left], "--", color="#9a9a9a", linewidth=0.9, zorder=1)
        axes.set_ylim(low, high)
        axes.set_xlabel("rows")
        axes.set_title(label, fontsize=10)
        axes.grid(True, which="major", color="#e4e4e4", linewidth=0.6)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, frameon=False, title="task (exponent)", title_fontsize=7, loc="upper left")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="JSON lines of runs")
    parser.add_argument("--plot", type=Path, help="a PNG")
    options = parser.parse_args(arguments)
    runs = kept(options.results)
    print(table(runs))
    if options.plot is not None:
        plot(runs, options.plot)


if __name__ == "__main__":
    main()
