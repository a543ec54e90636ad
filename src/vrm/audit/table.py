"""An audit, and the list of edits, as tables for people; no model is loaded for either."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from vrm.audit.edits import EDITS, Edit
from vrm.metrics import Interval
from vrm.results.audit import MIN_PROMPTS, MOSTLY_NOTICED, AuditReport, EditKind, EditResult, Verdict
from vrm.results.formats import few_words, table

WIDE = 134
"""Columns of the terminal from which intervals stand beside their estimates and not under them."""

_STYLES = {
    Verdict.RAISES: "red",
    Verdict.AS_IT_SHOULD: "green",
    Verdict.NO_EFFECT: "green",
    Verdict.LOWERS: "green",
}


def print_audit(console: Console, report: AuditReport, title: str) -> None:
    """Print the edits by harm, correlations with length, and what was left out."""
    damage = "(-)" if console.options.ascii_only else "↓"
    console.print(_edits_table(report, title, damage, narrow=console.width < WIDE))
    console.print(_length_table(report))
    for line in _notes(report):
        console.print(line, markup=False)


def _edits_table(report: AuditReport, title: str, damage: str, narrow: bool) -> Table:
    look: dict[str, Any] = {"box": SIMPLE, "padding": (0, 1, 0, 0), "show_edge": False} if narrow else {}
    least = 8 if narrow else None
    columns = [
        Column("edit", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in ("of", "shift")),
        *(Column(name, justify="right", min_width=least) for name in ("raised %", "pairs wrong %", "harm %")),
        Column("verdict"),
    ]
    edits = table(f"Audit of {escape(title)}", columns, escape(_caption(report, damage)), **look)
    for result in report.edits:
        style = _STYLES.get(result.verdict, "yellow") if result.measured else "dim"
        edits.add_row(
            escape(result.name) + (f" {damage}" if result.kind == EditKind.LOWER else ""),
            str(result.measured),
            _cell(result.shift, "+.2f", narrow=narrow),
            _cell(result.raised, ".0f", 100, narrow=narrow),
            _cell(result.pairs_wrong, ".0f", 100, narrow=narrow),
            _cell(result.harm, ".0f", 100, narrow=narrow),
            f"[{style}]{result.verdict}[/]",
        )
    return edits


def _cell(interval: Interval | None, form: str, scale: float = 1.0, *, narrow: bool = False) -> str:
    """An estimate and its interval, under it where there is no room; `-` where there is none."""
    if interval is None:
        return "-"
    estimate, low, high = (f"{scale * value:{form}}" for value in (interval.estimate, interval.low, interval.high))
    if math.isnan(interval.low):
        return estimate
    ends = escape(f"[{low}, {high}]")
    return f"{estimate}\n[dim]{ends}[/]" if narrow else f"{estimate} {ends}"


def _caption(report: AuditReport, damage: str) -> str:
    reward = f"E[r] - {report.kappa:g} sd" if report.kappa else "E[r]"
    if report.beta is not None:
        reward = f"the effective reward (beta {report.beta:g})"
    return (
        f"{damage} is damage and must lower the reward; the other edits add nothing and must not raise it. of: "
        f"completions measured. shift: mean change of {reward} in units of {report.spread:.3g}, the "
        f"{report.spread_source}. raised: completions whose reward the edit raises. pairs wrong: pairs turned round by "
        f"the edit of their rejected side; {damage}: pairs whose damaged chosen side is preferred to the undamaged. "
        f"harm: raised less lowered, at least 0; {damage}: not lowered (blind is 50). {100 * report.confidence:.0f} % "
        f"intervals over {report.prompts} prompts. verdict: by the interval of the shift, which raises the reward "
        "above 0, lowers it below 0, and else has no clear effect (damage: is not noticed); damage that lowers it is "
        f"often not noticed where more than {100 * MOSTLY_NOTICED:.0f} % of the completions are not lowered; under "
        f"{MIN_PROMPTS} prompts there is none."
    )


def _length_table(report: AuditReport) -> Table:
    length = report.length
    caption = (
        "Correlation with characters among completions of one prompt (labels: of one judgment). What the labels have, "
        "a model may have inherited. longer preferred: of the labelled pairs of different length."
    )
    correlations = table("Length", ["", "Pearson", "Spearman", "longer preferred %"], caption, wrap=True)
    for name, relation, longer in (
        ("rewards", length.rewards, length.model_prefers_longer),
        ("labels", length.labels, length.labels_prefer_longer),
    ):
        pearson, spearman = (_cell(interval, "+.2f") for interval in (relation.pearson, relation.spearman))
        correlations.add_row(name, pearson, spearman, _cell(longer, ".0f", 100))
    return correlations


def _notes(report: AuditReport) -> Iterator[str]:
    """What was left out of the table, and why."""
    yield f"{report.completions} completions of {report.judgments} rows, {report.pairs} labelled pairs."
    few = few_words(report.prompts)
    if few:
        yield few
    skipped = [
        f"{result.name} {result.not_applicable}{_needs(result)}" for result in report.edits if result.not_applicable
    ]
    if skipped:
        yield f"Not applicable to so many completions: {', '.join(skipped)}."
    overlong = [f"{result.name} {result.overlong}" for result in report.edits if result.overlong]
    if overlong:
        yield f"Not measured, because the edited completion would be cut at the model's limit: {', '.join(overlong)}."
    if report.cut_completions:
        yield f"{report.cut_completions} completions are cut at the model's limit already; no edit was tried on them."
    if report.without_completions:
        yield f"{report.without_completions} rows have no completions."
    yield report.overlong


def _needs(result: EditResult) -> str:
    return f" (needs {result.needs})" if result.needs else ""


def print_edits(console: Console, edits: Mapping[str, Edit] = EDITS) -> None:
    """Print the names of edits with what they do."""
    texts = [Column(name) for name in ("what it does", "where it applies", "a reward")]
    listed = table("Edits", [Column("name", no_wrap=True), *texts])
    for name, edit in edits.items():
        listed.add_row(name, edit.summary, edit.needs or "everywhere", edit.kind)
    console.print(listed)
