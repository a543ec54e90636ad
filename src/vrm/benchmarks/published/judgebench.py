"""JudgeBench: pairs of a right and a wrong answer to hard questions (Tan et al. 2024, arXiv 2410.12784).

Rows: `question`, `response_A`, `response_B`, `label` "A>B" or "B>A", `source`, `pair_id`, `response_model`.
"""

from __future__ import annotations

from vrm.benchmarks.base import BenchmarkExample, HubSource, with_labels
from vrm.benchmarks.credits import WRONG, pair_outcomes
from vrm.benchmarks.rows import BenchmarkRow
from vrm.benchmarks.sources import FileBenchmark

LABELS = {"A>B": (0, 1), "B>A": (1, 0)}
GROUPS = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}


def source_group(source: str) -> str | None:
    """Knowledge, reasoning, math or coding; None for a source that is in none of them."""
    return next((group for start, group in GROUPS.items() if source.startswith(start)), None)


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    better = row.choice("label", LABELS)
    source = row.label("source")
    group = source_group(source) if source else None
    if group is None:
        row.note("source in none of the four groups, counted in the whole only", "source")
    completions = [row.text("response_A"), row.text("response_B")]
    labels = with_labels({"group": group}) | {"response model": row.label("response_model")}
    pair = row.label("pair_id")
    label = row.get("label")
    return [row.example(row.text("question"), completions, [better], label=label, labels=labels, id=pair)]


BENCHMARK = FileBenchmark(
    name="judgebench",
    title="JudgeBench",
    description="right against wrong answers, by task",
    equal_rewards="equal rewards count as wrong, since a tie is no verdict",
    convert=_convert,
    measure=pair_outcomes(WRONG, ["group", "response model"], orders={"group": tuple(GROUPS.values())}),
    hub=(
        HubSource("ScalerLab/JudgeBench", "gpt", labels={"response model": "gpt-4o-2024-05-13"}),
        HubSource("ScalerLab/JudgeBench", "claude", labels={"response model": "claude-3-5-sonnet-20240620"}),
    ),
)
