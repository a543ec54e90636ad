"""Comparisons: two models on the same pairs, what differs, and what may be concluded."""

from __future__ import annotations

from typing import Any

from vrm.report.blocks import Block, Bullets, Cell, Column, Fold, Heading, Section, Table, Tone
from vrm.report.charts import Drawer
from vrm.report.inputs import Document
from vrm.report.values import (
    NONE,
    count,
    fixed,
    fixed_range,
    number,
    percent,
    rows,
    span,
    table,
    text,
    whole,
)
from vrm.report.view import View

MEASURES = {
    "accuracy": ("accuracy, %", True),
    "length_controlled": ("length-controlled accuracy, %", True),
    "style_controlled": ("style-controlled accuracy, %", True),
    "negative_log_likelihood": ("NLL, nats (lower is better)", False),
}
CAPTION = (
    "Paired on the same examples; 95 % intervals of the difference by bootstrap over prompts, in points for shares; "
    "bold where the interval leaves out 0. p: of equal accuracies, exact McNemar, or sign flips over prompts where "
    "these repeat."
)


def comparison_section(view: View, draw: Drawer) -> Section:
    """Each comparison with its sentences, its measures, and its groups in folds."""
    blocks: list[Block] = []
    missing: list[str] = []
    for document in view.inputs.of_kind("comparison"):
        targets = table(document.content, "files") | table(document.content, "benchmarks")
        if not targets:
            missing.append(f"{document.source}: nothing was compared")
        for path, content in targets.items():
            body = _target(content)
            if body:
                first, second = models_of(view, document)
                blocks += [Heading(f"A: {first}, B: {second}, on {view.file(path)}"), *body]
            else:
                missing.append(f"{document.source}: no measures of {path}")
    return Section("comparison", "Comparisons", blocks, missing)


def models_of(view: View, document: Document) -> tuple[str, str]:
    """Short names of A and B."""
    first, second = (text(document.content, key) or "(not named)" for key in ("model", "model_b"))
    return view.model(first), view.model(second)


def _target(content: Any) -> list[Block]:
    said: list[tuple[str, Tone]] = [(sentence, "") for sentence in rows(content, "conclusions") if text(sentence)]
    found: list[Block] = [Bullets(said)] if said else []
    overall = table(content, "overall")
    if overall:
        found.append(_overall(overall))
        for key, word in (("by_source", "source"), ("by_category", "category")):
            groups = table(content, key)
            if len(groups) > 1:
                found.append(Fold(f"By {word}", [_groups(groups, word)], f"{len(groups)} groups"))
    figures = [figure for figure in rows(content, "figures") if isinstance(figure, dict)]
    if figures:
        found.append(_figures(figures))
    return found


def _overall(overall: dict[str, Any]) -> Table:
    found = {key: table(overall, key) for key in MEASURES}
    body = [_measure(*MEASURES[key], measure) for key, measure in found.items() if measure]
    pairs, prompts, p_value = count(overall, "count"), count(overall, "prompts"), number(overall, "p_value")
    told = f"{whole(pairs)} pairs of {whole(prompts)} prompts"
    told += "" if p_value is None else f"; p of equal accuracies: {_p(p_value)}"
    needed = number(overall, "pairs_needed")
    to_find = number(overall, "difference_to_find")
    if needed is not None and to_find is not None and needed != float("inf"):
        told += f"; about {whole(round(needed))} pairs would tell a difference of {100 * to_find:.1f} points"
    return Table(_columns(""), body, f"{told}. {CAPTION}")


def _columns(title: str) -> list[Column]:
    return [Column(title, False), Column("A"), Column("B"), Column("A − B")]


def _measure(words: str, share: bool, measure: dict[str, Any]) -> list[Cell]:
    first, second = number(measure, "first"), number(measure, "second")
    show = percent if share else fixed
    return [Cell(words), Cell(show(first)), Cell(show(second)), _difference(measure, share)]


def _difference(measure: dict[str, Any], share: bool) -> Cell:
    found = span(measure, "difference")
    if found is None:
        return Cell(NONE)
    scaled = found.scaled(100) if share else found
    digits = 1 if share else 3
    shown, ends = fixed(scaled.estimate, digits, signed=True), fixed_range(scaled, digits, signed=True)
    return Cell(shown, ends, strong=found.leaves_out_zero)


def _groups(groups: dict[str, Any], word: str) -> Table:
    names = sorted(groups, key=lambda name: (-(count(groups, name, "count") or 0), name))
    body = []
    for name in names:
        row = _measure(name, True, table(groups, name, "accuracy"))
        p_value = number(groups, name, "holm_p_value")
        body.append([row[0], Cell(whole(count(groups, name, "count"))), *row[1:], Cell(_p(p_value))])
    columns = _columns(word)
    return Table(
        [columns[0], Column("pairs"), *columns[1:], Column("adjusted p")],
        body,
        "Accuracy in %. p adjusted for the number of groups (Holm).",
    )


def _figures(figures: list[dict[str, Any]]) -> Table:
    body = []
    for figure in figures:
        row = _measure(text(figure, "name") or NONE, figure.get("share") is not False, figure)
        body.append([row[0], Cell(whole(count(figure, "count"))), *row[1:], Cell(_p(number(figure, "p_value")))])
    columns = _columns("figure")
    return Table([columns[0], Column("examples"), *columns[1:], Column("p")], body, CAPTION)


def _p(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else fixed(value)
