r"""HH-RLHF's test split: which of two dialogues people chose (Bai et al. 2022, arXiv 2204.05862).

Rows: `chosen` and `rejected`, whole dialogues as one text with turns "\n\nHuman: " and "\n\nAssistant: ", or as
messages; in folders helpful-base, helpful-online, helpful-rejection-sampled and harmless-base. The prompt is what both
sides begin with; where they differ before the last turn, the rest of either side is judged as it stands.
"""

from __future__ import annotations

from pathlib import Path

from vrm.benchmarks.base import BenchmarkExample, HubSource, UnusualRow
from vrm.benchmarks.credits import HALF, HALF_TEXT, pair_outcomes
from vrm.benchmarks.rows import BenchmarkRow, split_dialogues
from vrm.benchmarks.sources import FileBenchmark, Layout
from vrm.data.recipes.hh_rlhf import KINDS
from vrm.data.recipes.turns import human_assistant_turns
from vrm.data.schema import Message


def _subset(path: Path) -> dict[str, str]:
    for part in reversed(path.parts):
        for subset, kind in KINDS.items():
            if part.startswith(subset):
                return {"kind": kind, "subset": subset}
    return {}


def _turns(row: BenchmarkRow, name: str) -> list[Message]:
    text = row.text_or_messages(name)
    turns = human_assistant_turns(text) if isinstance(text, str) else text
    if turns is None:
        raise UnusualRow("a dialogue without 'Human:' and 'Assistant:' turns", name)
    return turns


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    sides = [_turns(row, name) for name in ("chosen", "rejected")]
    if row.has("prompt") and isinstance(row.get("prompt"), list):
        before = row.messages("prompt")
        sides = [side if side[: len(before)] == before else before + side for side in sides]
    prompt, completions = split_dialogues(row, sides[0], sides[1], "chosen")
    return [row.example(prompt, completions, [(0, 1)], label="chosen", labels=_labels(row))]


def _labels(row: BenchmarkRow) -> dict[str, str | None]:
    subset = row.label("subset", "category")
    return {} if row.labels else {"subset": subset, "kind": KINDS.get(subset or "")}


BENCHMARK = FileBenchmark(
    name="hh-rlhf",
    title="HH-RLHF",
    description="test split of people's choices, helpful and harmless",
    equal_rewards=HALF_TEXT,
    convert=_convert,
    measure=pair_outcomes(HALF, ["kind", "subset"]),
    hub=tuple(
        HubSource("Anthropic/hh-rlhf", "test", data_dir=subset, labels={"kind": kind, "subset": subset})
        for subset, kind in KINDS.items()
    ),
    layout=Layout(only=("test",), path_labels=_subset),
)
