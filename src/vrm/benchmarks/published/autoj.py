"""Auto-J Eval-P: pairs with ties over 58 scenarios (Li et al. 2023, arXiv 2310.05470).

Rows: `scenario`, `prompt`, `response 1`, `response 2`, `label` 0 (the first), 1 (the second) or 2 (a tie).
"""

from __future__ import annotations

from vrm.benchmarks.base import BenchmarkExample
from vrm.benchmarks.credits import HALF, TIES_TEXT, pair_outcomes
from vrm.benchmarks.rows import BenchmarkRow
from vrm.benchmarks.sources import FileBenchmark

LABELS = {0: [(0, 1)], 1: [(1, 0)], 2: []}


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    better = row.choice("label", LABELS)
    completions = [row.text(row.first_of(f"response {side}", f"response_{side}")) for side in (1, 2)]
    labels = {"scenario": row.label("scenario")}
    return [row.example(row.text("prompt"), completions, better, label=row.get("label"), labels=labels)]


BENCHMARK = FileBenchmark(
    name="autoj",
    title="Auto-J Eval-P",
    description="pairs with ties, by scenario",
    equal_rewards=TIES_TEXT,
    convert=_convert,
    measure=pair_outcomes(HALF, ["scenario"], agreement=True),
)
