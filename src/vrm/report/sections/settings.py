"""Settings and versions: what somebody needs to get the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vrm.metrics import field_values
from vrm.report.blocks import Block, Cell, Column, Fold, Heading, Section, Table
from vrm.report.charts import Drawer
from vrm.report.inputs import Input, Reported
from vrm.report.values import NONE, plain
from vrm.report.view import UNNAMED, View, model_names
from vrm.results import MeasuredModel

HASHES = {"model_sha256": "model", "backbone_sha256": "backbone", "template_sha256": "chat template"}
DIGITS = 12
"""Of a hash, in a table; the fold below has all."""


def settings_section(view: View, draw: Drawer) -> Section:
    """Inputs with their hashes, versions, and every setting in folds."""
    inputs = view.inputs
    blocks: list[Block] = [_inputs_table(view)]
    versions = [(entry.source, entry.content.versions) for entry in inputs.documents]
    versions += [(run.source, run.summary.versions) for run in inputs.runs if run.summary]
    versions = [(source, packages) for source, packages in versions if packages]
    if versions:
        blocks += [Heading("Versions"), _versions_table(versions)]
    folds = [fold for fold in map(_document_fold, inputs.documents) if fold]
    for run in inputs.runs:
        if run.summary and run.summary.config:
            folds.append(Fold(f"Configuration of {view.run(run)}", [_settings_table(run.summary.config)], run.source))
    if folds:
        blocks += [Heading("Settings"), *folds]
    return Section("settings", "Settings and versions", blocks)


def _inputs_table(view: View) -> Table:
    documents = view.inputs.documents
    keys = [key for key in HASHES if any(key in _identity(entry.content) for entry in documents)]
    rows = []
    for entry in documents:
        models = [name for name in model_names(entry.content) if name != UNNAMED]
        hashes = [Cell(_identity(entry.content).get(key, NONE)[:DIGITS]) for key in keys]
        rows.append([Cell(entry.source), Cell(entry.content.kind), Cell(", ".join(models) or NONE), *hashes])
    for run in view.inputs.runs:
        rows.append([Cell(run.source), Cell("run"), Cell(f"{run.source.rstrip('/')}/model"), *[Cell(NONE)] * len(keys)])
    columns = [Column("input", False), Column("kind", False), Column("model", False)]
    return Table([*columns, *(Column(f"{HASHES[key]} hash", False) for key in keys)], rows)


def _identity(document: Reported) -> dict[str, str]:
    """Head and hashes of the model of a document about one, as far as they are known."""
    if not isinstance(document, MeasuredModel):
        return {}
    values = field_values(document)
    return {key: values[key] for key in ("head", *HASHES) if values[key] is not None}


def _versions_table(versions: list[tuple[str, dict[str, str]]]) -> Table:
    """One column where all inputs agree, and one an input where they do not."""
    groups: dict[str, list[str]] = {}
    by_group: dict[str, dict[str, str]] = {}
    for source, packages in versions:
        key = repr(sorted(packages.items()))
        groups.setdefault(key, []).append(source)
        by_group[key] = packages
    names = list(dict.fromkeys(package for packages in by_group.values() for package in packages))
    titles = ["all inputs"] if len(groups) == 1 else [", ".join(dict.fromkeys(sources)) for sources in groups.values()]
    rows = [[Cell(name), *(Cell(plain(by_group[key].get(name))) for key in groups)] for name in names]
    return Table([Column("package", False), *(Column(title, False) for title in titles)], rows)


def _document_fold(entry: Input[Reported]) -> Fold | None:
    document = entry.content
    shown: dict[str, Any] = dict(_identity(document))
    shown |= {"settings": document.settings} if document.settings else {}
    return Fold(f"Settings of the {document.kind}", [_settings_table(shown)], entry.source) if shown else None


def _settings_table(settings: dict[str, Any]) -> Table:
    rows = [[Cell(key), Cell(plain(value))] for key, value in _flat(settings)]
    return Table([Column("setting", False), Column("value", False)], rows)


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
