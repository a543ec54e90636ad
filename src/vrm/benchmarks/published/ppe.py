"""PPE, Preference Proxy Evaluations (Frick et al. 2024, arXiv 2410.14872).

Human preference: `prompt` (or whole conversations), the two responses and `winner`. Correctness: `prompt` (or
`question`), `response_1`, `response_2`, ... of one model and `scores`, whether each is right, one set of files a
verifiable benchmark. Accuracy is over all pairs of a right and a wrong response; best of k is how often the response
of the highest reward is right, beside a random one and an oracle.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vrm.benchmarks.base import BenchmarkExample, ExampleRewards, HubSource, Rewards, UnusualRow, with_labels
from vrm.benchmarks.credits import HALF, absent, credit_column, level_figures, outcomes_of, pair_credit
from vrm.benchmarks.outcomes import Figure, Outcomes, mean_figure, mean_of
from vrm.benchmarks.rows import BenchmarkRow, split_dialogues
from vrm.benchmarks.sources import FileBenchmark, Layout
from vrm.data.schema import Text

HUMAN, CORRECTNESS = "human preference", "correctness"
SETS = {"mmlu-pro": "MMLU-Pro", "math": "MATH", "gpqa": "GPQA", "mbpp-plus": "MBPP-Plus", "ifeval": "IFEval"}
FIRST, SECOND = ("model_a", "model_1", "response_1"), ("model_b", "model_2", "response_2")
TIE = ("tie", "tie (bothbad)", "both_bad")
WINNERS = {name: pairs for names, pairs in ((FIRST, [(0, 1)]), (SECOND, [(1, 0)]), (TIE, [])) for name in names}
ACCURACY, BEST_OF_K, RANDOM, ORACLE = "accuracy", "best of k", "random of k", "oracle of k"
COLUMNS = (ACCURACY, BEST_OF_K, RANDOM, ORACLE)


def _path_labels(path: Path) -> dict[str, str]:
    name = "/".join(path.parts[-3:]).lower().replace("_", "-")
    return next(({"set": title} for key, title in SETS.items() if key in name), {})


def _convert(row: BenchmarkRow) -> list[BenchmarkExample]:
    return [_correctness(row) if "scores" in row.columns else _human(row)]


def _human(row: BenchmarkRow) -> BenchmarkExample:
    better = row.choice("winner", WINNERS)
    prompt: Text
    completions: Sequence[Text]
    if "conversation_a" in row.columns:
        sides = [row.messages(name) for name in ("conversation_a", "conversation_b")]
        prompt, completions = split_dialogues(row, sides[0], sides[1], "conversation_b")
    else:
        prompt = row.text_or_messages("prompt")
        names = [row.first_of(f"response_{number}", f"response_{letter}") for number, letter in ((1, "a"), (2, "b"))]
        completions = [row.text(name) for name in names]
    labels = {"part": HUMAN, "language": row.label("language")}
    return row.example(prompt, completions, better, label=row.get("winner"), labels=labels, id=row.label("question_id"))


def _correctness(row: BenchmarkRow) -> BenchmarkExample:
    names = [name for name in row.columns if re.fullmatch(r"response_\d+", name)]
    names.sort(key=lambda name: int(name.rpartition("_")[2]))
    completions = row.texts("responses") if not names else [row.text(name) for name in names]
    scores = row.items("scores")
    if any(not isinstance(score, int | float) for score in scores):
        raise UnusualRow("a score that is neither a number nor true or false", "scores")
    if len(scores) != len(completions):
        raise UnusualRow("not one score a response", "scores")
    values = [float(score) for score in scores]
    if min(values) == max(values):
        row.note("all responses equally right: in best of k, but not in accuracy", "scores")
    every = range(len(values))
    better = [(first, second) for first in every for second in every if values[first] > values[second]]
    labels = {"part": CORRECTNESS, "set": row.labels.get("set") or "unnamed"}
    model = row.label("model_name")
    id = row.id("question_id", "uuid", "uid", of=[labels["set"], model])
    prompt = row.text(row.first_of("prompt", "question"))
    return row.example(prompt, completions, better, label=values, labels=with_labels({**labels, "model": model}), id=id)


def _best_of_k(example: BenchmarkExample, given: ExampleRewards) -> float:
    """Mean score of the responses that share the highest reward."""
    highest = max(given.mean)
    return float(np.mean([s for s, r in zip(example.label, given.mean, strict=True) if r == highest]))


def _measure(examples: Sequence[BenchmarkExample], rewards: Rewards) -> Outcomes:
    is_set = np.array([example.labels["part"] == CORRECTNESS for example in examples])
    scored = [given if kept else None for given, kept in zip(rewards, is_set, strict=True)]
    credit = {
        ACCURACY: credit_column(examples, rewards, pair_credit(HALF)),
        BEST_OF_K: credit_column(examples, scored, _best_of_k),
        RANDOM: credit_column(examples, scored, lambda example, given: float(np.mean(example.label))),
        ORACLE: credit_column(examples, scored, lambda example, given: float(max(example.label))),
    }
    figures: list[Figure] = []
    if not is_set.all():
        figures.append(mean_figure(HUMAN, ACCURACY, ACCURACY, ~is_set, "part"))
    by_set = {column: level_figures(examples, "set", [column]) for column in COLUMNS}
    figures += [mean_of(CORRECTNESS, column, sets, "part") for column, sets in by_set.items() if sets]
    figures += [figure for sets in by_set.values() for figure in sets]
    figures += level_figures(examples, "language", [ACCURACY])
    return outcomes_of(examples, credit, figures)


def _notes(examples: Sequence[BenchmarkExample]) -> list[str]:
    lacking = absent(examples, "part", [HUMAN]) + absent(examples, "set", SETS.values())
    return lacking and [f"Absent: {', '.join(lacking)}."]


BENCHMARK = FileBenchmark(
    name="ppe",
    title="PPE",
    description="human preference, and correctness best-of-k sets",
    equal_rewards="equal rewards count 1/2 in accuracy, and share the pick in best of k; the benchmark states no rule",
    convert=_convert,
    measure=_measure,
    hub=(
        HubSource("lmarena-ai/PPE-Human-Preference-V1", "test"),
        *(HubSource(f"lmarena-ai/PPE-{title}-Best-of-K", "train", labels={"set": title}) for title in SETS.values()),
    ),
    layout=Layout(path_labels=_path_labels),
    notes=_notes,
)
