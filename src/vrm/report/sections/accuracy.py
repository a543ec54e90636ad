"""Accuracy: every model on every file, with intervals, counts, and what length alone would score."""

from __future__ import annotations

from typing import Any

from vrm.report.blocks import Block, Cell, Chart, Charts, Column, Fold, Section, Table
from vrm.report.charts import Bar, Drawer
from vrm.report.sections.best import (
    Paired,
    accuracy_of,
    count_of,
    has_pairs,
    known_best,
    length_controlled_of,
    longer_wins_of,
    main_figure,
    paired_differences,
)
from vrm.report.values import (
    NONE,
    Span,
    count,
    number,
    percent,
    percent_range,
    rows,
    span,
    table,
    text,
    whole,
)
from vrm.report.view import Measurement, View

MAX_POINTS = 16
"""Models that one chart of a file shows."""

GROUPINGS = {"by_source": "source", "by_category": "category"}

CAPTION = (
    "Accuracy in %, ties left out and equal rewards counted half, with 95 % bootstrap intervals over prompts. Bold: "
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
    charts = [_chart(name, measured, draw) for name, measured in datasets.items()]
    blocks.append(Charts([chart for chart in charts if chart is not None]))
    for name, measured in datasets.items():
        fold = _figures(measured, name)
        if fold is not None:
            blocks.append(fold)
        for key, word in GROUPINGS.items():
            fold = _groups(measured, key, word, name)
            if fold is not None:
                blocks.append(fold)
    return Section("accuracy", "Accuracy", [block for block in blocks if not isinstance(block, Charts) or block.items])


def _table(datasets: dict[str, list[Measurement]], paired: Paired) -> Table:
    styled = any(_style(entry) is not None for measured in datasets.values() for entry in measured)
    columns = [Column("model", False), Column("pairs"), Column("accuracy, %"), Column("length-controlled")]
    columns += [Column("style-controlled")] * styled + [Column("longer wins")] + [Column("style wins")] * styled
    body: list[list[Cell]] = []
    parts = {}
    for name, measured in datasets.items():
        parts[len(body)] = _part(name, measured[0])
        best = known_best(measured, paired)
        body += [_row(entry, place == best, styled) for place, entry in enumerate(measured)]
    return Table(columns, body, CAPTION, parts)


def _part(name: str, entry: Measurement) -> str:
    """The file; of a benchmark also what its main figure is called."""
    figure = main_figure(entry)
    title, column = text(entry.content, "title"), text(figure, "column")
    return name if has_pairs(entry) or column is None else f"{title or name}: {column}"


def _row(entry: Measurement, best: bool, styled: bool) -> list[Cell]:
    found, controlled = accuracy_of(entry), _style(entry)
    ties = count(entry.content, "pairs", "ties")
    cells = [
        Cell(entry.model),
        Cell(whole(count_of(entry)), f"{ties:,} ties" if ties else ""),
        Cell(percent(found.estimate if found else None), percent_range(found), strong=best),
        Cell(percent(length_controlled_of(entry))),
    ]
    if styled:
        cells.append(Cell(percent(controlled.estimate if controlled else None), percent_range(controlled)))
    cells.append(Cell(percent(longer_wins_of(entry)), tone="muted"))
    if styled:
        style_wins = number(entry.content, "style_controlled", "accuracy", "style_wins", "value")
        cells.append(Cell(percent(style_wins), tone="muted"))
    return cells


def _style(entry: Measurement) -> Span | None:
    return span(entry.content, "style_controlled", "accuracy", "accuracy")


def _chart(name: str, measured: list[Measurement], draw: Drawer) -> Chart | None:
    """Points with whiskers for the models of a file, and a mark where length alone would be."""
    if len(measured) < 2:
        return None
    shown = measured[:MAX_POINTS]
    points, reference = [], []
    for entry in shown:
        found = accuracy_of(entry)
        assert found is not None  # measurements without an accuracy were left out
        ends = [None if end is None else 100 * end for end in (found.low, found.high)]
        points.append(Bar(entry.model, 100 * found.estimate, ends[0], ends[1], entry.series))
        longer = longer_wins_of(entry)
        reference.append(None if longer is None else 100 * longer)
    more = f" {len(measured) - len(shown)} more models are in the table." if len(measured) > len(shown) else ""
    caption = f"95 % intervals; the grey mark is what “the longer wins” scores.{more}"
    return draw.points(points, "accuracy, %", name, caption, reference)


def _groups(measured: list[Measurement], key: str, word: str, name: str) -> Fold | None:
    names = sorted({group for entry in measured for group in table(entry.content, key)})
    if len(names) < 2:
        return None
    sizes = {group: max(count(entry.content, key, group, "count") or 0 for entry in measured) for group in names}
    body = []
    for group in sorted(names, key=lambda group: (-sizes[group], group)):
        spans = [span(entry.content, key, group, "accuracy") for entry in measured]
        shown = [Cell(percent(found.estimate) if found else NONE, percent_range(found)) for found in spans]
        longer = [number(entry.content, key, group, "longer_wins", "value") for entry in measured]
        known = [value for value in longer if value is not None]
        baseline = Cell(percent(known[0] if known else None), tone="muted")
        body.append([Cell(group), Cell(whole(sizes[group])), *shown, baseline])
    models = [Column(entry.model) for entry in measured]
    columns = [Column(word, False), Column("pairs"), *models, Column("longer wins")]
    return Fold(f"{name} by {word}", [Table(columns, body)], f"{len(names)} groups")


def _figures(measured: list[Measurement], name: str) -> Fold | None:
    """All figures of a benchmark, in its own order."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in measured:
        for figure in rows(entry.content, "figures"):
            key = (text(figure, "level") or "", text(figure, "row") or "", text(figure, "column") or "")
            found.setdefault(key, {})[entry.model] = figure
    if len(found) < 2:
        return None
    levels = {key[0]: place for place, key in reversed(list(enumerate(found)))}
    ordered = sorted(found, key=lambda key: levels[key[0]])
    body: list[list[Cell]] = []
    parts = {}
    for place, (level, row, column) in enumerate(ordered):
        if level and (place == 0 or ordered[place - 1][0] != level):
            parts[place] = level
        by_model = found[level, row, column]
        first = next(iter(by_model.values()))
        spans = [span(by_model.get(entry.model)) for entry in measured]
        shown = [Cell(percent(part.estimate if part else None), percent_range(part)) for part in spans]
        longer = Cell(percent(number(first, "longer_wins")), tone="muted")
        body.append([Cell(row), Cell(column), Cell(whole(count(first, "examples"))), *shown, longer])
    columns = [Column("", False), Column("figure", False), Column("examples")]
    columns += [*(Column(entry.model) for entry in measured), Column("longer wins")]
    return Fold(f"All figures of {name}", [Table(columns, body, "", parts)], f"{len(found)} figures")
