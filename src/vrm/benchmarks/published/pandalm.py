"""PandaLM's test set: pairs judged by three annotators (Wang et al. 2023, arXiv 2306.05087).

Rows: `instruction`, `input` (may be empty), `response1`, `response2`, `annotator1` to `annotator3`: 0 (a tie), 1 or 2.
The label is what at least two annotators say; rows on which all three differ have none and are left out.
"""

from __future__ import annotations

from collections import Counter

from vrm.benchmarks.base import BenchmarkExample, UnusualRow
from vrm.benchmarks.credits import HALF, TIES_TEXT, pair_outcomes
from vrm.benchmarks.rows import BenchmarkRow
from vrm.benchmarks.sources import FileBenchmark

ANNOTATORS = ("annotator1", "annotator2", "annotator3")
LABELS = {0: 0, 1: 1, 2: 2}
BETTER = {0: [], 1: [(0, 1)], 2: [(1, 0)]}
AGREE = {2: "two of three", 3: "all three"}


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    votes = [row.choice(name, LABELS) for name in ANNOTATORS]
    label, count = Counter(votes).most_common(1)[0]
    if count < 2:
        raise UnusualRow("three annotators, three opinions: no majority", ANNOTATORS[0])
    instruction, extra = row.text("instruction"), row.optional_text("input")
    prompt = f"{instruction}\n\n{extra}" if extra.strip() else instruction
    completions = [row.text(f"response{side}") for side in (1, 2)]
    labels = {"annotators who agree": AGREE[count]}
    return [row.example(prompt, completions, BETTER[label], label=votes, labels=labels, id=row.label("idx"))]


BENCHMARK = FileBenchmark(
    name="pandalm",
    title="PandaLM",
    description="test set of pairs with ties, three annotators",
    equal_rewards=TIES_TEXT,
    convert=_convert,
    measure=pair_outcomes(HALF, ["annotators who agree"], agreement=True),
)
