"""The corpus as users get it: in memory, or as JSONL in the row schema."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from vrm.data.planted.generator import NAMES, PLANS, TRUE_WEIGHTS, PlantedSplit, draw_split, share_out_prompts
from vrm.data.schema import Judgment


@dataclass(frozen=True, slots=True)
class PlantedCorpus:
    """Four splits of comparisons and everything that was planted in them.

    Attributes:
        splits: `train`, `dev`, `test` and `test_reversed`, each with its rows, true levels and the shortcut's side.
        objectives: names of the objectives.
        true_weights: for each domain, the weights that its preferences were drawn by, over `objectives`, summing to 1.
            Every level has the same spread, so these are weights in units of an objective's standard deviation.
    """

    splits: dict[str, PlantedSplit]
    objectives: tuple[str, ...]
    true_weights: dict[str, dict[str, float]]

    @property
    def train(self) -> list[Judgment]:
        """Training comparisons; the shortcut agrees with the label in four of five."""
        return self.splits["train"].judgments

    @property
    def dev(self) -> list[Judgment]:
        """Comparisons to choose settings by: other prompts and other fragments, the same shortcut."""
        return self.splits["dev"].judgments

    @property
    def test(self) -> list[Judgment]:
        """Comparisons with prompts and fragments that neither `train` nor `dev` has, the same shortcut."""
        return self.splits["test"].judgments

    @property
    def test_reversed(self) -> list[Judgment]:
        """As `test`, with other prompts, and the shortcut agrees with the label in one of five."""
        return self.splits["test_reversed"].judgments


def planted_corpus(seed: int = 0) -> PlantedCorpus:
    """Draw the quickstart corpus; the same seed gives the same corpus.

    Args:
        seed: any integer. It decides prompts, levels, texts, labels, ratings, votes and the shortcut's sides; texts
            to draw from, weights and sizes are fixed.

    Returns:
        2,400 training, 312 dev and twice 504 test comparisons in the conversational format, chosen first, with
        `preference` 1.0, ratings of both completions on all objectives (level 0, 1 or 2 plus Gaussian noise), the
        domain as `category`, and votes on a quarter of the training and dev rows.
    """
    prompts = share_out_prompts(seed)
    splits = {plan.name: draw_split(plan, prompts[plan.name], seed) for plan in PLANS}
    return PlantedCorpus(splits, NAMES, copy.deepcopy(TRUE_WEIGHTS))


def write_planted(directory: str | PathLike[str], seed: int = 0) -> dict[str, Path]:
    """Write the four splits as `<split>.jsonl`, one row of the schema a line, overwriting files of these names.

    Args:
        directory: where to write; made if it is absent.
        seed: as of `planted_corpus`.

    Returns:
        For each split the path of its file.

    Raises:
        OSError: the directory cannot be made or written to.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, split in planted_corpus(seed).splits.items():
        paths[name] = folder / f"{name}.jsonl"
        lines = [json.dumps(_row(judgment), ensure_ascii=False) for judgment in split.judgments]
        paths[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


def _row(judgment: Judgment) -> dict[str, Any]:
    chosen, rejected = judgment.completions
    chosen_ratings, rejected_ratings = judgment.ratings or [{}, {}]
    row = {
        "prompt": judgment.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "preference": judgment.preference,
        "chosen_ratings": chosen_ratings,
        "rejected_ratings": rejected_ratings,
        "objective_votes": judgment.objective_votes,
        "source": judgment.source,
        "category": judgment.category,
    }
    return {key: value for key, value in row.items() if value is not None}
