"""Settings and versions: what somebody needs to get the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vrm.report.blocks import Block, Cell, Column, Fold, Heading, Section, Table
from vrm.report.charts import Drawer
from vrm.report.inputs import Document
from vrm.report.values import NONE, plain, table, text
from vrm.report.view import View

HASHES = {
    "model_sha256": "model",
    "model_hash": "model",
    "backbone_sha256": "backbone",
    "template_sha256": "chat template",
    "template_hash": "chat template",
}
DIGITS = 12
"""Of a hash, in a table; the fold below has all."""


def settings_section(view: View, draw: Drawer) -> Section:
    """Inputs with their hashes, versions, and every setting in folds."""
    inputs = view.inputs
    blocks: list[Block] = [_inputs_table(view)]
    versions = [(document.source, table(document.content, "versions")) for document in inputs.documents]
    versions += [(run.source, table(run.summary, "versions")) for run in inputs.runs]
    versions = [(source, found) for source, found in versions if found]
    if versions:
        blocks += [Heading("Versions"), _versions_table(versions)]
    folds = [fold for fold in map(_document_fold, inputs.documents) if fold]
    for run in inputs.runs:
        config = table(run.summary, "config")
        if config:
            folds.append(Fold(f"Configuration of {view.run(run)}", [_settings_table(config)], run.source))
    if folds:
        blocks += [Heading("Settings"), *folds]
    return Section("settings", "Settings and versions", blocks)


def _inputs_table(view: View) -> Table:
    names = [name for name in dict.fromkeys(HASHES.values()) if any(_hash(d, name) for d in view.inputs.documents)]
    rows = []
    for document in view.inputs.documents:
        models = [text(document.content, key) for key in ("model", "model_a", "model_b")]
        rows.append(
            [Cell(document.source), Cell(document.kind), Cell(", ".join(model for model in models if model) or NONE)]
            + [Cell((_hash(document, name) or NONE)[:DIGITS]) for name in names]
        )
    for run in view.inputs.runs:
        rows.append(
            [Cell(run.source), Cell("run"), Cell(f"{run.source.rstrip('/')}/model"), *[Cell(NONE)] * len(names)]
        )
    columns = [Column("input", False), Column("kind", False), Column("model", False)]
    return Table([*columns, *(Column(f"{name} hash", False) for name in names)], rows)


def _hash(document: Document, name: str) -> str | None:
    return next(
        (found for key, label in HASHES.items() if label == name and (found := text(document.content, key))), None
    )


def _versions_table(versions: list[tuple[str, dict[str, Any]]]) -> Table:
    """One column where all inputs agree, and one an input where they do not."""
    groups: dict[str, list[str]] = {}
    found: dict[str, dict[str, Any]] = {}
    for source, packages in versions:
        key = repr(sorted(packages.items(), key=str))
        groups.setdefault(key, []).append(source)
        found[key] = packages
    packages = list(dict.fromkeys(package for entry in found.values() for package in entry))
    titles = ["all inputs"] if len(groups) == 1 else [", ".join(dict.fromkeys(sources)) for sources in groups.values()]
    rows = [[Cell(package), *(Cell(plain(found[key].get(package))) for key in groups)] for package in packages]
    return Table([Column("package", False), *(Column(title, False) for title in titles)], rows)


def _document_fold(document: Document) -> Fold | None:
    content = document.content
    shown: dict[str, Any] = {key: content[key] for key in ("command", "head", *HASHES) if content.get(key) is not None}
    shown |= {"settings": content["settings"]} if table(content, "settings") else {}
    return Fold(f"Settings of the {document.kind}", [_settings_table(shown)], document.source) if shown else None


def _settings_table(settings: dict[str, Any]) -> Table:
    rows = [[Cell(key), Cell(plain(value))] for key, value in _flat(settings)]
    return Table([Column("setting", False), Column("value", False)], rows)


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
