"""Selective accuracy: does the model know when it is right, and does its uncertainty find ties and disagreement?"""

from __future__ import annotations

from vrm.report.blocks import Block, Cell, Chart, Charts, Column, Heading, Paragraph, Section, Table
from vrm.report.charts import Axes, Drawer, Line
from vrm.report.sections.best import accuracy_of, has_pairs
from vrm.report.values import fixed_cell, known, percent, percent_cell, whole
from vrm.report.view import Measurement, View
from vrm.results.evaluation import SelectiveCurve, SignalAuroc

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

FIRST = 0.05
"""Coverages below it are a handful of pairs, and their accuracies noise: charts begin here."""

MAX_MODELS = 6

EXPLAINED = (
    "Pairs are kept in order of the model’s certainty. Where uncertainty is worth something, accuracy rises to the "
    "left; a model whose certainty tells nothing has a level line, and an area that equals its accuracy."
)

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
        blocks += [Paragraph(EXPLAINED), _table(with_curves), Charts(charts)]
    blocks += _disagreement(datasets)
    return Section("selective", "Selective accuracy", blocks, missing)


def _curves(entry: Measurement) -> dict[str, SelectiveCurve]:
    curves = entry.file.selective
    return {key: curves[key] for key in RANKINGS if key in curves and curves[key].coverage}


def _charts(name: str, measured: list[Measurement], draw: Drawer) -> list[Chart]:
    """All models by probability, and each way of ranking for a model that has several of them."""
    charts = []
    for start in range(0, len(measured), MAX_MODELS):
        curves = [(entry, _curves(entry).get("probability")) for entry in measured[start:][:MAX_MODELS]]
        lines = [_line(curve, entry.model, entry.series) for entry, curve in curves if curve]
        charts.append(draw.lines([line for line in lines if line.x], AXES, f"{name}, ranked by probability"))
    for entry in measured:
        if "margin_over_sd" in _curves(entry):
            lines = [_line(curve, RANKINGS[key], place) for place, (key, curve) in enumerate(_curves(entry).items())]
            charts.append(draw.lines(lines, AXES, f"{name}, {entry.model}: ways to rank"))
    return charts


def _line(curve: SelectiveCurve, label: str, series: int) -> Line:
    points = [(x, y) for x, y in zip(curve.coverage, curve.accuracy, strict=False) if x >= FIRST]
    return Line(label, [x for x, _ in points], [y for _, y in points], series=series)


def _table(datasets: dict[str, list[Measurement]]) -> Table:
    shown = [key for key in RANKINGS if any(key in _curves(e) for measured in datasets.values() for e in measured)]
    columns = [Column("model", False), Column("pairs"), Column("accuracy, %"), Column("surest half, %")]
    columns += [Column(f"area {RANKINGS[key]}, %") for key in shown]
    parts = [(name, [_row(entry, shown) for entry in measured]) for name, measured in datasets.items()]
    return Table.in_parts(columns, parts, "Area: mean accuracy over all coverages, with 95 % intervals over prompts.")


def _row(entry: Measurement, shown: list[str]) -> list[Cell]:
    accuracy, pairs, curves = accuracy_of(entry), entry.file.pairs, _curves(entry)
    return [
        Cell(entry.model),
        Cell(whole(pairs.count - pairs.ties if pairs else None)),
        Cell(percent(accuracy.estimate if accuracy else None)),
        Cell(percent(pairs.accuracy_most_certain_half if pairs else None)),
        *(percent_cell(curves[key].area if key in curves else None) for key in shown),
    ]


def _disagreement(datasets: dict[str, list[Measurement]]) -> list[Block]:
    """How well each signal tells ties, and pairs that judges disagree about, from the rest."""
    parts = []
    for name, measured in datasets.items():
        for entry in measured:
            report = entry.file.disagreement
            for word, detection in (("ties", report.ties), ("disagreement", report.disagreement)) if report else ():
                if detection is not None and detection.signals:
                    total = detection.positives + detection.negatives
                    sizes = f"{whole(detection.positives)} of {whole(total)} pairs"
                    rows = [_signal_row(signal, auroc) for signal, auroc in detection.signals.items()]
                    parts.append((f"{entry.model} on {name}: {word}, {sizes}", rows))
    if not parts:
        return []
    columns = [Column("signal", False), Column("AUROC"), Column("− baseline")]
    caption = (
        "AUROC: how often a pair of this kind has the larger uncertainty than another pair; 0.5 tells nothing. "
        "− baseline: difference from closeness, the size of the margin alone; bold where its interval lies above 0."
    )
    return [Heading("Does uncertainty find ties and disagreement?"), Table.in_parts(columns, parts, caption)]


def _signal_row(signal: str, measured: SignalAuroc) -> list[Cell]:
    over = known(measured.over_closeness)
    return [
        Cell(SIGNALS.get(signal, signal.replace("_", " "))),
        fixed_cell(measured.auroc),
        Cell("") if over is None else fixed_cell(over, signed=True, strong=over.low > 0),
    ]
