"""RMB: helpfulness and harmlessness over 49 scenarios, pairwise and best-of-n (Zhou et al. 2024, arXiv 2410.09893).

Rows of pairs: `conversation_input` (messages), `chosen` and `reject`; of best-of-n: `conversation_input`, `bon_best`
and `loser_list`; each completion an object with `answer`, and `category_path` (or the folders) naming goal and
scenario. Also rows of `prompt`, `completions` and `gold`, highest for the best. In best-of-n the best must beat every
other completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vrm.benchmarks.base import BenchmarkExample, Rewards, UnusualRow, label_members
from vrm.benchmarks.credits import WRONG, WRONG_TEXT, beats_all, credit_column, level_figures, outcomes_of, pair_credit
from vrm.benchmarks.outcomes import ALL, Figure, Outcomes, mean_figure, mean_of
from vrm.benchmarks.rows import WITHOUT_LABEL, BenchmarkRow
from vrm.benchmarks.sources import FileBenchmark, Layout
from vrm.data.schema import Text

PAIRWISE, BEST_OF_N = "pairwise", "best-of-n"
GOALS = ("helpfulness", "harmlessness")


def _labels(category: str | None) -> dict[str, str]:
    parts = [part for part in (category or "").split("/") if part]
    if not parts or parts[0].lower() not in GOALS:
        return {}
    goal = parts[0].lower()
    task = {"task": "/".join([goal, *parts[1:2]])} if len(parts) > 1 else {}
    return {"goal": goal, **task, "category": "/".join(parts)}


def _path_labels(path: Path) -> dict[str, str]:
    lowered = [part.lower() for part in path.parts]
    for goal in GOALS:
        if goal in lowered:
            start = lowered.index(goal)
            return _labels("/".join(path.with_suffix("").parts[start:]))
    return {}


def _answer(row: BenchmarkRow, value: Any, name: str) -> str:
    if isinstance(value, Mapping):
        if "answer" not in value:
            raise UnusualRow("a completion without 'answer'", name)
        return row.as_text(value["answer"], f"{name}.answer")
    return row.as_text(value, name)


def _completion(row: BenchmarkRow, value: Any, name: str) -> str:
    """A completion as text; of messages, the only one's content."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        return row.as_text(value[0].get("content"), f"{name}[0].content")
    return _answer(row, value, name)


def _prompt(row: BenchmarkRow) -> Text:
    return row.text_or_messages(row.first_of("conversation_input", "prompt"))


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    category = row.label("category_path", "category")
    labels = {**row.labels, **_labels(category)}
    if "goal" not in labels:
        row.note("neither helpfulness nor harmlessness by its category", "category_path")
    elif "task" not in labels:
        row.note(WITHOUT_LABEL.format("task"), "category_path")
    if "bon_best" in row.columns or "loser_list" in row.columns:
        others = [_answer(row, value, f"loser_list[{index}]") for index, value in enumerate(row.items("loser_list"))]
        return [_best_of_n(row, [_answer(row, row.get("bon_best"), "bon_best"), *others], 0, labels)]
    if "gold" in row.columns:
        texts = [_completion(row, value, f"completions[{i}]") for i, value in enumerate(row.items("completions"))]
        return [_best_of_n(row, texts, _best(row, len(texts)), labels)]
    worse = row.first_of("reject", "rejected")
    texts = [_completion(row, row.get(name), name) for name in ("chosen", worse)]
    labels["kind"] = PAIRWISE
    return [row.example(_prompt(row), texts, [(0, 1)], label="chosen", labels=labels, id=row.label("pair_uid"))]


def _best_of_n(row: BenchmarkRow, texts: list[str], best: int, labels: dict[str, str]) -> BenchmarkExample:
    better = [(best, other) for other in range(len(texts)) if other != best]
    named = {**labels, "kind": BEST_OF_N}
    return row.example(_prompt(row), texts, better, label=best, labels=named, id=row.label("bon_uid"))


def _best(row: BenchmarkRow, count: int) -> int:
    """Position of the one highest gold score."""
    gold = row.items("gold")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in gold):
        raise UnusualRow("a gold score that is no number", "gold")
    if len(gold) != count or count < 2:
        raise UnusualRow("not one gold score a completion, of at least two", "gold")
    if gold.count(max(gold)) != 1:
        raise UnusualRow("no single best completion by gold", "gold")
    return gold.index(max(gold))


def _measure(examples: Sequence[BenchmarkExample], rewards: Rewards) -> Outcomes:
    kinds = label_members(examples, "kind")
    columns = [kind for kind in (PAIRWISE, BEST_OF_N) if kind in kinds]
    credits = {PAIRWISE: pair_credit(WRONG), BEST_OF_N: beats_all}
    credit = {kind: np.where(kinds[kind], credit_column(examples, rewards, credits[kind]), np.nan) for kind in columns}

    def by_label(level: str, order: Sequence[str] = ()) -> list[Figure]:
        figures = level_figures(examples, level, columns, order)
        return [figure for figure in figures if (figure.members & kinds[figure.column]).any()]

    parts = by_label("goal", GOALS)
    of_kind = {kind: [figure for figure in parts if figure.column == kind] for kind in columns}
    # Rows that name no goal are in no part; a file of such rows alone is summed up by its plain means.
    overall = [
        mean_of(ALL, kind, figures) if figures else mean_figure(ALL, kind, kind, kinds[kind])
        for kind, figures in of_kind.items()
    ]
    every = [figure for figures in of_kind.values() for figure in figures]
    if len(columns) > 1 and every:
        overall = [mean_of(ALL, "overall", every), *overall]
    return outcomes_of(examples, credit, [*overall, *every, *by_label("task")])


def _notes(examples: Sequence[BenchmarkExample]) -> list[str]:
    there = {(example.labels.get("goal", ""), example.labels["kind"]) for example in examples}
    lacking = [f"{goal} {kind}" for kind in (PAIRWISE, BEST_OF_N) for goal in GOALS if (goal, kind) not in there]
    return lacking and [f"Absent: {', '.join(lacking)}; means are over the parts that are there."]


BENCHMARK = FileBenchmark(
    name="rmb",
    title="RMB",
    description="helpfulness and harmlessness, pairwise and best-of-n",
    equal_rewards=WRONG_TEXT,
    convert=_convert,
    measure=_measure,
    layout=Layout(path_labels=_path_labels),
    notes=_notes,
)
