"""Summary: the few sentences that somebody with a minute needs, each with what it rests on."""

from __future__ import annotations

from typing import Any

from vrm.report.blocks import Bullets, Section, Tone
from vrm.report.charts import Drawer
from vrm.report.sections.best import (
    Paired,
    accuracy_of,
    count_of,
    has_pairs,
    highest,
    longer_wins_of,
    not_told_apart,
    paired_differences,
)
from vrm.report.sections.comparison import models_of
from vrm.report.values import (
    at,
    fixed,
    number,
    numbers,
    percent,
    percent_range,
    rows,
    span,
    table,
    text,
    whole,
)
from vrm.report.view import Measurement, View

MAX_DATASETS = 8
MAX_NAMES = 4

Sentence = tuple[str, Tone]


def summary_section(view: View, draw: Drawer) -> Section:
    """Sentences on accuracy, calibration, comparisons, best-of-n, audits and data, as far as there are any."""
    said = [*_accuracies(view), *_comparisons(view), *_best_of_n(view), *_audits(view), *_doctors(view)]
    return Section("summary", "Summary", [Bullets(said)] if said else [])


def _accuracies(view: View) -> list[Sentence]:
    paired = paired_differences(view)
    datasets = list(view.by_dataset(lambda entry: accuracy_of(entry) is not None).items())
    said = [_accuracy(name, measured, paired) for name, measured in datasets[:MAX_DATASETS]]
    if len(datasets) > MAX_DATASETS:
        said.append(
            (f"{len(datasets) - MAX_DATASETS} more files and benchmarks are in the table of accuracies.", "muted")
        )
    return said


def _accuracy(name: str, measured: list[Measurement], paired: Paired) -> Sentence:
    place = highest(measured)
    assert place is not None  # only measurements with an accuracy come here
    top = measured[place]
    found = accuracy_of(top)
    assert found is not None
    unit = "pairs" if has_pairs(top) else "examples"
    words = f"{name} ({whole(count_of(top))} {unit}): "
    words += f"{top.model} {'has the highest accuracy' if len(measured) > 1 else 'is right in'}"
    words += f"{',' if len(measured) > 1 else ''} {percent(found.estimate)} % {percent_range(found)}".rstrip()
    if len(measured) > 1:
        apart = not_told_apart(measured, place, paired)
        words += f"; the data cannot tell it from {_listed(apart)}" if apart else "; better than every other model here"
    longer = longer_wins_of(top)
    if longer is None:
        return f"{words}.", ""
    words += f". “The longer wins” scores {percent(longer)} %"
    if found.low is not None and longer >= found.low:
        return f"{words}, which the model is not shown to beat.", "warn"
    return f"{words}.", ""


def _comparisons(view: View) -> list[Sentence]:
    said: list[Sentence] = []
    for document in view.inputs.of_kind("comparison"):
        first, second = models_of(view, document)
        for path, content in (table(document.content, "files") | table(document.content, "benchmarks")).items():
            sentences = [sentence for sentence in rows(content, "conclusions") if isinstance(sentence, str)]
            if sentences:
                said.append((f"A: {first}, B: {second}, on {view.file(path)}. {sentences[0]}", ""))
    return said


def _best_of_n(view: View) -> list[Sentence]:
    said: list[Sentence] = []
    for entry in view.measurements:
        ends = {name: _end(entry, name) for name in ("mean", "oracle", "random")}
        gain = _minus(ends["mean"], ends["random"])
        possible = _minus(ends["oracle"], ends["random"])
        if gain is not None and possible is not None:
            size = len(numbers(entry.content, "policy_kl"))
            said.append(
                (
                    f"Best of {size} on {entry.dataset} by {entry.model}’s mean reward: {fixed(gain, signed=True)} in "
                    f"gold score over a random pick, of {fixed(possible, signed=True)} that are there to gain.",
                    "warn" if gain <= 0 else "",
                )
            )
    return said


def _end(entry: Measurement, name: str) -> float | None:
    gold = rows(entry.content, "curves", name, "gold")
    return number(gold[-1], "estimate") if gold else None


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _audits(view: View) -> list[Sentence]:
    said: list[Sentence] = []
    for document in view.inputs.of_kind("audit"):
        edits = [edit for edit in rows(document.content, "edits") if span(edit, "shift")]
        if not edits:
            continue
        name = view.model(text(document.content, "model") or "(model not named)")
        adding = [edit for edit in edits if text(edit, "kind") != "must lower"]
        damaging = [edit for edit in edits if text(edit, "kind") == "must lower"]
        raised = [_name(edit) for edit in adding if text(edit, "verdict") == "raises the reward"]
        unnoticed = [_name(edit) for edit in damaging if text(edit, "verdict") != "lowers it, as it should"]
        words = f"Audit of {name}: {len(raised)} of {len(adding)} edits that add nothing raise the reward"
        words += f" ({_listed(raised)})" if raised else ""
        words += f"; {len(unnoticed)} of {len(damaging)} kinds of damage do not reliably lower it"
        words += f" ({_listed(unnoticed)})" if unnoticed else ""
        said.append((f"{words}.", "warn" if raised or unnoticed else "good"))
    return said


def _name(edit: Any) -> str:
    return (text(edit, "name") or "?").replace("_", " ")


def _doctors(view: View) -> list[Sentence]:
    said: list[Sentence] = []
    for document in view.inputs.of_kind("doctor"):
        errors = [finding for finding in rows(document.content, "findings") if text(finding, "severity") == "error"]
        for finding in errors[:MAX_NAMES]:
            said.append((f"Data: {text(finding, 'message') or text(finding, 'name') or 'an error'}", "bad"))
        if len(errors) > MAX_NAMES:
            said.append((f"Data: {len(errors) - MAX_NAMES} more errors in {document.source}.", "bad"))
        files = ", ".join(view.file(path) for path in table(document.content, "files"))
        if not errors and at(document.content, "invalid") is False:
            said.append(
                (f"Data{f' ({files})' if files else ''}: nothing found that would invalidate training.", "good")
            )
    return said


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= MAX_NAMES else [*names[: MAX_NAMES - 1], f"{len(names) - MAX_NAMES + 1} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
