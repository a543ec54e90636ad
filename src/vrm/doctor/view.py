"""The doctor's report for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Column, Table

from vrm.results.doctor import DoctorReport, Finding, Severity
from vrm.results.formats import table

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
MAX_NAMED = 6
"""Categories, sources and objectives that the profile names one by one; JSON has more."""

MAX_NAME = 24


def print_report(console: Console, report: DoctorReport) -> None:
    """Print the profile of the files, the findings with what to do about them, and the verdict."""
    console.print(_profile_table(report))
    console.print(_findings_table(report))
    for severity, title in ((Severity.OK, "Looked for and not found"), (Severity.NOT_RUN, "Not looked for")):
        lines = _by_name(report.of(severity), with_message=severity == Severity.NOT_RUN)
        if lines:
            console.print(f"[bold]{title}[/]")
            for line in lines:
                console.print(Padding(escape(line), (0, 0, 0, 2)))
    console.print(_verdict(report))


def _findings_table(report: DoctorReport) -> Table:
    columns = [
        Column("", no_wrap=True),
        Column("finding", overflow="fold", max_width=24),
        "share",
        Column("what was found, and what to do", ratio=1),
    ]
    findings = table("Findings", columns, show_lines=True)
    for finding in report.findings:
        if finding.severity in _STYLES:
            share = "" if finding.shown_share is None else f"{100 * finding.shown_share:.1f} %"
            name = f"{escape(finding.name)}\n[dim]{escape(', '.join(finding.files))}[/]"
            findings.add_row(f"[{_STYLES[finding.severity]}]{finding.severity}[/]", name, share, _text(finding))
    return findings


def _text(finding: Finding) -> str:
    lines = [escape(finding.message)]
    if finding.allowed:
        lines.append("[dim]An error that has been allowed.[/]")
    if finding.advice:
        lines.append(f"[bold]Do:[/] {escape(finding.advice)}")
    if finding.places:
        more = ", ..." if finding.count > len(finding.places) else ""
        lines.append(f"[dim]{escape(_places(finding.places))}{more}[/]")
    return "\n".join(lines)


def _places(places: Sequence[str]) -> str:
    """Files without their directories, and each named once if its places follow each other; JSON has whole paths."""
    shown, last = [], None
    for place in places:
        short = " and ".join(part.rpartition("/")[2] for part in place.split(" and "))
        file, _, line = short.partition(":")
        shown.append(f":{line}" if file == last and " and " not in short else short)
        last = file
    return ", ".join(shown)


def _by_name(findings: Sequence[Finding], with_message: bool) -> list[str]:
    """One line a finding, or one line with all names; the files follow where there are several."""
    merged: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in findings:
        merged[finding.name, finding.message if with_message else ""].append(" and ".join(finding.files))
    if with_message:
        return [f"{name} ({', '.join(files)}): {message}" for (name, message), files in merged.items()]
    by_files: dict[str, list[str]] = defaultdict(list)
    for (name, _), files in merged.items():
        by_files[", ".join(files)].append(name)
    return [f"{files}: {', '.join(names)}" for files, names in by_files.items()]


def _verdict(report: DoctorReport) -> str:
    errors = list(dict.fromkeys(finding.name for finding in report.of(Severity.ERROR)))
    if errors:
        named = " ".join(f"--allow {name}" for name in errors)
        return (
            f"[bold red]Training or evaluation on this data would be invalid:[/] {', '.join(errors)}. "
            f"If you know better: {named}"
        )
    warnings = len(report.of(Severity.WARNING))
    further = f", {warnings} warning{'s' * (warnings != 1)}" if warnings else ""
    return f"[bold green]Nothing that would invalidate training[/]{further}."


def _profile_table(report: DoctorReport) -> Table:
    caption = "lengths: 5 % / median / 95 % / longest"
    if report.tokenizer is not None:
        caption += f"; tokens of {escape(str(report.tokenizer['name']))}, row: prompt and the longest completion"
    files = [Column(escape(name), justify="right", overflow="fold") for name in report.files]
    profiles = table("Profile", ["", *files], caption)
    for label, show in _PROFILE:
        cells = [show(profile) for profile in report.files.values()]
        if any(cells):
            profiles.add_row(label, *(escape(cell) for cell in cells))
    return profiles


def _count(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda profile: f"{profile[key]:,}" if profile[key] else ""


def _lengths(kind: str, part: str) -> Callable[[Mapping[str, Any]], str]:
    def show(profile: Mapping[str, Any]) -> str:
        lengths = profile.get(kind, {}).get(part)
        return " / ".join(f"{lengths[name]:,.0f}" for name in ("p5", "p50", "p95", "max")) if lengths else ""

    return show


def _named(key: str, least: int = 1) -> Callable[[Mapping[str, Any]], str]:
    def show(profile: Mapping[str, Any]) -> str:
        counts = profile[key]
        if len(counts) < least:
            return ""
        if len(counts) > MAX_NAMED:
            total = profile.get(f"num_{key}", len(counts))
            return f"{total:,}, the largest with {next(iter(counts.values())):,}"
        return ", ".join(f"{_cut(name)} {count:,}" for name, count in counts.items())

    return show


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def _kinds(profile: Mapping[str, Any]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in profile["kinds"].items())


_PROFILE: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
    ("rows", _count("rows")),
    ("usable", _count("usable")),
    ("kinds", _kinds),
    ("different prompts", _count("prompts")),
    ("labelled pairs", _count("pairs")),
    ("ties", _count("ties")),
    ("soft labels", _count("soft_labels")),
    ("target margins", _count("target_margins")),
    ("annotators", _count("annotators")),
    ("sources", _named("sources", least=2)),
    ("categories", _named("categories")),
    ("rated objectives", _named("rated_objectives")),
    ("voted objectives", _named("voted_objectives")),
    ("characters: prompt", _lengths("characters", "prompt")),
    ("  chosen", _lengths("characters", "chosen")),
    ("  rejected", _lengths("characters", "rejected")),
    ("tokens: prompt", _lengths("tokens", "prompt")),
    ("  chosen", _lengths("tokens", "chosen")),
    ("  rejected", _lengths("tokens", "rejected")),
    ("  row", _lengths("tokens", "row")),
    ("columns not read", _named("ignored_columns")),
]
