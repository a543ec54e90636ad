"""MT-Bench human judgments: experts' votes on two models' answers (Zheng et al. 2023, arXiv 2306.05685).

Rows: `question_id`, `model_a`, `model_b`, `winner` "model_a", "model_b" or "tie", `judge`, `turn` 1 or 2, and the whole
`conversation_a`, `conversation_b` as messages. A vote on turn 1 is about the first exchange, on turn 2 about both.
"""

from __future__ import annotations

from vrm.benchmarks.base import BenchmarkExample, HubSource, UnusualRow
from vrm.benchmarks.credits import HALF, TIES_TEXT, pair_outcomes
from vrm.benchmarks.rows import BenchmarkRow, split_dialogues
from vrm.benchmarks.sources import FileBenchmark, Layout
from vrm.data.schema import Message

WINNERS = {
    "model_a": [(0, 1)],
    "model_b": [(1, 0)],
    "tie": [],
    "tie (bothbad)": [],
    "tie (inconsistent)": [],
}
TURNS = {1: 1, 2: 2}


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    better = row.choice("winner", WINNERS)
    turn = row.choice("turn", TURNS)
    sides = [_until(row, name, turn) for name in ("conversation_a", "conversation_b")]
    prompt, completions = split_dialogues(row, sides[0], sides[1], "conversation_b", expected=2 * turn)
    parts = [row.label(name) for name in ("question_id", "model_a", "model_b", "judge")]
    id = None if None in parts else ":".join([*map(str, parts), str(turn)])
    labels = {"turn": str(turn)}
    return [row.example(prompt, completions, better, label=row.get("winner"), labels=labels, id=id)]


def _until(row: BenchmarkRow, name: str, turn: int) -> list[Message]:
    """The conversation up to the answer of a turn."""
    messages = row.messages(name)
    if len(messages) < 2 * turn or messages[2 * turn - 1]["role"] != "assistant":
        raise UnusualRow("a conversation without the answer of the judged turn", name)
    return messages[: 2 * turn]


BENCHMARK = FileBenchmark(
    name="mt-bench-human",
    title="MT-Bench human judgments",
    description="pairs with ties, by turn",
    equal_rewards=TIES_TEXT,
    convert=_convert,
    measure=pair_outcomes(HALF, ["turn"], agreement=True),
    hub=(HubSource("lmsys/mt_bench_human_judgments", "human"),),
    layout=Layout(only=("human",)),
)
