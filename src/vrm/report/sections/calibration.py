"""Calibration: can the probabilities be taken at their word?"""

from __future__ import annotations

from vrm.report.blocks import Block, Cell, Chart, Charts, Column, Section, Table
from vrm.report.charts import Bin, Drawer, Reliability
from vrm.report.sections.best import has_pairs
from vrm.report.values import Span, count, fixed, number, numbers, rows, span, table
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
        tables = [entry for entry in measured if _bins(entry)]
        missing += [f"{entry.source}: no reliability table of {name}" for entry in measured if not _bins(entry)]
        for start in range(0, len(tables), MAX_MODELS):
            charts.append(_diagram(name, tables[start : start + MAX_MODELS], draw))
    blocks: list[Block] = [_table(datasets)]
    return Section("calibration", "Calibration", [*blocks, Charts(charts)] if charts else blocks, missing)


def _table(datasets: dict[str, list[Measurement]]) -> Table:
    columns = [Column("model", False), Column("NLL"), Column("Brier"), Column("ECE")]
    found: list[list[Cell]] = []
    parts = {}
    for name, measured in datasets.items():
        parts[len(found)] = name
        for entry in measured:
            pairs = table(entry.content, "pairs")
            keys = (("negative_log_likelihood",), ("brier",), ("calibration", "value"))
            found.append([Cell(entry.model), *(Cell(fixed(number(pairs, *key))) for key in keys)])
    return Table(columns, found, CAPTION, parts)


def _diagram(name: str, measured: list[Measurement], draw: Drawer) -> Chart:
    tables = [Reliability(entry.model, _bins(entry), *_histogram(entry), entry.series) for entry in measured]
    caption = "On the dotted line, the model is right as often as it says. Below: pairs by confidence."
    return draw.reliability(tables, name, caption)


def _histogram(entry: Measurement) -> tuple[list[float], list[int]]:
    """Edges of equal parts of [0.5, 1], and pairs in each; empty where the document lacks them."""
    widths = table(entry.content, "pairs", "calibration_equal_width")
    edges = [edge for edge in numbers(widths, "edges") if edge is not None]
    counts = [count(size) or 0 for size in rows(widths, "count")]
    return (edges, counts) if len(edges) == len(counts) + 1 else ([], [])


def _bins(entry: Measurement) -> list[Bin]:
    """Bins with pairs in them: those with intervals where the document has them, else of the table of equal widths."""
    found = [
        Bin(low, high, predicted, observed, size)
        for part in rows(entry.content, "reliability")
        if (low := number(part, "low")) is not None
        and (high := number(part, "high")) is not None
        and (predicted := number(part, "predicted")) is not None
        and (observed := span(part, "observed")) is not None
        and (size := count(part, "count"))
    ]
    return found or _bins_of_table(table(entry.content, "pairs", "calibration_equal_width"))


def _bins_of_table(widths: dict[str, object]) -> list[Bin]:
    edges, counts = numbers(widths, "edges"), [count(size) for size in rows(widths, "count")]
    means, observed = numbers(widths, "confidence"), numbers(widths, "accuracy")
    return [
        Bin(low, high, mean, Span(share), size)
        for low, high, mean, share, size in zip(edges, edges[1:], means, observed, counts, strict=False)
        if low is not None and high is not None and mean is not None and share is not None and size
    ]
