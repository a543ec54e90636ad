"""Accuracy: every model on every file, with intervals, counts, and what length alone would score."""

from __future__ import annotations

import math
from collections.abc import Callable

from vrm.metrics import Interval, PreferenceSummary
from vrm.report.blocks import Block, Cell, Chart, Charts, Column, Fold, Paragraph, Section, Table
from vrm.report.charts import Bar, Drawer
from vrm.report.sections.best import (
    Paired,
    accuracy_of,
    count_of,
    known_best,
    length_controlled_of,
    longer_wins_of,
    main_figure,
    paired_differences,
)
from vrm.report.values import known, percent, percent_cell, scaled, whole
from vrm.report.view import Measurement, View
from vrm.results import BenchmarkEntry, Evaluation, FigureResult
from vrm.results.formats import FEW_PROMPTS, few_words

MAX_POINTS = 16
"""Models that one chart of a file shows."""

GROUPINGS: dict[str, Callable[[Evaluation], dict[str, PreferenceSummary]]] = {
    "source": lambda evaluation: evaluation.by_source,
    "category": lambda evaluation: evaluation.by_category,
}

CAPTION = (
    "Accuracy in %, ties left out and equal rewards counted half, with 95 % intervals over prompts. Bold: "
    "better than every other model on the file, by the interval of the paired difference where a comparison was given "
    "and else by intervals that do not overlap; no bold means that the data cannot tell. Length-controlled: mean of "
    "the accuracies where the chosen completion is the longer and where it is the shorter. Longer wins: what always "
    "preferring the longer completion scores. Style-controlled, and style wins: the same for a model of style alone "
    "(length, lists, headings, bold, ...) that is fitted on the other folds of the file."
)


def accuracy_section(view: View, draw: Drawer) -> Section:
    """One table of all models and files, a chart a file, and groups in folds."""
    paired = paired_differences(view)
    datasets = view.by_dataset(lambda entry: accuracy_of(entry) is not None)
    if not datasets:
        return Section("accuracy", "Accuracy")
    blocks: list[Block] = [_table(datasets, paired)]
    for name, measured in datasets.items():
        few = few_words(min(filter(None, map(_prompts, measured)), default=FEW_PROMPTS))
        blocks += [Paragraph(f"{name}: {few}")] if few else []
    charts = [chart for name, measured in datasets.items() if (chart := _chart(name, measured, draw))]
    if charts:
        blocks.append(Charts(charts))
    for name, measured in datasets.items():
        folds = [_figures(measured, name), *(_groups(measured, word, name) for word in GROUPINGS)]
        blocks += [fold for fold in folds if fold]
    return Section("accuracy", "Accuracy", blocks)


def _prompts(entry: Measurement) -> int:
    """Prompts behind its figures; 0 where that is unknown."""
    if isinstance(entry.content, BenchmarkEntry):
        return entry.content.prompts
    return entry.file.pairs.prompts if entry.file.pairs else 0


def _table(datasets: dict[str, list[Measurement]], paired: Paired) -> Table:
    styled = any(_style(entry) is not None for measured in datasets.values() for entry in measured)
    columns = [Column("model", False), Column("pairs"), Column("accuracy, %"), Column("length-controlled")]
    columns += [Column("style-controlled")] * styled + [Column("longer wins")] + [Column("style wins")] * styled
    parts = []
    for name, measured in datasets.items():
        best = known_best(measured, paired)
        rows = [_row(entry, place == best, styled) for place, entry in enumerate(measured)]
        parts.append((_part(name, measured[0]), rows))
    return Table.in_parts(columns, parts, CAPTION)


def _part(name: str, entry: Measurement) -> str:
    """The file; of a benchmark also what its main figure is called."""
    figure = main_figure(entry)
    if figure is None or not figure.column or not isinstance(entry.content, BenchmarkEntry):
        return name
    return f"{entry.content.title or name}: {figure.column}"


def _row(entry: Measurement, best: bool, styled: bool) -> list[Cell]:
    pairs, style = entry.file.pairs, entry.file.style_controlled
    cells = [
        Cell(entry.model),
        Cell(whole(count_of(entry)), f"{pairs.ties:,} ties" if pairs and pairs.ties else ""),
        percent_cell(accuracy_of(entry), strong=best),
        Cell(percent(length_controlled_of(entry))),
    ]
    if styled:
        cells.append(percent_cell(_style(entry)))
    cells.append(Cell(percent(longer_wins_of(entry)), tone="muted"))
    if styled:
        cells.append(Cell(percent(style.accuracy.style_wins.value if style else None), tone="muted"))
    return cells


def _style(entry: Measurement) -> Interval | None:
    style = entry.file.style_controlled
    return known(style.accuracy.accuracy if style else None)


def _chart(name: str, measured: list[Measurement], draw: Drawer) -> Chart | None:
    """Points with whiskers for the models of a file, and a mark where length alone would be."""
    if len(measured) < 2:
        return None
    shown = measured[:MAX_POINTS]
    accuracies = [(entry, accuracy_of(entry)) for entry in shown]
    points = [Bar(entry.model, scaled(accuracy, 100), entry.series) for entry, accuracy in accuracies if accuracy]
    reference = [100 * longer_wins_of(entry) for entry in shown]
    more = f" {len(measured) - len(shown)} more models are in the table." if len(measured) > len(shown) else ""
    caption = f"95 % intervals; the grey mark is what “the longer wins” scores.{more}"
    return draw.points(points, "accuracy, %", name, caption, reference)


def _groups(measured: list[Measurement], word: str, name: str) -> Fold | None:
    groups = [GROUPINGS[word](entry.file) for entry in measured]
    names = sorted({group for by_name in groups for group in by_name})
    if len(names) < 2:
        return None
    sizes = {group: max(by_name[group].count for by_name in groups if group in by_name) for group in names}
    body = []
    for group in sorted(names, key=lambda group: (-sizes[group], group)):
        summaries = [by_name.get(group) for by_name in groups]
        longer = [summary.longer_wins.value for summary in summaries if summary]
        baseline = next((value for value in longer if not math.isnan(value)), None)
        shown = [percent_cell(summary.accuracy if summary else None) for summary in summaries]
        body.append([Cell(group), Cell(whole(sizes[group])), *shown, Cell(percent(baseline), tone="muted")])
    models = [Column(entry.model) for entry in measured]
    columns = [Column(word, False), Column("pairs"), *models, Column("longer wins")]
    return Fold(f"{name} by {word}", [Table(columns, body)], f"{len(names)} groups")


def _figures(measured: list[Measurement], name: str) -> Fold | None:
    """All figures of a benchmark, in its own order."""
    by_cell: dict[tuple[str, str, str], dict[str, FigureResult]] = {}
    for entry in measured:
        for figure in entry.figures:
            by_cell.setdefault((figure.level, figure.row, figure.column), {})[entry.model] = figure
    if len(by_cell) < 2:
        return None
    levels: dict[str, list[list[Cell]]] = {}
    for (level, row, column), by_model in by_cell.items():
        first = next(iter(by_model.values()))
        shown = [percent_cell(by_model.get(entry.model)) for entry in measured]
        longer = Cell(percent(first.longer_wins), tone="muted")
        levels.setdefault(level, []).append([Cell(row), Cell(column), Cell(whole(first.examples)), *shown, longer])
    columns = [Column("", False), Column("figure", False), Column("examples")]
    columns += [*(Column(entry.model) for entry in measured), Column("longer wins")]
    return Fold(f"All figures of {name}", [Table.in_parts(columns, levels.items())], f"{len(by_cell)} figures")
