"""Data checks: what `vrm doctor` found, the worst first."""

from __future__ import annotations

from typing import Any

from vrm.report.blocks import Block, Bullets, Cell, Column, Fold, Heading, Paragraph, Section, Table, Tone
from vrm.report.charts import Drawer
from vrm.report.inputs import Document
from vrm.report.values import NONE, at, count, number, percent, plain, rows, table, text, whole
from vrm.report.view import View

TONES: dict[str, Tone] = {"error": "bad", "warning": "warn", "info": "", "ok": "good", "not run": "muted"}
SHOWN = ("error", "warning", "info")
"""Severities in the table; the rest are folded."""

MAX_PLACES = 5


def doctor_section(view: View, draw: Drawer) -> Section:
    """A verdict, the findings, and the profile of each file."""
    blocks: list[Block] = []
    missing = []
    documents = view.inputs.of_kind("doctor")
    for document in documents:
        findings = [finding for finding in rows(document.content, "findings") if isinstance(finding, dict)]
        if not findings:
            missing.append(f"{document.source}: no findings")
            continue
        if len(documents) > 1:
            blocks.append(Heading(document.source))
        blocks += _document(view, document, findings)
    return Section("doctor", "Data checks", blocks, missing)


def _document(view: View, document: Document, findings: list[dict[str, Any]]) -> list[Block]:
    found: list[Block] = [_verdict(document, findings)]
    several = len(table(document.content, "files")) > 1
    shown = [finding for finding in findings if text(finding, "severity") in SHOWN]
    if shown:
        found.append(_table(view, shown, several))
    rest = [finding for finding in findings if finding not in shown]
    if rest:
        items = [(f"{_name(finding)}: {text(finding, 'message') or ''}", _tone(finding)) for finding in rest]
        found.append(Fold("Looked for and not found, or not run", [Bullets(items)], f"{len(rest)} checks"))
    for path, profile in table(document.content, "files").items():
        if isinstance(profile, dict) and profile:
            found.append(Fold(f"Profile of {view.file(path)}", [_profile(profile)], path))
    return found


def _verdict(document: Document, findings: list[dict[str, Any]]) -> Paragraph:
    counts = {severity: sum(text(finding, "severity") == severity for finding in findings) for severity in SHOWN}
    words = {"error": "error", "warning": "warning", "info": "remark"}
    told = ", ".join(f"{size} {words[key]}{'' if size == 1 else 's'}" for key, size in counts.items()) + "."
    if at(document.content, "invalid"):
        return Paragraph(f"Something here would invalidate training or evaluation. {told}", "bad")
    return Paragraph(f"Nothing found that would invalidate training. {told}", "good")


def _table(view: View, findings: list[dict[str, Any]], several: bool) -> Table:
    columns = [Column("", False), Column("finding", False, sentences=True), Column("rows"), Column("share, %")]
    columns += [Column("file", False)] * several + [Column("where", False), Column("what to do", False, sentences=True)]
    return Table(columns, [_row(view, finding, several) for finding in findings])


def _row(view: View, finding: dict[str, Any], several: bool) -> list[Cell]:
    files = ", ".join(view.file(str(file)) for file in rows(finding, "files"))
    places = [str(place) for place in rows(finding, "places")]
    more = f", and {len(places) - MAX_PLACES} more" if len(places) > MAX_PLACES else ""
    allowed = " (allowed)" if at(finding, "allowed") else ""
    size, total = count(finding, "count"), count(finding, "total")
    return [
        Cell(f"{text(finding, 'severity') or ''}{allowed}", tone=_tone(finding), strong=_tone(finding) == "bad"),
        Cell(text(finding, "message") or _name(finding)),
        Cell(whole(size) if size else NONE),
        Cell(percent(number(finding, "share") if size and total else None)),
        *[Cell(files)] * several,
        Cell(", ".join(places[:MAX_PLACES]) + more),
        Cell(text(finding, "advice") or ""),
    ]


def _name(finding: dict[str, Any]) -> str:
    return (text(finding, "name") or "").replace("_", " ")


def _tone(finding: dict[str, Any]) -> Tone:
    return TONES.get(text(finding, "severity") or "", "")


def _profile(profile: dict[str, Any]) -> Table:
    return Table(
        [Column("", False), Column("", False)],
        [[Cell(key.replace("_", " ")), Cell(plain(value))] for key, value in profile.items()],
    )
