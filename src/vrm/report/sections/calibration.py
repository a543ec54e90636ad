"""Calibration: can the probabilities be taken at their word?"""

from __future__ import annotations

from collections.abc import Sequence

from vrm.metrics import PreferenceSummary, ReliabilityBin
from vrm.report.blocks import Block, Cell, Chart, Charts, Column, Section, Table
from vrm.report.charts import Drawer, Reliability
from vrm.report.sections.best import has_pairs
from vrm.report.values import fixed, known
from vrm.report.view import Measurement, View

MAX_MODELS = 6
"""Models in one diagram."""

CAPTION = (
    "NLL in nats a pair: 0.693 is what an even guess costs. Brier: mean squared error, 0.250 for an even guess. ECE: "
    "expected calibration error over 15 bins of equal mass. Lower is better in all three."
)


def calibration_section(view: View, draw: Drawer) -> Section:
    """Log loss, Brier score and calibration error, and a reliability diagram a file."""
    datasets = view.by_dataset(has_pairs)
    if not datasets:
        return Section("calibration", "Calibration")
    charts, missing = [], []
    for name, measured in datasets.items():
        with_bins = [entry for entry in measured if _bins(entry)]
        missing += [f"{entry.source}: no reliability table of {name}" for entry in measured if not _bins(entry)]
        for start in range(0, len(with_bins), MAX_MODELS):
            charts.append(_diagram(name, with_bins[start : start + MAX_MODELS], draw))
    blocks: list[Block] = [_table(datasets)]
    return Section("calibration", "Calibration", [*blocks, Charts(charts)] if charts else blocks, missing)


def _table(datasets: dict[str, list[Measurement]]) -> Table:
    columns = [Column("model", False), Column("NLL"), Column("Brier"), Column("ECE")]
    parts = [
        (name, [_row(entry.model, pairs) for entry in measured if (pairs := entry.file.pairs)])
        for name, measured in datasets.items()
    ]
    return Table.in_parts(columns, parts, CAPTION)


def _row(model: str, pairs: PreferenceSummary) -> list[Cell]:
    figures = (pairs.negative_log_likelihood, pairs.brier, pairs.calibration.value)
    return [Cell(model), *(Cell(fixed(figure)) for figure in figures)]


def _diagram(name: str, measured: list[Measurement], draw: Drawer) -> Chart:
    tables = [Reliability(entry.model, _bins(entry), *_histogram(entry), entry.series) for entry in measured]
    caption = "On the dotted line, the model is right as often as it says. Below: pairs by confidence."
    return draw.reliability(tables, name, caption)


def _histogram(entry: Measurement) -> tuple[Sequence[float], Sequence[int]]:
    """Edges of equal parts of [0.5, 1], and pairs in each; empty where the document lacks them."""
    pairs = entry.file.pairs
    widths = pairs.calibration_equal_width if pairs else None
    return (widths.edges, widths.count) if widths and len(widths.edges) == len(widths.count) + 1 else ((), ())


def _bins(entry: Measurement) -> Sequence[ReliabilityBin]:
    """The bins of the reliability table that hold pairs."""
    return [part for part in entry.file.reliability if part.count and known(part.observed)]
