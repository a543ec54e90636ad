"""Best-of-n: what optimizing against each reward gains or loses by a gold score."""

from __future__ import annotations

from typing import Any

from vrm.report.blocks import Block, Cell, Chart, Charts, Column, Heading, Paragraph, Section, Table
from vrm.report.charts import Axes, Drawer, Line
from vrm.report.svg import SERIES
from vrm.report.values import (
    Span,
    at,
    count,
    fixed,
    fixed_range,
    number,
    numbers,
    rows,
    span,
    table,
    text,
    whole,
)
from vrm.report.view import Measurement, View

MEAN = "mean"
REFERENCES = ("oracle", "longest", "random")
"""Curves that are of no reward: picking by the gold score, by length, blindly."""

BEHIND = len(SERIES)
"""Added to a series, gives the same colour in dashes."""

AXES = Axes("policy KL, nats", "expected gold score")


def best_of_n_section(view: View, draw: Drawer) -> Section:
    """Curves of the gold score against the policy KL, and what each pick is worth at their end."""
    blocks: list[Block] = []
    missing: list[str] = []
    datasets = view.by_dataset(_has_curves)
    for name, measured in datasets.items():
        if len(datasets) > 1:
            blocks.append(Heading(name))
        blocks += _dataset(name, measured, draw)
        missing += [
            f"{entry.model} on {name} has no pessimistic picks: its rewards have no uncertainty"
            for entry in measured
            if at(entry.content, "uncertain") is False
        ]
    return Section("best-of-n", "Best-of-n", blocks, missing)


def _has_curves(entry: Measurement) -> bool:
    curves = table(entry.content, "curves")
    return bool(numbers(entry.content, "policy_kl")) and bool(rows(curves, MEAN, "gold"))


def _dataset(name: str, measured: list[Measurement], draw: Drawer) -> list[Block]:
    first = measured[0].content
    largest = len(numbers(first, "policy_kl"))
    said = (
        f"Expected gold score of the pick among n = 1 to {largest} completions, mean over "
        f"{whole(count(first, 'rows'))} rows ({whole(count(first, 'prompts'))} prompts) of {name}, against how far "
        "picking moves the policy. Bands, around the mean reward’s curves: 95 % intervals over prompts, pointwise."
    )
    if at(first, "one_best"):
        said += " One completion a row has gold 1 and the others 0: the gold score is how often the best one is picked."
    charts: list[Chart] = []
    if len(measured) > 1:
        charts.append(_by_model(measured, draw))
    charts += [_by_kappa(entry, draw, len(measured) > 1) for entry in measured if len(_picks(entry)) > 1]
    if not charts:
        charts = [_by_model(measured, draw)]
    return [Paragraph(said), Charts(charts), _end(measured, largest)]


def _by_model(measured: list[Measurement], draw: Drawer) -> Chart:
    lines = [_line(entry, MEAN, entry.model, entry.series, band=True) for entry in measured]
    return draw.lines([*lines, *_references(measured[0])], AXES, "Picked by mean reward")


def _by_kappa(entry: Measurement, draw: Drawer, several: bool) -> Chart:
    """The pessimistic picks of one model; those by the spread relative to the prompt's average in dashes."""
    lines = []
    kappas = sorted({kappa for pick in _picks(entry).values() if (kappa := number(pick, "kappa"))})
    for name, pick in _picks(entry).items():
        kappa = number(pick, "kappa") or 0.0
        series = kappas.index(kappa) + 1 if kappa in kappas else 0
        label = "mean reward" if name == MEAN else name
        lines.append(_line(entry, name, label, series + BEHIND * (text(pick, "spread") == "relative"), name == MEAN))
    title = f"{entry.model}: mean and pessimistic reward" if several else "Picked by mean and pessimistic reward"
    caption = "pessimistic k: picked by the mean minus k standard deviations of the reward"
    if any(text(pick, "spread") == "relative" for pick in _picks(entry).values()):
        caption += (
            "; relative k, dashed: minus k standard deviations of the reward above the prompt’s average completion"
        )
    return draw.lines([*lines, *_references(entry)], AXES, title, f"{caption}.")


def _picks(entry: Measurement) -> dict[str, Any]:
    """The curves that are of a reward, the mean first."""
    return {name: curve for name, curve in table(entry.content, "curves").items() if name not in REFERENCES}


def _line(entry: Measurement, name: str, label: str, series: int | None, band: bool = False) -> Line:
    points = [span(point) for point in rows(entry.content, "curves", name, "gold")]
    kl = [value or 0.0 for value in numbers(entry.content, "policy_kl")]
    kept = list(zip(kl, points, strict=False))
    return Line(
        label,
        [place for place, _ in kept],
        [point.estimate if point else None for _, point in kept],
        [point.low if point else None for _, point in kept] if band else (),
        [point.high if point else None for _, point in kept] if band else (),
        series,
        REFERENCES.index(name) if series is None else 0,
    )


def _references(entry: Measurement) -> list[Line]:
    return [_line(entry, name, name, None) for name in REFERENCES if rows(entry.content, "curves", name, "gold")]


def _end(measured: list[Measurement], largest: int) -> Table:
    columns = [Column("picked by", False), Column(f"gold at n = {largest}"), Column("− mean reward"), Column("regret")]
    columns += [Column("peak n"), Column("fall from the peak")]
    found: list[list[Cell]] = []
    parts = {}
    for entry in measured:
        parts[len(found)] = entry.model
        found += [_end_row(name, table(entry.content, "curves", name)) for name in _picks(entry)]
    lines = [name for name in REFERENCES if table(measured[0].content, "curves", name)]
    if lines:
        parts[len(found)] = "for comparison"
        found += [_end_row(name, table(measured[0].content, "curves", name), len(measured) == 1) for name in lines]
    return Table(
        columns,
        found,
        "− mean reward: paired difference from the pick by mean reward; bold where its interval leaves out 0. Regret: "
        "the gold score of the oracle minus this one. Peak: the n of the highest gold score; below the end of the "
        "curve, more optimization did harm.",
        parts,
    )


def _end_row(name: str, curve: dict[str, Any], compared: bool = True) -> list[Cell]:
    gold, difference = (rows(curve, key) for key in ("gold", "difference"))
    end = span(gold[-1]) if gold else None
    against = span(difference[-1]) if difference and compared else None
    return [
        Cell("mean reward" if name == MEAN else name),
        Cell(fixed(end.estimate if end else None), fixed_range(end)),
        Cell(
            "" if against is None else fixed(against.estimate, signed=True),
            fixed_range(against, signed=True),
            against is not None and against.leaves_out_zero,
        ),
        _interval(span(curve, "regret")),
        Cell(whole(count(curve, "peak"))),
        _interval(span(curve, "fall")),
    ]


def _interval(found: Span | None) -> Cell:
    return Cell(fixed(found.estimate if found else None), fixed_range(found))
