"""Objective weights by category: what the model says matters where."""

from __future__ import annotations

from vrm.report.blocks import Block, Cell, Column, Heading, Section, Table
from vrm.report.charts import Drawer
from vrm.report.values import count, fixed, numbers, rows, table, text, whole
from vrm.report.view import Measurement, View


def weights_section(view: View, draw: Drawer) -> Section:
    """A heat map for each model with objectives and each file."""
    blocks: list[Block] = []
    missing: list[str] = []
    for entry in view.measurements:
        found = table(entry.content, "weights_by_category")
        if not found:
            if table(entry.content, "pairs"):
                missing.append(f"{entry.source}: no weights on {entry.dataset} ({entry.model} may have no objectives)")
            continue
        if len(rows(found, "objectives")) > 1:
            blocks += [Heading(f"{entry.model} on {entry.dataset}"), _heat_map(entry)]
    return Section("weights", "Objective weights by category", blocks, missing)


def _heat_map(entry: Measurement) -> Table:
    found = table(entry.content, "weights_by_category")
    names = [str(name) for name in rows(found, "objectives")]
    overall = numbers(found, "overall", "mean")
    # The heaviest objective first: the order of the model's head means nothing.
    order = sorted(range(len(names)), key=lambda place: -((overall[place : place + 1] or [None])[0] or 0.0))
    groups = {name: values for name, values in table(found, "groups").items() if isinstance(values, dict)}
    means = {name: numbers(values, "mean") for name, values in groups.items()}
    largest = max([value for mean in [*means.values(), overall] for value in mean if value is not None], default=1.0)
    body = [_row(name, count(groups[name], "prompts"), means[name], order, largest) for name in groups]
    body.append(_row("all", count(found, "overall", "prompts"), overall, order, largest))
    by = text(found, "by") or "category"
    columns = [Column(by, False), Column("prompts"), *(Column(names[place]) for place in order)]
    caption = (
        "Mean expected weight over the prompts of a group, each prompt once; rows sum to 1. Whether a weight can be "
        "read as importance depends on the model: vrm explain says so."
    )
    return Table(columns, body, caption, {len(body) - 1: ""} if groups else {})


def _row(name: str, prompts: int | None, mean: list[float | None], order: list[int], largest: float) -> list[Cell]:
    values = [mean[place] if place < len(mean) else None for place in order]
    cells = [
        Cell(fixed(value, 2), shade=None if value is None else max(value, 0.0) / (largest or 1.0)) for value in values
    ]
    return [Cell(name), Cell(whole(prompts), tone="muted"), *cells]
