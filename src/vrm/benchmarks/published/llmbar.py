"""LLMBar: which of two outputs follows the instruction (Zeng et al. 2023, arXiv 2310.07641).

Rows: `input`, `output_1`, `output_2`, `label` 1 or 2, in `<set>/dataset.json`; folders above name the set: Natural, and
Neighbor, GPTInst, GPTOut, Manual of the adversarial ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vrm.benchmarks.base import BenchmarkExample, HubSource, Rewards
from vrm.benchmarks.credits import (
    HALF,
    HALF_TEXT,
    absent,
    credit_column,
    level_figures,
    outcomes_of,
    pair_credit,
    whole,
)
from vrm.benchmarks.outcomes import Outcomes, mean_of
from vrm.benchmarks.rows import BenchmarkRow
from vrm.benchmarks.sources import FileBenchmark, Layout

SETS = ("Natural", "Neighbor", "GPTInst", "GPTOut", "Manual")
LABELS = {1: (0, 1), 2: (1, 0)}
_SPELLED = {name.lower(): name for name in SETS}


def _set_of(path: Path) -> dict[str, str]:
    """The set, from the innermost folder that names one; else the file's own folder, if it is a folder of data."""
    for folder in reversed(path.parts[:-1]):
        if folder.lower() in _SPELLED:
            return {"set": _SPELLED[folder.lower()]}
    return {"set": path.parent.name} if path.stem.startswith("dataset") and path.parent.name else {}


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    better = row.choice("label", LABELS)
    completions = [row.text("output_1"), row.text("output_2")]
    labels = {"set": row.labels.get("set")}
    return [row.example(row.text("input"), completions, [better], label=row.get("label"), labels=labels)]


def _measure(examples: Sequence[BenchmarkExample], rewards: Rewards) -> Outcomes:
    credit = {"accuracy": credit_column(examples, rewards, pair_credit(HALF))}
    sets = level_figures(examples, "set", ["accuracy"], SETS)
    adversarial = [figure for figure in sets if figure.row in SETS[1:]]
    figures = whole(examples, ["accuracy"])
    if adversarial:
        figures.append(mean_of("adversarial, mean of sets", "accuracy", adversarial))
    return outcomes_of(examples, credit, [*figures, *sets])


def _notes(examples: Sequence[BenchmarkExample]) -> list[str]:
    lacking = absent(examples, "set", SETS)
    # Files of which nothing names the set are all of LLMBar, or any part of it.
    known = any("set" in example.labels for example in examples)
    return [f"Sets that are absent: {', '.join(lacking)}."] if known and lacking else []


BENCHMARK = FileBenchmark(
    name="llmbar",
    title="LLMBar",
    description="instruction following, natural and adversarial",
    equal_rewards=HALF_TEXT,
    convert=_convert,
    measure=_measure,
    hub=tuple(HubSource("princeton-nlp/LLMBar", name, "LLMBar", labels={"set": name}) for name in SETS),
    layout=Layout(path_labels=_set_of, only=("dataset",)),
    notes=_notes,
)
