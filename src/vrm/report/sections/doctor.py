"""Data checks: what `vrm doctor` found, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vrm.report.blocks import Block, Bullets, Cell, Column, Fold, Heading, Paragraph, Section, Table, Tone
from vrm.report.charts import Drawer
from vrm.report.values import NONE, percent, plain, whole
from vrm.report.view import View
from vrm.results import DoctorDocument, Finding, Severity

TONES: dict[Severity, Tone] = {
    Severity.ERROR: "bad",
    Severity.WARNING: "warn",
    Severity.INFO: "",
    Severity.OK: "good",
    Severity.NOT_RUN: "muted",
}
SHOWN = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "remark"}
"""Severities in the table, and what the verdict calls them; the rest are folded."""

MAX_PLACES = 5


def doctor_section(view: View, draw: Drawer) -> Section:
    """A verdict, the findings, and the profile of each file."""
    blocks: list[Block] = []
    missing = []
    documents = view.inputs.of(DoctorDocument)
    for entry in documents:
        if not entry.content.findings:
            missing.append(f"{entry.source}: no findings")
            continue
        if len(documents) > 1:
            blocks.append(Heading(entry.source))
        blocks += _document(view, entry.content)
    return Section("doctor", "Data checks", blocks, missing)


def _document(view: View, document: DoctorDocument) -> list[Block]:
    blocks: list[Block] = [_verdict(document)]
    shown = document.of(*SHOWN)
    if shown:
        blocks.append(_table(view, shown, len(document.files) > 1))
    rest = [finding for finding in document.findings if finding.severity not in SHOWN]
    if rest:
        items = [(f"{_name(finding)}: {finding.message}", TONES[finding.severity]) for finding in rest]
        blocks.append(Fold("Looked for and not found, or not run", [Bullets(items)], f"{len(rest)} checks"))
    for path, profile in document.files.items():
        if profile:
            blocks.append(Fold(f"Profile of {view.file(path)}", [_profile(profile)], path))
    return blocks


def _verdict(document: DoctorDocument) -> Paragraph:
    counts = {word: len(document.of(severity)) for severity, word in SHOWN.items()}
    words = ", ".join(f"{size} {word}{'' if size == 1 else 's'}" for word, size in counts.items()) + "."
    if document.invalid:
        return Paragraph(f"Something here would invalidate training or evaluation. {words}", "bad")
    return Paragraph(f"Nothing found that would invalidate training. {words}", "good")


def _table(view: View, findings: Sequence[Finding], several: bool) -> Table:
    columns = [Column("", False), Column("finding", False, sentences=True), Column("rows"), Column("share, %")]
    columns += [Column("file", False)] * several + [Column("where", False), Column("what to do", False, sentences=True)]
    return Table(columns, [_row(view, finding, several) for finding in findings])


def _row(view: View, finding: Finding, several: bool) -> list[Cell]:
    files, places = ", ".join(map(view.file, finding.files)), finding.places
    more = f", and {len(places) - MAX_PLACES} more" if len(places) > MAX_PLACES else ""
    allowed = " (allowed)" if finding.allowed else ""
    tone = TONES[finding.severity]
    return [
        Cell(f"{finding.severity}{allowed}", tone=tone, strong=tone == "bad"),
        Cell(finding.message or _name(finding)),
        Cell(whole(finding.count) if finding.count else NONE),
        Cell(percent(finding.shown_share)),
        *[Cell(files)] * several,
        Cell(", ".join(places[:MAX_PLACES]) + more),
        Cell(finding.advice),
    ]


def _name(finding: Finding) -> str:
    return finding.name.replace("_", " ")


def _profile(profile: Mapping[str, Any]) -> Table:
    return Table(
        [Column("", False), Column("", False)],
        [[Cell(key.replace("_", " ")), Cell(plain(value))] for key, value in profile.items()],
    )
