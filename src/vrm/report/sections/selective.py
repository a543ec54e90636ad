"""Selective accuracy: does the model know when it is right, and does its uncertainty find ties and disagreement?"""

from __future__ import annotations

from typing import Any

from vrm.report.blocks import Block, Cell, Chart, Charts, Column, Heading, Paragraph, Section, Table
from vrm.report.charts import Axes, Drawer, Line
from vrm.report.sections.best import accuracy_of, has_pairs
from vrm.report.values import (
    NONE,
    count,
    fixed,
    fixed_range,
    number,
    numbers,
    percent,
    percent_range,
    span,
    table,
    whole,
)
from vrm.report.view import Measurement, View

RANKINGS = {
    "probability": "by probability",
    "margin": "by margin",
    "margin_over_sd": "by margin over its sd",
    "weight_sd": "by weight uncertainty",
    "weight_share": "by share of weight uncertainty",
}
"""Ways to say how certain a model is of a pair; `vrm evaluate` leaves out those that a head does not have."""

SIGNALS = {
    "closeness": "small margin (baseline)",
    "total_sd": "sd of the margin",
    "weight_sd": "weight uncertainty",
    "weight_share": "share of weight uncertainty",
}
KINDS = {"ties": "ties", "disagreement": "disagreement"}

FIRST = 0.05
"""Coverages below it are a handful of pairs, and their accuracies noise: charts begin here."""

MAX_MODELS = 6

AXES = Axes("coverage: share of pairs kept, %", "accuracy, %", (0.0, 1.0), percent=True, percent_x=True)


def selective_section(view: View, draw: Drawer) -> Section:
    """Accuracy against coverage with its area, and AUROCs for ties and disagreement."""
    blocks: list[Block] = []
    missing: list[str] = []
    datasets = view.by_dataset(has_pairs)
    with_curves = {name: [entry for entry in measured if _curves(entry)] for name, measured in datasets.items()}
    for name, measured in datasets.items():
        missing += [f"{entry.source}: no curves of {name}" for entry in measured if not _curves(entry)]
    charts = [chart for name, measured in with_curves.items() if measured for chart in _charts(name, measured, draw)]
    if charts:
        blocks += [Paragraph(_explained()), _table(with_curves), Charts(charts)]
    blocks += _disagreement(datasets)
    return Section("selective", "Selective accuracy", blocks, missing)


def _explained() -> str:
    return (
        "Pairs are kept in order of the model’s certainty. Where uncertainty is worth something, accuracy rises to the "
        "left; a model whose certainty tells nothing has a level line, and an area that equals its accuracy."
    )


def _curves(entry: Measurement) -> dict[str, Any]:
    found = table(entry.content, "selective")
    return {key: found[key] for key in RANKINGS if numbers(found, key, "coverage")}


def _charts(name: str, measured: list[Measurement], draw: Drawer) -> list[Chart]:
    """All models by probability, and each way of ranking for a model that has several of them."""
    charts = []
    for start in range(0, len(measured), MAX_MODELS):
        lines = [_line(entry, "probability", entry.model, entry.series) for entry in measured[start:][:MAX_MODELS]]
        charts.append(draw.lines([line for line in lines if line.x], AXES, f"{name}, ranked by probability"))
    for entry in measured:
        if "margin_over_sd" in _curves(entry):
            lines = [_line(entry, key, RANKINGS[key], place) for place, key in enumerate(_curves(entry))]
            charts.append(draw.lines(lines, AXES, f"{name}, {entry.model}: ways to rank"))
    return charts


def _line(entry: Measurement, key: str, label: str, series: int) -> Line:
    curve = _curves(entry).get(key, {})
    points = [
        (x, y)
        for x, y in zip(numbers(curve, "coverage"), numbers(curve, "accuracy"), strict=False)
        if x is not None and x >= FIRST
    ]
    return Line(label, [x for x, _ in points], [y for _, y in points], series=series)


def _table(datasets: dict[str, list[Measurement]]) -> Table:
    shown = [key for key in RANKINGS if any(key in _curves(e) for measured in datasets.values() for e in measured)]
    columns = [Column("model", False), Column("accuracy, %"), Column("surest half, %")]
    columns += [Column(f"area {RANKINGS[key]}, %") for key in shown]
    rows: list[list[Cell]] = []
    parts = {}
    for name, measured in datasets.items():
        if measured:
            parts[len(rows)] = name
        rows += [_row(entry, shown) for entry in measured]
    return Table(columns, rows, "Area: mean accuracy over all coverages, with 95 % intervals over prompts.", parts)


def _row(entry: Measurement, shown: list[str]) -> list[Cell]:
    accuracy = accuracy_of(entry)
    cells = [
        Cell(entry.model),
        Cell(percent(accuracy.estimate if accuracy else None)),
        Cell(percent(number(entry.content, "pairs", "accuracy_most_certain_half"))),
    ]
    for key in shown:
        area = span(_curves(entry), key, "area")
        cells.append(Cell(percent(area.estimate) if area else NONE, percent_range(area)))
    return cells


def _disagreement(datasets: dict[str, list[Measurement]]) -> list[Block]:
    """How well each signal tells ties, and pairs that judges disagree about, from the rest."""
    rows: list[list[Cell]] = []
    parts: dict[int, str] = {}
    for name, measured in datasets.items():
        for entry in measured:
            for kind, word in KINDS.items():
                found = table(entry.content, "disagreement", kind)
                signals = table(found, "signals")
                if signals:
                    sizes = f"{whole(count(found, 'positives'))} of {whole(_total(found))} pairs"
                    parts[len(rows)] = f"{entry.model} on {name}: {word}, {sizes}"
                    rows += [_signal_row(signal, values) for signal, values in signals.items()]
    if not rows:
        return []
    columns = [Column("signal", False), Column("AUROC"), Column("− baseline")]
    caption = (
        "AUROC: how often a pair of this kind has the larger uncertainty than another pair; 0.5 tells nothing. "
        "− baseline: difference from closeness, the size of the margin alone; bold where its interval lies above 0."
    )
    return [Heading("Does uncertainty find ties and disagreement?"), Table(columns, rows, caption, parts)]


def _total(found: dict[str, Any]) -> int | None:
    sizes = [count(found, key) for key in ("positives", "negatives")]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _signal_row(signal: str, values: Any) -> list[Cell]:
    auroc, over = span(values, "auroc"), span(values, "over_closeness")
    better = over is not None and over.low is not None and over.low > 0
    return [
        Cell(SIGNALS.get(signal, signal.replace("_", " "))),
        Cell(fixed(auroc.estimate if auroc else None), fixed_range(auroc)),
        Cell("" if over is None else fixed(over.estimate, signed=True), fixed_range(over, signed=True), strong=better),
    ]
