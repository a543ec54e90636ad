"""The most confident mistakes, with the model's reasons for them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from vrm.report.blocks import Block, Cell, Column, Command, Fold, Heading, Paragraph, Section, Table
from vrm.report.charts import Drawer
from vrm.report.sections.best import has_pairs
from vrm.report.values import clip, clip_lines, fixed, percent
from vrm.report.view import View
from vrm.results import Mistake
from vrm.wire.explanation import CompletionReport, Explanation, WeightReport

MAX_MISTAKES = 10
MAX_CHARACTERS = 600


def mistakes_section(view: View, draw: Drawer) -> Section:
    """Ten folds for each model and file: the texts, the reward and weights behind it, and where the doubt is."""
    blocks: list[Block] = []
    missing: list[str] = []
    for entry in view.measurements:
        mistakes = entry.file.mistakes
        if mistakes:
            blocks.append(Heading(f"{entry.model} on {entry.dataset}"))
            blocks += [
                _fold(place, mistake, entry.path) for place, mistake in enumerate(mistakes[:MAX_MISTAKES], start=1)
            ]
            if len(mistakes) > MAX_MISTAKES:
                blocks.append(Paragraph(f"{len(mistakes) - MAX_MISTAKES} more are in {entry.source}.", "muted"))
        elif has_pairs(entry):
            missing.append(f"{entry.source}: it explains no mistakes of {entry.model} on {entry.dataset}")
    return Section("mistakes", "Most confident mistakes", blocks, missing)


def _fold(place: int, mistake: Mistake, model: str) -> Fold:
    where = [f"{mistake.file or '?'}:{mistake.line}", mistake.category]
    summary = f"{place}. {clip(mistake.prompt or '(no text)', 90)}"
    wrong = percent(1 - mistake.probability)
    detail = f"{wrong} % sure of the wrong side, margin {fixed(mistake.margin, 2, signed=True)}"
    blocks: list[Block] = []
    for title, text in (
        ("Prompt", mistake.prompt),
        ("A, which judges prefer", mistake.chosen),
        ("B, which the model prefers", mistake.rejected),
    ):
        shown, left = clip_lines(text, MAX_CHARACTERS)
        more = f" ({left:,} more characters)" if left else ""
        blocks += [Heading(f"{title}{more}"), Paragraph(shown or "(empty)", preserve=True)]
    blocks += _explanation(mistake.explanation)
    blocks.append(Paragraph(" · ".join(filter(None, where)), "muted"))
    if model and mistake.file:
        command = f"vrm explore {shlex.quote(model)} {shlex.quote(mistake.file)} --line {mistake.line}"
        blocks.append(Command("What would turn it? This opens the row in the explorer:", command))
    return Fold(summary, blocks, detail)


def _explanation(explanation: Explanation) -> list[Block]:
    """Objectives with weights, scores and contributions; then the margin's reasons and where its doubt lies."""
    blocks: list[Block] = []
    if len(explanation.weights) > 1 and len(explanation.completions) == 2:
        blocks += [Heading("Why"), _contributions(explanation.weights, explanation.completions)]
    for pair in explanation.pairs[:1]:
        sentences = [f"The model prefers {pair.first} {pair.reasons}".rstrip() + "."]
        margin = pair.margin
        if not math.isnan(margin.low) and not math.isnan(margin.high):
            level = percent(explanation.level, 0)
            mean, low, high = (fixed(value, 2, signed=True) for value in (margin.mean, margin.low, margin.high))
            sentences.append(f"Margin {mean} [{low}, {high}], a {level} % interval.")
        if pair.uncertainty is not None:
            shares = ", ".join(f"{part} {percent(share, 0)} %" for part, share in pair.uncertainty.shares.items())
            sentences.append(f"What its uncertainty comes from: {shares}.")
        blocks.append(Paragraph(" ".join(sentences)))
    return blocks + [Paragraph(note, "muted") for note in explanation.notes]


def _contributions(weights: Sequence[WeightReport], completions: Sequence[CompletionReport]) -> Table:
    body = []
    values = [abs(value) for completion in completions for value in completion.contributions.values()]
    most = max([value for value in values if math.isfinite(value)], default=0.0) or 1.0
    for entry in sorted(weights, key=lambda entry: -entry.weight.mean):
        cells = [Cell(entry.objective), Cell(fixed(entry.weight.mean, 2))]
        for completion in completions:
            cells.append(Cell(fixed(completion.objective_scores.get(entry.objective), 2, signed=True)))
            contribution = completion.contributions.get(entry.objective)
            bar = contribution / most if contribution is not None and math.isfinite(contribution) else None
            cells.append(Cell(fixed(contribution, 2, signed=True), bar=bar))
        body.append(cells)
    total = [Cell("sum = reward", strong=True), Cell("")]
    for completion in completions:
        total += [Cell(""), Cell(fixed(completion.reward.mean, 2, signed=True), strong=True)]
    columns = [Column("objective", False), Column("weight")]
    columns += [Column(f"{name} {part}") for name in ("A", "B") for part in ("score", "weight × score")]
    return Table(columns, [*body, total])
