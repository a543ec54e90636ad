"""Counts of the quickstart corpus of a seed, as docs/quickstart-corpus.md has them: `corpus_counts.py [SEED]`."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vrm.data.planted import (
    PlantedCorpus,
    PlantedSplit,
    planted_corpus,
    population_vote,
    true_score,
    true_utilities,
)
from vrm.data.schema import Judgment
from vrm.data.style import plain_text, text_length
from vrm.labels.judgments import VOTES


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """Counts and shares of one split; shares are in [0, 1] and a tie counts one half.

    Attributes:
        pairs: comparisons.
        prompts: distinct prompts.
        texts: distinct prompts plus distinct (prompt, completion) texts, what an encoder has to read.
        oracle_accuracy: how often the chosen completion has the higher true weighted score; ties of votes left out.
        shortcut_agrees: how often flattery and padding stand on the chosen side.
        longer_wins: how often the chosen completion has more characters.
        with_votes: share of rows that carry objective votes.
        raters_differ: share of pairs of which two raters do not say the same; 0 without several raters.
        ties: share of the raters' judgments.
    """

    pairs: int
    prompts: int
    texts: int
    oracle_accuracy: float
    shortcut_agrees: float
    longer_wins: float
    with_votes: float
    raters_differ: float
    ties: float


def summarize(split: PlantedSplit) -> SplitSummary:
    """Count a split."""
    rows = split.judgments
    prompts = {plain_text(row.prompt) for row in rows}
    said = [[judgment.preference for judgment in row.judgments or []] for row in rows]
    votes = [vote for pair in said for vote in pair]
    margins = [_true_margin(row, levels) for row, levels in zip(rows, split.levels) if row.preference != 0.5]
    pairs = {(plain_text(row.prompt), plain_text(completion)) for row in rows for completion in row.completions}
    return SplitSummary(
        pairs=len(rows),
        prompts=len(prompts),
        texts=len(prompts) + len(pairs),
        oracle_accuracy=_wins(margins),
        shortcut_agrees=sum(split.shortcut_on_chosen) / len(rows),
        longer_wins=_wins([_extra_length(row) for row in rows]),
        with_votes=sum(row.objective_votes is not None for row in rows) / len(rows),
        raters_differ=sum(len(set(pair)) > 1 for pair in said) / len(rows),
        ties=votes.count(0.5) / max(len(votes), 1),
    )


def vote_nll(corpus: PlantedCorpus, split: PlantedSplit) -> tuple[float, float]:
    """NLL of a rater's judgment in nats by what was planted, by nobody knowing who judges and by knowing it."""
    unknown, known = [], []
    for row, levels in zip(split.judgments, split.levels):
        utilities, weights = true_utilities(levels), corpus.true_weights[str(row.category)]
        by_anyone = population_vote(utilities, weights)
        for judgment in row.judgments or []:
            outcome = VOTES.index(judgment.preference)
            rater = corpus.raters[str(judgment.annotator)]
            unknown.append(-math.log(by_anyone[outcome]))
            known.append(-math.log(rater.vote_probabilities(utilities, weights)[outcome]))
    return sum(unknown) / len(unknown), sum(known) / len(known)


def _true_margin(row: Judgment, levels: tuple[dict[str, int], dict[str, int]]) -> float:
    chosen, rejected = (true_score(str(row.category), level) for level in levels)
    return round(chosen - rejected, 9)


def _extra_length(row: Judgment) -> int:
    chosen, rejected = (text_length(completion) for completion in row.completions)
    return chosen - rejected


def _wins(margins: Sequence[float]) -> float:
    return sum((margin > 0) + 0.5 * (margin == 0) for margin in margins) / len(margins)


def table(corpus: PlantedCorpus) -> str:
    """The summary of each split, the true weights of each domain and the raters, as Markdown tables."""
    names = ["split", "pairs", "prompts", "texts", "oracle accuracy", "shortcut agrees", "longer wins", "with votes"]
    lines = _head([*names, "raters differ", "ties", "NLL a judgment", "knowing the rater"])
    for name, split in corpus.splits.items():
        s = summarize(split)
        shares = [s.oracle_accuracy, s.shortcut_agrees, s.longer_wins, s.with_votes, s.raters_differ, s.ties]
        shares += vote_nll(corpus, split) if corpus.raters else [math.nan, math.nan]
        counts = f"{s.pairs:,} | {s.prompts:,} | {s.texts:,}"
        lines.append(f"| {name} | {counts} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    lines += ["", *_head(["domain", *corpus.objectives])]
    lines += [_line(domain, weights, ".2f") for domain, weights in corpus.true_weights.items()]
    lines += ["", *_head(["rater", *corpus.objectives, "tie threshold"])]
    lines += [f"{_line(name, who.tilt, '+.2f')} {who.tie_threshold:.1f} |" for name, who in corpus.raters.items()]
    return "\n".join(lines)


def _head(names: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]


def _line(name: str, values: Mapping[str, float], form: str) -> str:
    return f"| {name} | " + " | ".join(format(value, form) for value in values.values()) + " |"


if __name__ == "__main__":
    print(table(planted_corpus(int(sys.argv[1]) if len(sys.argv) > 1 else 0)))
