"""Training: what each run cost and reached, and its curves."""

from __future__ import annotations

import math

from vrm.labels import KINDS
from vrm.report.blocks import Block, Cell, Chart, Charts, Column, Paragraph, Section, Table
from vrm.report.charts import Axes, Drawer, Line
from vrm.report.values import NONE, clip, fixed, percent, whole
from vrm.report.view import View
from vrm.results import Run, RunDocument

HELD_OUT = {
    "eval_nll": ("Held-out NLL", "nats a pair", False),
    "eval_accuracy": ("Held-out accuracy", "%", True),
    "eval_calibration_error": ("Held-out calibration error", "", False),
    "eval_kl_to_prior": ("Held-out KL of the weights to their prior", "nats", False),
    "eval_kl_weights": ("Held-out KL of the weights to the flat Dirichlet", "nats", False),
}
"""What `history.jsonl` logs of held-out rows; the last is in histories of unreleased versions alone."""

KL_TERMS = {
    "kl_weights": ("KL of the weights to their prior", "nats a row"),
    "kl_features": ("KL of the semantic features to their prior", "nats a row"),
}
"""What `history.jsonl` logs of the training rows beside the kinds of label: raw, without the coefficients."""


def training_section(view: View, draw: Drawer) -> Section:
    """A table of the runs, curves on held-out rows, and the terms of the loss."""
    runs = view.inputs.runs
    if not runs:
        return Section("training", "Training")
    missing = [
        f"{run.source}: no history.jsonl, or an empty one, so no curves of this run" for run in runs if not run.history
    ] + [f"{run.source}: no run.json: the run is not finished" for run in runs if run.summary is None]
    blocks: list[Block] = [_runs_table(view)]
    held_out = [chart for key, shown in HELD_OUT.items() if (chart := _chart(view, draw, key, *shown))]
    named = {name: (kind.title, kind.unit) for name, kind in KINDS.items()} | KL_TERMS
    terms = [chart for key, (title, unit) in named.items() if (chart := _chart(view, draw, key, title, unit))]
    if held_out:
        blocks.append(Charts(held_out))
    if terms:
        blocks.append(
            Paragraph("The terms of the loss on training rows, raw: without the coefficients that weigh them.", "muted")
        )
        blocks.append(Charts(terms))
    return Section("training", "Training", blocks, missing)


def _runs_table(view: View) -> Table:
    columns = [
        Column("run", False), Column("head", False), Column("backbone", False), Column("rows"), Column("held out"),
        Column("steps"), Column("best step"), Column("NLL"), Column("accuracy, %"), Column("weight KL"),
        Column("active features"), Column("seconds"),
    ]  # fmt: skip
    return Table(
        columns,
        [_run_row(view, run) for run in view.inputs.runs],
        "NLL, accuracy and weight KL are those of the kept checkpoint on the held-out rows that chose it: optimistic, "
        "and no substitute for an evaluation on other files.",
    )


def _run_row(view: View, run: Run) -> list[Cell]:
    summary = run.summary or RunDocument()
    model, rows, metrics = summary.config.get("model"), summary.rows, summary.metrics
    model = model if isinstance(model, dict) else {}
    steps = [entry["step"] for entry in run.history if math.isfinite(entry.get("step", math.nan))]
    units = metrics.get("active_units", math.nan)
    return [
        Cell(view.run(run)),
        Cell(str(model.get("head") or NONE)),
        Cell(clip(str(model.get("backbone") or NONE), 40)),
        Cell(whole(rows.train if rows else None)),
        Cell(whole(rows.eval if rows else None)),
        Cell(whole(int(max(steps)) if steps else None)),
        Cell(whole(_best_step(run))),
        Cell(fixed(metrics.get("nll"))),
        Cell(percent(metrics.get("accuracy"))),
        Cell(fixed(metrics.get("kl_to_prior"), 2)),
        Cell(whole(int(units) if math.isfinite(units) else None)),
        Cell(fixed(summary.seconds.get("total"), 0)),
    ]


def _best_step(run: Run) -> int | None:
    """The step that chose the checkpoint: the lowest held-out NLL, or loss where there are no comparisons."""
    for key in ("eval_nll", "eval_loss"):
        curve = _curve(run, key)
        if curve:
            return int(min(curve, key=lambda point: point[1])[0])
    return None


def _curve(run: Run, key: str) -> list[tuple[float, float]]:
    """(step, value) of each log that has both; the last of those at one step counts."""
    points = {entry["step"]: entry[key] for entry in run.history if "step" in entry and key in entry}
    return sorted((step, value) for step, value in points.items() if math.isfinite(step) and math.isfinite(value))


def _chart(view: View, draw: Drawer, key: str, title: str, unit: str, percent: bool = False) -> Chart | None:
    """The curve of each run that logs it; losses that a head lacks are logged as zeros, and left out."""
    lines = []
    for run in view.inputs.runs:
        curve, name = _curve(run, key), view.run(run)
        if curve and (_may_be_zero(key) or any(value for _, value in curve)):
            lines.append(Line(name, [x for x, _ in curve], [y for _, y in curve], series=view.series(name)))
    return draw.lines(lines, Axes("step", unit, percent=percent), title) if lines else None


def _may_be_zero(key: str) -> bool:
    return key in HELD_OUT and "_kl_" not in key
