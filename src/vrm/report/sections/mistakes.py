"""The most confident mistakes, with the model's reasons for them."""

from __future__ import annotations

from typing import Any

from vrm.report.blocks import Block, Cell, Column, Fold, Heading, Paragraph, Section, Table
from vrm.report.charts import Drawer
from vrm.report.values import at, clip, clip_lines, fixed, number, percent, rows, span, table, text
from vrm.report.view import View

MAX_MISTAKES = 10
MAX_CHARACTERS = 600
TEXTS = {"prompt": "Prompt", "chosen": "A, which judges prefer", "rejected": "B, which the model prefers"}
PARTS = ("features", "weights", "interaction")


def mistakes_section(view: View, draw: Drawer) -> Section:
    """Ten folds for each model and file: the texts, the reward and weights behind it, and where the doubt is."""
    blocks: list[Block] = []
    missing: list[str] = []
    for entry in view.measurements:
        found = [mistake for mistake in rows(entry.content, "mistakes") if isinstance(mistake, dict)]
        if found:
            blocks.append(Heading(f"{entry.model} on {entry.dataset}"))
            blocks += [_fold(place, mistake) for place, mistake in enumerate(found[:MAX_MISTAKES], start=1)]
            if len(found) > MAX_MISTAKES:
                blocks.append(Paragraph(f"{len(found) - MAX_MISTAKES} more are in {entry.source}.", "muted"))
        elif table(entry.content, "pairs"):
            missing.append(f"{entry.source}: it explains no mistakes of {entry.model} on {entry.dataset}")
    return Section("mistakes", "Most confident mistakes", blocks, missing)


def _fold(place: int, mistake: dict[str, Any]) -> Fold:
    probability = number(mistake, "probability")
    wrong = None if probability is None else 1 - probability
    margin = number(mistake, "margin")
    where = [f"{text(mistake, 'file') or '?'}:{fixed(number(mistake, 'line'), 0)}", text(mistake, "category")]
    summary = f"{place}. {clip(text(mistake, 'prompt') or '(no text)', 90)}"
    detail = f"{percent(wrong)} % sure of the wrong side, margin {fixed(margin, 2, signed=True)}"
    blocks: list[Block] = []
    for key, title in TEXTS.items():
        shown, left = clip_lines(text(mistake, key) or "", MAX_CHARACTERS)
        more = f" ({left:,} more characters)" if left else ""
        blocks += [Heading(f"{title}{more}"), Paragraph(shown or "(empty)", preserve=True)]
    blocks += _explanation(table(mistake, "explanation"))
    blocks.append(Paragraph(" · ".join(filter(None, where)), "muted"))
    return Fold(summary, blocks, detail)


def _explanation(found: dict[str, Any]) -> list[Block]:
    """Objectives with weights, scores and contributions; then the margin's reasons and where its doubt lies."""
    completions = [entry for entry in rows(found, "completions") if isinstance(entry, dict)]
    weights = [entry for entry in rows(found, "weights") if isinstance(entry, dict)]
    blocks: list[Block] = []
    if len(weights) > 1 and len(completions) == 2:
        blocks += [Heading("Why"), _contributions(weights, completions)]
    for pair in rows(found, "pairs")[:1]:
        said = [f"The model prefers {text(pair, 'first') or '?'} {text(pair, 'reasons') or ''}".rstrip() + "."]
        margin = span({"estimate": number(pair, "margin", "mean"), **table(pair, "margin")})
        if margin is not None and margin.known:
            level = percent(number(found, "level"), 0)
            low, high = fixed(margin.low, 2, signed=True), fixed(margin.high, 2, signed=True)
            said.append(f"Margin {fixed(margin.estimate, 2, signed=True)}, {level} % between {low} and {high}.")
        shares = {part: number(pair, "uncertainty", "shares", part) for part in PARTS}
        if any(share is not None for share in shares.values()):
            told = ", ".join(f"{part} {percent(share, 0)} %" for part, share in shares.items())
            said.append(f"What its uncertainty comes from: {told}.")
        blocks.append(Paragraph(" ".join(said)))
    notes = [str(note) for note in rows(found, "notes")]
    return blocks + [Paragraph(note, "muted") for note in notes]


def _contributions(weights: list[Any], completions: list[Any]) -> Table:
    heaviest = sorted(weights, key=lambda entry: -(number(entry, "weight", "mean") or 0.0))
    body = []
    for entry in heaviest:
        name = text(entry, "objective") or "?"
        cells = [Cell(name), Cell(fixed(number(entry, "weight", "mean"), 2))]
        for completion in completions:
            cells.append(Cell(fixed(number(at(completion, "objective_scores"), name), 2, signed=True)))
            cells.append(Cell(fixed(number(at(completion, "contributions"), name), 2, signed=True)))
        body.append(cells)
    total = [Cell("sum = reward", strong=True), Cell("")]
    for completion in completions:
        total += [Cell(""), Cell(fixed(number(completion, "reward", "mean"), 2, signed=True), strong=True)]
    columns = [Column("objective", False), Column("weight")]
    columns += [Column(f"{name} {part}") for name in ("A", "B") for part in ("score", "weight × score")]
    return Table(columns, [*body, total])
