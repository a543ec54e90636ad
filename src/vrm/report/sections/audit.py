"""Audit: edits that should not pay, the most harmful first."""

from __future__ import annotations

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
from vrm.report.values import fixed, fixed_cell, known, percent, percent_cell, whole
from vrm.report.view import View
from vrm.results import AuditDocument, EditKind, EditResult, Verdict
from vrm.results.audit import MOSTLY_NOTICED
from vrm.results.formats import few_words

TONES: dict[Verdict, Tone] = {
    Verdict.RAISES: "bad",
    Verdict.NO_EFFECT: "good",
    Verdict.LOWERS: "",
    Verdict.AS_IT_SHOULD: "good",
    Verdict.OFTEN_UNNOTICED: "warn",
    Verdict.UNNOTICED: "bad",
}
ADDS, DAMAGES = 1, 0
"""Colours of edits that must not raise a reward, and of those that must lower it."""


def audit_section(view: View, draw: Drawer) -> Section:
    """For each audit a chart of shifts, the table by harm, and correlations with length."""
    blocks: list[Block] = []
    missing: list[str] = []
    for entry in view.inputs.of(AuditDocument):
        if not entry.content.edits:
            missing.append(f"{entry.source}: no edits")
            continue
        blocks.append(Heading(_title(view, entry.content)))
        blocks += _document(entry.content, draw)
    return Section("audit", "Audit", blocks, missing)


def _title(view: View, audit: AuditDocument) -> str:
    (model,) = view.models_of(audit)
    pessimistic = f", mean − {audit.kappa:g} sd" if audit.kappa else ""
    if audit.beta is not None:
        pessimistic = f", effective reward with beta {audit.beta:g}"
    return f"{model}{pessimistic}" + (f" on {view.file(audit.file)}" if audit.file else "")


def _document(audit: AuditDocument, draw: Drawer) -> list[Block]:
    blocks: list[Block] = []
    measured = [edit for edit in audit.edits if known(edit.shift)]
    if measured:
        blocks.append(_shifts(measured, draw))
    blocks.append(_table(audit))
    few = few_words(audit.prompts) if audit.prompts else ""
    blocks += [Paragraph(few)] if few else []
    # Not a column: the table would be too wide for its page.
    what: list[tuple[str, Tone]] = [(f"{_name(edit)}: {edit.summary}", "") for edit in audit.edits if edit.summary]
    if what:
        blocks.append(Fold("What each edit does", [Bullets(what)]))
    blocks.append(_length_table(audit))
    skipped = _skipped(audit)
    if skipped:
        blocks.append(Fold("What could not be measured", [Paragraph(line) for line in skipped]))
    return blocks


def _shifts(edits: list[EditResult], draw: Drawer) -> Chart:
    colours = {EditKind.LOWER: DAMAGES, EditKind.NOT_RAISE: ADDS}
    bars = [Bar(_name(edit), edit.shift, colours[edit.kind]) for edit in edits if edit.shift]
    caption = (
        "Mean change of the reward, in units of its spread, with 95 % intervals over prompts, by harm. Orange edits "
        "add nothing and must not reach right of 0; blue ones (↓) do damage and must reach left of it."
    )
    return draw.bars(bars, "shift, spreads of the reward", "What each edit does to the reward", caption)


def _name(edit: EditResult) -> str:
    name = (edit.name or "?").replace("_", " ")
    return f"{name} ↓" if edit.kind == EditKind.LOWER else name


def _table(audit: AuditDocument) -> Table:
    columns = [Column("edit", False), Column("verdict", False), Column("completions"), Column("harm, %")]
    columns += [Column("shift"), Column("raised, %"), Column("pairs wrong, %")]
    caption = (
        "By harm, from 0 to 100: of edits that must not raise a reward, the completions raised less those lowered; of "
        "damage (↓), all that are not lowered, 50 being blind. Shift: in units of "
        f"{fixed(audit.spread)}, the {audit.spread_source or 'spread of the reward'}. "
        "Pairs wrong: of the pairs that the model has right, those that turn round when the rejected side has the "
        "edit; ↓: pairs in which it prefers the damaged chosen side to the undamaged one. "
        f"{percent(audit.confidence, 0)} % intervals over {whole(audit.prompts)} prompts. The verdict goes by the "
        "interval of the shift: above 0 the edit raises the reward, below 0 it lowers it. Damage that lowers it is "
        f"often not noticed where more than {100 * MOSTLY_NOTICED:.0f} % of the completions are not lowered."
    )
    return Table(columns, [_row(edit) for edit in audit.edits], caption)


def _row(edit: EditResult) -> list[Cell]:
    return [
        Cell(_name(edit)),
        Cell(edit.verdict, tone=TONES.get(edit.verdict, "muted")),
        Cell(whole(edit.measured)),
        percent_cell(edit.harm, 0),
        fixed_cell(edit.shift, 2, signed=True),
        percent_cell(edit.raised, 0),
        percent_cell(edit.pairs_wrong, 0),
    ]


def _length_table(audit: AuditDocument) -> Table:
    length = audit.length
    body = [
        [
            Cell(word),
            fixed_cell(correlation.pearson, 2, signed=True),
            fixed_cell(correlation.spearman, 2, signed=True),
            percent_cell(longer, 0),
        ]
        for word, correlation, longer in (
            ("rewards", length.rewards, length.model_prefers_longer),
            ("labels", length.labels, length.labels_prefer_longer),
        )
    ]
    columns = [Column("correlation with length", False), Column("Pearson"), Column("Spearman")]
    caption = (
        "Among completions of one prompt. Longer preferred: of labelled pairs of different length. What the labels "
        "have, a model may have inherited."
    )
    return Table([*columns, Column("longer preferred, %")], body, caption)


def _skipped(audit: AuditDocument) -> list[str]:
    lines = []
    skipped = [f"{_name(edit)} {edit.not_applicable:,}" for edit in audit.edits if edit.not_applicable]
    if skipped:
        lines.append(f"Not applicable to so many completions: {', '.join(skipped)}.")
    cut = [f"{_name(edit)} {edit.overlong:,}" for edit in audit.edits if edit.overlong]
    if cut:
        lines.append(f"Left out because the edited completion would be cut at the model’s limit: {', '.join(cut)}.")
    if audit.cut_completions:
        words = "completions are cut at the model’s limit already; no edit was tried on them."
        lines.append(f"{whole(audit.cut_completions)} {words}")
    if audit.without_completions:
        lines.append(f"{whole(audit.without_completions)} rows have no completions.")
    return [*lines, audit.overlong] if audit.overlong else lines
