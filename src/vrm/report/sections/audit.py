"""Audit: edits that should not pay, the most harmful first."""

from __future__ import annotations

from typing import Any

from vrm.report.blocks import (
    Block,
    Bullets,
    Cell,
    Chart,
    Column,
    Fold,
    Heading,
    Paragraph,
    Section,
    Table,
    Tone,
)
from vrm.report.charts import Bar, Drawer
from vrm.report.inputs import Document
from vrm.report.values import (
    NONE,
    Span,
    count,
    fixed,
    fixed_range,
    number,
    percent,
    percent_range,
    rows,
    span,
    table,
    text,
    whole,
)
from vrm.report.view import View

LOWER = "must lower"
TONES: dict[str, Tone] = {
    "raises the reward": "bad",
    "no clear effect": "good",
    "lowers the reward": "",
    "lowers it, as it should": "good",
    "often not noticed": "warn",
    "not noticed": "bad",
}
ADDS, DAMAGES = 1, 0
"""Colours of edits that must not raise a reward, and of those that must lower it."""


def audit_section(view: View, draw: Drawer) -> Section:
    """For each audit a chart of shifts, the table by harm, and correlations with length."""
    blocks: list[Block] = []
    missing: list[str] = []
    documents = view.inputs.of_kind("audit")
    for document in documents:
        edits = [edit for edit in rows(document.content, "edits") if isinstance(edit, dict)]
        if not edits:
            missing.append(f"{document.source}: no edits")
            continue
        blocks.append(Heading(_title(view, document)))
        blocks += _document(document, edits, draw)
    return Section("audit", "Audit", blocks, missing)


def _title(view: View, document: Document) -> str:
    model, file = text(document.content, "model") or "(model not named)", text(document.content, "file")
    kappa = number(document.content, "kappa")
    pessimistic = f", mean − {kappa:g} sd" if kappa else ""
    return f"{view.model(model)}{pessimistic}" + (f" on {view.file(file)}" if file else "")


def _document(document: Document, edits: list[dict[str, Any]], draw: Drawer) -> list[Block]:
    content = document.content
    found: list[Block] = []
    measured = [edit for edit in edits if span(edit, "shift") is not None]
    if measured:
        found.append(_shifts(measured, draw))
    found.append(_table(edits, content))
    # Not a column: the table would be too wide for its page.
    what: list[tuple[str, Tone]] = [
        (f"{_name(edit)}: {text(edit, 'summary')}", "") for edit in edits if text(edit, "summary")
    ]
    if what:
        found.append(Fold("What each edit does", [Bullets(what)]))
    if table(content, "length"):
        found.append(_length_table(content))
    skipped = _skipped(edits, content)
    if skipped:
        found.append(Fold("What could not be measured", [Paragraph(line) for line in skipped]))
    return found


def _shifts(edits: list[dict[str, Any]], draw: Drawer) -> Chart:
    bars = []
    for edit in edits:
        shift = span(edit, "shift")
        lowers = text(edit, "kind") == LOWER
        assert shift is not None  # edits without a shift were left out
        bars.append(Bar(_name(edit), shift.estimate, shift.low, shift.high, DAMAGES if lowers else ADDS))
    caption = (
        "Mean change of the reward, in units of its spread, with 95 % intervals over prompts, by harm. Orange edits "
        "add nothing and must not reach right of 0; blue ones (↓) do damage and must reach left of it."
    )
    return draw.bars(bars, "shift, spreads of the reward", "What each edit does to the reward", caption)


def _name(edit: dict[str, Any]) -> str:
    name = (text(edit, "name") or "?").replace("_", " ")
    return f"{name} ↓" if text(edit, "kind") == LOWER else name


def _table(edits: list[dict[str, Any]], content: dict[str, Any]) -> Table:
    columns = [Column("edit", False), Column("verdict", False), Column("completions"), Column("harm, %")]
    columns += [Column("shift"), Column("raised, %"), Column("pairs wrong, %")]
    level = percent(number(content, "confidence"), 0)
    caption = (
        f"By harm, from 0 to 100: of edits that must not raise a reward, the completions raised less those lowered; of "
        "damage (↓), all that are not lowered, 50 being blind. Shift: in units of "
        f"{fixed(number(content, 'spread'))}, the {text(content, 'spread_source') or 'spread of the reward'}. "
        "Pairs wrong: of the pairs that the model has right, those that turn round when the rejected side has the "
        f"edit; ↓: pairs in which it prefers the damaged chosen side to the undamaged one. {level} % intervals over "
        f"{whole(count(content, 'prompts'))} prompts."
    )
    return Table(columns, [_row(edit) for edit in edits], caption)


def _row(edit: dict[str, Any]) -> list[Cell]:
    verdict = text(edit, "verdict") or NONE
    wrong = span(edit, "pairs", "error_rate" if text(edit, "kind") == LOWER else "flip_rate")
    shift = span(edit, "shift")
    return [
        Cell(_name(edit)),
        Cell(verdict, tone=TONES.get(verdict, "muted")),
        Cell(whole(count(edit, "measured"))),
        _share(span(edit, "harm")),
        Cell(fixed(shift.estimate if shift else None, 2, signed=True), fixed_range(shift, 2, signed=True)),
        _share(span(edit, "raised")),
        _share(wrong),
    ]


def _share(found: Span | None) -> Cell:
    return Cell(percent(found.estimate if found else None, 0), percent_range(found, 0))


def _length_table(content: dict[str, Any]) -> Table:
    body = []
    for key, word, prefers in (
        ("rewards", "rewards", "model_prefers_longer"),
        ("labels", "labels", "labels_prefer_longer"),
    ):
        cells = [Cell(word)]
        for kind in ("pearson", "spearman"):
            found = span(content, "length", key, kind)
            cells.append(
                Cell(fixed(found.estimate if found else None, 2, signed=True), fixed_range(found, 2, signed=True))
            )
        body.append([*cells, _share(span(content, "length", prefers))])
    columns = [Column("correlation with length", False), Column("Pearson"), Column("Spearman")]
    caption = (
        "Among completions of one prompt. Longer preferred: of labelled pairs of different length. What the labels "
        "have, a model may have inherited."
    )
    return Table([*columns, Column("longer preferred, %")], body, caption)


def _skipped(edits: list[dict[str, Any]], content: dict[str, Any]) -> list[str]:
    lines = []
    for key, words in (
        ("not_applicable", "Not applicable to so many completions"),
        ("overlong", "Left out because the edited completion would be cut at the model’s limit"),
    ):
        counts = [f"{_name(edit)} {whole(count(edit, key))}" for edit in edits if count(edit, key)]
        if counts:
            lines.append(f"{words}: {', '.join(counts)}.")
    for key, words in (
        ("cut_completions", "completions are cut at the model’s limit already; no edit was tried on them."),
        ("without_completions", "judgments have no completions."),
    ):
        if count(content, key):
            lines.append(f"{whole(count(content, key))} {words}")
    overlong = text(content, "overlong")
    return [*lines, overlong] if overlong else lines
