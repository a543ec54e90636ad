"""RewardBench: pairs in 23 subsets of four sections (Lambert et al. 2024, arXiv 2403.13787).

Rows: `prompt`, `chosen`, `rejected`, `subset`, `id`. A section's accuracy weighs its subsets by the published numbers
of examples, where math-prm (447 pairs) counts 984, as much as the code subsets together; the whole is the mean of
sections.
"""

from __future__ import annotations

from collections.abc import Sequence

from vrm.benchmarks.base import BenchmarkExample, HubSource, Rewards, label_members, with_labels
from vrm.benchmarks.credits import (
    WRONG,
    WRONG_TEXT,
    absent,
    credit_column,
    level_figures,
    outcomes_of,
    pair_credit,
    whole,
)
from vrm.benchmarks.outcomes import ALL, Figure, Outcomes, Term, mean_of
from vrm.benchmarks.rows import BenchmarkRow
from vrm.benchmarks.sources import FileBenchmark, Layout

COUNTS = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984,
        **{f"hep-{language}": 164 for language in ("cpp", "go", "java", "js", "python", "rust")},
    },
}
"""{section: {subset: the number of examples by which it is weighed}}, as published."""

SECTIONS = {subset: section for section, subsets in COUNTS.items() for subset in subsets}


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    subset = row.as_text(row.get("subset"), "subset")
    if subset not in SECTIONS:
        row.note("subset in none of the four sections, counted for itself only", "subset")
    completions = [row.text("chosen"), row.text("rejected")]
    labels = with_labels({"section": SECTIONS.get(subset), "subset": subset})
    # Their ids are unique in the benchmark, but files of single subsets number their rows anew.
    id = row.id("id", of=[subset])
    return [row.example(row.text_or_messages("prompt"), completions, [(0, 1)], label="chosen", labels=labels, id=id)]


def _measure(examples: Sequence[BenchmarkExample], rewards: Rewards) -> Outcomes:
    credit = {"accuracy": credit_column(examples, rewards, pair_credit(WRONG))}
    subsets = label_members(examples, "subset")
    sections = []
    for section, counts in COUNTS.items():
        terms = [
            Term("accuracy", subsets[subset], float(count)) for subset, count in counts.items() if subset in subsets
        ]
        if terms:
            sections.append(Figure(section, "accuracy", tuple(terms), level="section"))
    overall = [mean_of(ALL, "accuracy", sections)] if sections else whole(examples, ["accuracy"])
    return outcomes_of(
        examples, credit, [*overall, *sections, *level_figures(examples, "subset", ["accuracy"], tuple(SECTIONS))]
    )


def _notes(examples: Sequence[BenchmarkExample]) -> list[str]:
    lacking = absent(examples, "subset", SECTIONS)
    sections = [section for section, counts in COUNTS.items() if set(counts) <= set(lacking)]
    without = f" Sections without any: {', '.join(sections)}." if sections else ""
    return lacking and [f"Subsets that are absent, and not in their section's mean: {', '.join(lacking)}.{without}"]


BENCHMARK = FileBenchmark(
    name="rewardbench",
    title="RewardBench",
    description="Chat, Chat Hard, Safety, Reasoning",
    equal_rewards=WRONG_TEXT,
    convert=_convert,
    measure=_measure,
    hub=(HubSource("allenai/reward-bench", "filtered"),),
    layout=Layout(only=("filtered",)),
    notes=_notes,
)
