"""Objective weights by category: what the model says matters where."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vrm.report.blocks import Block, Cell, Column, Heading, Section, Table
from vrm.report.charts import Drawer
from vrm.report.sections.best import has_pairs
from vrm.report.values import fixed, whole
from vrm.report.view import View
from vrm.results.evaluation import GroupWeights, WeightsByGroup


def weights_section(view: View, draw: Drawer) -> Section:
    """A heat map for each model with objectives and each file."""
    blocks: list[Block] = []
    missing: list[str] = []
    for entry in view.measurements:
        weights = entry.file.weights_by_category
        if weights is None:
            if has_pairs(entry):
                missing.append(f"{entry.source}: no weights on {entry.dataset} ({entry.model} may have no objectives)")
        elif len(weights.objectives) > 1:
            blocks += [Heading(f"{entry.model} on {entry.dataset}"), _heat_map(weights)]
    return Section("weights", "Objective weights by category", blocks, missing)


def _heat_map(weights: WeightsByGroup) -> Table:
    overall = dict(enumerate(weights.overall.mean))
    # The heaviest objective first: the order of the model's head means nothing.
    order = sorted(range(len(weights.objectives)), key=lambda place: -overall.get(place, 0.0))
    groups = [*weights.groups.items(), ("all", weights.overall)]
    largest = max((value for _, group in groups for value in group.mean), default=1.0)
    body = [_row(name, group, order, largest) for name, group in groups]
    columns = [Column(weights.by or "category", False), Column("prompts")]
    columns += [Column(weights.objectives[place]) for place in order]
    caption = (
        "Mean expected weight over the prompts of a group, each prompt once; rows sum to 1. Whether a weight can be "
        "read as importance depends on the model: vrm explain says so."
    )
    return Table(columns, body, caption, {len(body) - 1: ""} if weights.groups else {})


def _row(name: str, group: GroupWeights, order: Sequence[int], largest: float) -> list[Cell]:
    mean = dict(enumerate(group.mean))
    values = [mean.get(place, math.nan) for place in order]
    cells = [
        Cell(fixed(value, 2), shade=None if math.isnan(value) else max(value, 0.0) / (largest or 1.0))
        for value in values
    ]
    return [Cell(name), Cell(whole(group.prompts), tone="muted"), *cells]
