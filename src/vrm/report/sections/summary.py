"""Summary: the few sentences that somebody with a minute needs, each with what it rests on."""

from __future__ import annotations

import math

from vrm.metrics import ORACLE, RANDOM
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
from vrm.report.sections.best_of_n import MEAN, lists_of
from vrm.report.sections.comparison import compared_in
from vrm.report.values import fixed, percent, percent_range, whole
from vrm.report.view import Measurement, View
from vrm.results import AuditDocument, ComparisonDocument, DoctorDocument, EditKind, EditResult, Severity, Verdict

MAX_DATASETS = 8
MAX_NAMES = 4

Sentence = tuple[str, Tone]


def summary_section(view: View, draw: Drawer) -> Section:
    """Sentences on accuracy, calibration, comparisons, best-of-n, audits and data, as far as there are any."""
    sentences = [*_accuracies(view), *_comparisons(view), *_best_of_n(view), *_audits(view), *_doctors(view)]
    return Section("summary", "Summary", [Bullets(sentences)] if sentences else [])


def _accuracies(view: View) -> list[Sentence]:
    paired = paired_differences(view)
    datasets = list(view.by_dataset(lambda entry: accuracy_of(entry) is not None).items())
    sentences = [_accuracy(name, measured, paired) for name, measured in datasets[:MAX_DATASETS]]
    if len(datasets) > MAX_DATASETS:
        more = len(datasets) - MAX_DATASETS
        sentences.append((f"{more} more files and benchmarks are in the table of accuracies.", "muted"))
    return sentences


def _accuracy(name: str, measured: list[Measurement], paired: Paired) -> Sentence:
    place = highest(measured)
    assert place is not None  # only measurements with an accuracy come here
    top = measured[place]
    accuracy = accuracy_of(top)
    assert accuracy is not None
    unit = "pairs" if has_pairs(top) else "examples"
    words = f"{name} ({whole(count_of(top))} {unit}): "
    words += f"{top.model} {'has the highest accuracy' if len(measured) > 1 else 'is right in'}"
    words += f"{',' if len(measured) > 1 else ''} {percent(accuracy.estimate)} % {percent_range(accuracy)}".rstrip()
    if len(measured) > 1:
        apart = not_told_apart(measured, place, paired)
        words += f"; the data cannot tell it from {_listed(apart)}" if apart else "; better than every other model here"
    longer = longer_wins_of(top)
    if math.isnan(longer):
        return f"{words}.", ""
    words += f". “The longer wins” scores {percent(longer)} %"
    if longer >= accuracy.low:
        return f"{words}, which the model is not shown to beat.", "warn"
    return f"{words}.", ""


def _comparisons(view: View) -> list[Sentence]:
    return [
        (f"A: {first}, B: {second}, on {view.file(path)}. {compared.conclusions[0]}", "")
        for entry in view.inputs.of(ComparisonDocument)
        for first, second in [view.models_of(entry.content)]
        for path, compared in compared_in(entry.content).items()
        if compared.conclusions
    ]


def _best_of_n(view: View) -> list[Sentence]:
    sentences: list[Sentence] = []
    for entry in view.measurements:
        lists = lists_of(entry)
        if lists is None:
            continue
        ends = {name: curve.gold[-1].estimate for name, curve in lists.curves.items() if curve.gold}
        mean, oracle, random = (ends.get(name, math.nan) for name in (MEAN, ORACLE, RANDOM))
        if not math.isnan(mean + oracle + random):
            gain = mean - random
            words = (
                f"Best of {len(lists.policy_kl)} on {entry.dataset} by {entry.model}’s mean reward: "
                f"{fixed(gain, signed=True)} in gold score over a random pick, of "
                f"{fixed(oracle - random, signed=True)} that are there to gain."
            )
            sentences.append((words, "warn" if gain <= 0 else ""))
    return sentences


def _audits(view: View) -> list[Sentence]:
    sentences: list[Sentence] = []
    for entry in view.inputs.of(AuditDocument):
        if not entry.content.edits:
            continue
        edits = [edit for edit in entry.content.edits if edit.verdict not in (Verdict.TOO_FEW, Verdict.UNMEASURED)]
        (name,) = view.models_of(entry.content)
        adding = [edit for edit in edits if edit.kind == EditKind.NOT_RAISE]
        damaging = [edit for edit in edits if edit.kind == EditKind.LOWER]
        raised = [_name(edit) for edit in adding if edit.verdict == Verdict.RAISES]
        unnoticed = [_name(edit) for edit in damaging if edit.verdict != Verdict.AS_IT_SHOULD]
        words = []
        if adding:
            words.append(f"{len(raised)} of {len(adding)} edits that add nothing raise the reward{_within(raised)}")
        if damaging:
            lowers = "the reward" if not adding else "it"
            words.append(f"{len(unnoticed)} of {len(damaging)} kinds of damage do not reliably lower {lowers}")
            words[-1] += _within(unnoticed)
        unjudged = len(entry.content.edits) - len(adding) - len(damaging)
        if unjudged:
            words.append(f"{unjudged} of {len(entry.content.edits)} edits were not judged: too few prompts")
        tone: Tone = "warn" if raised or unnoticed else "muted" if unjudged else "good"
        sentences.append((f"Audit of {name}: {'; '.join(words)}.", tone))
    return sentences


def _within(names: list[str]) -> str:
    return f" ({_listed(names)})" if names else ""


def _name(edit: EditResult) -> str:
    return (edit.name or "?").replace("_", " ")


def _doctors(view: View) -> list[Sentence]:
    sentences: list[Sentence] = []
    for entry in view.inputs.of(DoctorDocument):
        errors = entry.content.of(Severity.ERROR)
        for finding in errors[:MAX_NAMES]:
            sentences.append((f"Data: {finding.message or finding.name or 'an error'}", "bad"))
        if len(errors) > MAX_NAMES:
            sentences.append((f"Data: {len(errors) - MAX_NAMES} more errors in {entry.source}.", "bad"))
        if not errors:
            files = ", ".join(map(view.file, entry.content.files))
            words = f"Data{f' ({files})' if files else ''}: nothing found that would invalidate training."
            sentences.append((words, "good"))
    return sentences


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= MAX_NAMES else [*names[: MAX_NAMES - 1], f"{len(names) - MAX_NAMES + 1} more"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
