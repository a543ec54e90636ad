"""Comparisons: two models on the same pairs, what differs, and what may be concluded."""

from __future__ import annotations

import math
from collections.abc import Mapping

from vrm.metrics import Interval
from vrm.report.blocks import Block, Bullets, Cell, Column, Fold, Heading, Section, Table, Tone
from vrm.report.charts import Drawer
from vrm.report.values import NONE, fixed, fixed_cell, known, percent, scaled, whole
from vrm.report.view import View
from vrm.results import BenchmarkComparisonEntry, ComparisonDocument, FileComparison, PairedComparison, PairedFigure
from vrm.results.formats import leaves_out_zero

CAPTION = (
    "Paired on the same examples; 95 % intervals of the difference by bootstrap over prompts, in points for shares; "
    "bold where the interval leaves out 0. p: of equal accuracies, exact McNemar, or sign flips over prompts where "
    "these repeat."
)


def comparison_section(view: View, draw: Drawer) -> Section:
    """Each comparison with its sentences, its measures, and its groups in folds."""
    blocks: list[Block] = []
    missing: list[str] = []
    for entry in view.inputs.of(ComparisonDocument):
        targets = compared_in(entry.content)
        if not targets:
            missing.append(f"{entry.source}: nothing was compared")
        for path, compared in targets.items():
            first, second = view.models_of(entry.content)
            blocks += [Heading(f"A: {first}, B: {second}, on {view.file(path)}"), *_target(compared)]
    return Section("comparison", "Comparisons", blocks, missing)


def compared_in(document: ComparisonDocument) -> Mapping[str, FileComparison | BenchmarkComparisonEntry]:
    """What was compared, files by path and benchmarks as they were asked for."""
    return {**document.files, **document.benchmarks}


def _target(compared: FileComparison | BenchmarkComparisonEntry) -> list[Block]:
    sentences: list[tuple[str, Tone]] = [(sentence, "") for sentence in compared.conclusions]
    blocks: list[Block] = [Bullets(sentences)] if sentences else []
    if isinstance(compared, BenchmarkComparisonEntry):
        return [*blocks, _figures(compared.figures)]
    blocks.append(_overall(compared.overall))
    for word, groups in (("source", compared.by_source), ("category", compared.by_category)):
        if len(groups) > 1:
            blocks.append(Fold(f"By {word}", [_groups(groups, word)], f"{len(groups)} groups"))
    return blocks


def _overall(overall: PairedComparison) -> Table:
    body = [
        _measure(words, share, measure.first, measure.second, measure.difference)
        for words, share, measure in (
            ("accuracy, %", True, overall.accuracy),
            ("length-controlled accuracy, %", True, overall.length_controlled),
            ("style-controlled accuracy, %", True, overall.style_controlled),
            ("NLL, nats (lower is better)", False, overall.negative_log_likelihood),
        )
    ]
    words = f"{whole(overall.count)} pairs of {whole(overall.prompts)} prompts"
    words += "" if math.isnan(overall.p_value) else f"; p of equal accuracies: {_p(overall.p_value)}"
    if math.isfinite(overall.pairs_needed) and not math.isnan(overall.difference_to_find):
        needed, difference = whole(round(overall.pairs_needed)), 100 * overall.difference_to_find
        words += f"; about {needed} pairs would tell a difference of {difference:.1f} points"
    return Table(_columns(""), body, f"{words}. {CAPTION}")


def _columns(title: str) -> list[Column]:
    return [Column(title, False), Column("A"), Column("B"), Column("A − B")]


def _measure(words: str, share: bool, first: float, second: float, difference: Interval) -> list[Cell]:
    show = percent if share else fixed
    return [Cell(words), Cell(show(first)), Cell(show(second)), _difference(difference, share)]


def _difference(difference: Interval, share: bool) -> Cell:
    if not known(difference):
        return Cell(NONE)
    shown, digits = (scaled(difference, 100), 1) if share else (difference, 3)
    return fixed_cell(shown, digits, signed=True, strong=leaves_out_zero(difference))


def _groups(groups: Mapping[str, PairedComparison], word: str) -> Table:
    body = []
    for name, group in sorted(groups.items(), key=lambda item: (-item[1].count, item[0])):
        accuracy = group.accuracy
        row = _measure(name, True, accuracy.first, accuracy.second, accuracy.difference)
        body.append([row[0], Cell(whole(group.count)), *row[1:], Cell(_p(group.holm_p_value))])
    columns = _columns(word)
    return Table(
        [columns[0], Column("pairs"), *columns[1:], Column("adjusted p")],
        body,
        "Accuracy in %. p adjusted for the number of groups (Holm).",
    )


def _figures(figures: tuple[PairedFigure, ...]) -> Table:
    body = []
    for figure in figures:
        row = _measure(figure.name or NONE, figure.share, figure.first, figure.second, figure.difference)
        body.append([row[0], Cell(whole(figure.count)), *row[1:], Cell(_p(figure.p_value))])
    columns = _columns("figure")
    return Table([columns[0], Column("examples"), *columns[1:], Column("p")], body, CAPTION)


def _p(value: float | None) -> str:
    if value is None or math.isnan(value):
        return NONE
    return "< 0.001" if value < 0.001 else fixed(value)
