"""Counts of the quickstart corpus of a seed, as docs/quickstart-corpus.md has them: `corpus_counts.py [SEED]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from vrm.data.planted import PlantedCorpus, PlantedSplit, planted_corpus, true_score
from vrm.data.schema import Judgment
from vrm.data.style import plain_text, text_length


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """Counts and shares of one split; shares are in [0, 1] and a tie counts one half.

    Attributes:
        pairs: comparisons.
        prompts: distinct prompts.
        texts: distinct prompts plus distinct (prompt, completion) texts, what an encoder has to read.
        oracle_accuracy: how often the chosen completion has the higher true weighted score.
        shortcut_agrees: how often flattery and padding stand on the chosen side.
        longer_wins: how often the chosen completion has more characters.
        with_votes: share of rows that carry objective votes.
    """

    pairs: int
    prompts: int
    texts: int
    oracle_accuracy: float
    shortcut_agrees: float
    longer_wins: float
    with_votes: float


def summarize(split: PlantedSplit) -> SplitSummary:
    """Count a split."""
    rows = split.judgments
    prompts = {plain_text(row.prompt) for row in rows}
    pairs = {(plain_text(row.prompt), plain_text(completion)) for row in rows for completion in row.completions}
    return SplitSummary(
        pairs=len(rows),
        prompts=len(prompts),
        texts=len(prompts) + len(pairs),
        oracle_accuracy=_wins([_true_margin(row, levels) for row, levels in zip(rows, split.levels)]),
        shortcut_agrees=sum(split.shortcut_on_chosen) / len(rows),
        longer_wins=_wins([_extra_length(row) for row in rows]),
        with_votes=sum(row.objective_votes is not None for row in rows) / len(rows),
    )


def _true_margin(row: Judgment, levels: tuple[dict[str, int], dict[str, int]]) -> float:
    chosen, rejected = (true_score(str(row.category), level) for level in levels)
    return round(chosen - rejected, 9)


def _extra_length(row: Judgment) -> int:
    chosen, rejected = (text_length(completion) for completion in row.completions)
    return chosen - rejected


def _wins(margins: Sequence[float]) -> float:
    return sum((margin > 0) + 0.5 * (margin == 0) for margin in margins) / len(margins)


def table(corpus: PlantedCorpus) -> str:
    """The summary of each split and the true weights of each domain as two Markdown tables."""
    lines = ["| split | pairs | prompts | texts | oracle accuracy | shortcut agrees | longer wins | with votes |"]
    lines.append("|---" * 8 + "|")
    for name, split in corpus.splits.items():
        s = summarize(split)
        shares = (s.oracle_accuracy, s.shortcut_agrees, s.longer_wins, s.with_votes)
        counts = f"{s.pairs:,} | {s.prompts:,} | {s.texts:,}"
        lines.append(f"| {name} | {counts} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    lines += ["", "| domain | " + " | ".join(corpus.objectives) + " |", "|---" * (1 + len(corpus.objectives)) + "|"]
    for domain, weights in corpus.true_weights.items():
        lines.append(f"| {domain} | " + " | ".join(f"{weights[name]:.2f}" for name in corpus.objectives) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(planted_corpus(int(sys.argv[1]) if len(sys.argv) > 1 else 0)))
