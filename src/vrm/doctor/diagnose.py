"""`diagnose`: all checks on one or more files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vrm.choices import Storage
from vrm.data.load import Source, load_judgments, locate_sources
from vrm.data.readers import Location
from vrm.data.row_tables import joined
from vrm.data.statistics import objective_names
from vrm.data.validation import InvalidDataError
from vrm.doctor.across import check_across
from vrm.doctor.duplicates import check_duplicates
from vrm.doctor.findings import Check, DoctorSettings, check_extra, ordered, severity
from vrm.doctor.labels import check_labels
from vrm.doctor.languages import check_languages
from vrm.doctor.lengths import Reading, character_lengths, check_lengths, check_tokens, default_reading
from vrm.doctor.model_view import check_unfamiliar, check_with_model
from vrm.doctor.rows import FileRows, problem_places
from vrm.metrics import json_ready
from vrm.results.doctor import DoctorReport, Finding, Severity
from vrm.results.formats import plural

if TYPE_CHECKING:
    from vrm.inference.engine import RewardEngine

Progress = Callable[[str], object]
"""Called with what is being done."""

MAX_CATEGORIES = 100
"""Categories that a profile lists, the most frequent ones."""


def diagnose(
    sources: Source | str | Path | Iterable[Source | str | Path],
    *,
    settings: DoctorSettings | None = None,
    reading: Reading | None = None,
    engine: RewardEngine | None = None,
    progress: Progress = lambda text: None,
) -> DoctorReport:
    """Look for what is wrong with preference data.

    Several sources are taken as the parts of a split: what stands in two of them is an error. Bad rows are left out of
    the other checks and counted.

    Args:
        sources: one or more files, directories or Hub names.
        settings: what to look for and what to call it; None for the defaults.
        reading: tokenizer and limit of tokens; None takes the embedded backbone's, where its package is installed.
        engine: a model, for the check of labels against it; None leaves that check out.
        progress: told what is being done.

    Raises:
        MissingExtraError: datasketch or py3langid is not installed.
        DataError: a source does not exist or is of no known format.
        ConfigError: there is no source.
    """
    check_extra()
    settings = settings or DoctorSettings()
    files = _load(locate_sources(sources), progress)
    known = reading or default_reading()
    findings: list[Finding] = []
    profiles: dict[str, dict[str, Any]] = {}
    for rows in files:
        of_file, profiles[rows.name] = _check_file(rows, settings, known, engine, progress)
        findings += of_file
    if len(files) > 1:
        progress("between the files: prompts")
        findings += check_across([rows for rows in files if len(rows)], settings)
    tokenizer = None if isinstance(known, str) else {"name": known.name, "limit": known.limit}
    return DoctorReport(json_ready(settings), tokenizer, ordered(_allowed(findings, settings)), profiles)


def _load(sources: Mapping[str, tuple[Source, Location]], progress: Progress) -> list[FileRows]:
    """The rows of each source by itself."""
    files = []
    for name, (source, _) in sources.items():
        progress(f"{name}: reading")
        try:
            result = load_judgments(source, on_bad_rows="skip", storage=Storage.AUTO)
            judgments, report = joined([*result.by_source.values()]), result.report
        except InvalidDataError as error:
            # Not one usable row: a finding as well.
            judgments, report = [], error.report
        files.append(FileRows.of(name, judgments, report))
    return files


def _check_file(
    rows: FileRows, settings: DoctorSettings, reading: Reading | str, engine: RewardEngine | None, progress: Progress
) -> tuple[list[Finding], dict[str, Any]]:
    findings = check_rows(rows, settings)
    if not len(rows):
        return findings, _profile(rows)
    findings += check_labels(rows, settings)
    progress(f"{rows.name}: duplicates")
    findings += check_duplicates(rows, settings)
    progress(f"{rows.name}: lengths")
    findings += check_lengths(rows, settings)
    progress(f"{rows.name}: tokens")
    of_tokens, tokens = check_tokens(rows, settings, reading)
    findings += of_tokens
    progress(f"{rows.name}: languages")
    findings.append(check_languages(rows, settings, not isinstance(reading, str) and reading.english_only))
    if engine is not None:
        progress(f"{rows.name}: the model's view")
        findings.append(check_with_model(rows, settings, engine))
        findings.append(check_unfamiliar(rows, settings, engine))
    return findings, {**_profile(rows), "tokens": tokens}


def check_rows(rows: FileRows, settings: DoctorSettings) -> list[Finding]:
    """Rows that cannot be used, and why: all, those with identical sides, and those with an empty completion."""
    report = rows.report
    bad, total = report.bad.total(), report.rows
    unreadable = not total or (report.problems and not bad)
    reasons = ", ".join(f"{count:,} x {kind}" for kind, count in report.reasons().items())
    places = problem_places(report.problems, settings.examples, with_kind=True)
    check = Check("bad_rows", (rows.name,), bad, total, places)
    all_bad = check.finding(
        Severity.ERROR if unreadable else severity(bad, total, error=settings.thresholds.bad_rows, warning=0.0),
        f"{plural(bad, 'row')} cannot be used ({check.percent})" + (f": {reasons}." if reasons else "."),
        f"Repair them: vrm train stops at them unless on_bad_rows is skip. {report.hint}".rstrip()
        if bad or unreadable
        else "",
        {"reasons": report.reasons()},
    )
    return [
        all_bad,
        _bad_kind(rows, settings, "identical_sides", "identical sides", "Two equal sides cannot be compared."),
        _bad_kind(rows, settings, "empty_completions", "empty completion", "A model refusing by silence needs a text."),
    ]


def _bad_kind(rows: FileRows, settings: DoctorSettings, name: str, kind: str, advice: str) -> Finding:
    problems = [problem for problem in rows.report.problems if problem.kind == kind]
    count = len({(problem.file, problem.line) for problem in problems})
    check = Check(name, (rows.name,), count, rows.report.rows, problem_places(problems, settings.examples))
    return check.by_share(
        f"{plural(count, 'row has', 'rows have')} {kind if kind.endswith('s') else 'an ' + kind} ({check.percent}); "
        "counted among the bad rows.",
        f"{advice} Take them out.",
        warning=0.0,
    )


def _profile(rows: FileRows) -> dict[str, Any]:
    """Numbers of a file that are neither good nor bad."""
    judgments, preferences = rows.judgments, [pair.preference for pair in rows.pairs]
    rated, voted = objective_names(judgments)
    categories = Counter(row.category for row in judgments if row.category is not None)
    return {
        "path": judgments[0].file if judgments else "",
        "rows": rows.report.rows,
        # Rows of several raters of one pair are one judgment by now.
        "usable": rows.report.good.total(),
        "kinds": dict(rows.report.kinds),
        "ignored_columns": dict(rows.report.ignored),
        "prompts": len(set(rows.prompts)),
        "pairs": len(rows.pairs),
        "ties": sum(value == 0.5 for value in preferences),
        "soft_labels": sum(value not in (0.0, 0.5, 1.0) for value in preferences),
        "target_margins": sum(row.margin != 0 for row in judgments),
        "annotators": len({name for row in judgments for name in row.annotators} - {None}),
        "sources": dict(Counter(row.source for row in judgments).most_common()),
        "num_categories": len(categories),
        "categories": dict(categories.most_common(MAX_CATEGORIES)),
        "rated_objectives": _label_counts((entry for row in judgments for entry in row.ratings or []), rated),
        "voted_objectives": _label_counts((row.objective_votes or {} for row in judgments), voted),
        "characters": character_lengths(rows),
    }


def _label_counts(labels: Iterable[dict[str, float]], names: Sequence[str]) -> dict[str, int]:
    counts = Counter(name for entry in labels for name in entry)
    return {name: counts[name] for name in names}


def _allowed(findings: Iterable[Finding], settings: DoctorSettings) -> list[Finding]:
    """Errors that are allowed become warnings."""
    return [
        replace(finding, severity=Severity.WARNING, allowed=True)
        if finding.severity == Severity.ERROR and finding.name in settings.allow
        else finding
        for finding in findings
    ]
