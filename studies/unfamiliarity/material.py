"""Rows of every source, drawn prompt by prompt in turn, with their features, and the homes that models train on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from studies.evidence.folds import Features, Fold, Library, joined

from vrm.data.load import load_judgments
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key, uniform_hash

ROWS = {
    "webgpt": 300, "hh_harmless": 300, "hh_helpful": 300, "ukp_convarg2": 300, "cobbler": 100, "hanna": 100,
    "dialsummeval": 100, "finegrained_qa": 300, "hfngs_v1": 300, "rmb": 600,
}  # fmt: skip
"""{source: rows of its train file}."""

DEV_ROWS = 60
TOKENS = 160
"""Rows are cut to these."""

ONE = ("rmb", "hh_helpful", "finegrained_qa", "hfngs_v1", "ukp_convarg2")
ALL_BUT = ("rmb", "hh_harmless", "webgpt", "ukp_convarg2", "hfngs_v1", "hanna")
HOMES = {name: (name,) for name in ONE} | {
    f"without {name}": tuple(source for source in ROWS if source != name) for name in ALL_BUT
}
"""{home: sources that a model trains on}."""


class Material(Library):
    """All sources, a few rows of each.

    Args:
        data: directory with `preferences/` and `raters/`.
        cache: directory of features.
        share: of the rows in `ROWS`; a smaller share is the beginning of a larger one.
    """

    def __init__(self, data: Path, cache: Path, share: float) -> None:
        super().__init__(data, cache)
        self.share = share
        self.model.config.max_input_tokens = TOKENS

    def _load(self, name: str) -> Fold:
        source, _, part = name.rpartition(".")
        places = [self.data / folder / f"{name}.jsonl.gz" for folder in ("preferences", "raters")]
        rows = load_judgments(str(next(place for place in places if place.exists())), on_bad_rows="skip").judgments
        plain = [_as_pair(row, source) for row in rows if row.is_comparison]
        drawn = in_turn(plain, round(self.share * (ROWS[source] if part == "train" else DEV_ROWS)))
        return Fold(name, drawn, *self._rows(name, drawn))

    def train(self, source: str) -> Fold:
        """Rows of a train file, for choosing."""
        return self.fold(f"{source}.train")

    def dev(self, source: str) -> Fold:
        """Rows of a dev file, for the one look at the end."""
        return self.fold(f"{source}.dev")


def _as_pair(row: Judgment, source: str) -> Judgment:
    return replace(row, judgments=None, ratings=None, objective_votes=None, margin=0.0, source=source)


def in_turn(rows: list[Judgment], count: int) -> list[Judgment]:
    """One row of every prompt, then a second of each, and so on, in an order that depends on their texts alone."""
    keyed = [(prompt_key(row), uniform_hash(str(row.completions), 0, "unfamiliarity"), row) for row in rows]
    seen: Counter[str] = Counter()
    turns = []
    for key, place, row in sorted(keyed, key=lambda entry: entry[:2]):
        turns.append((seen[key], uniform_hash(key, 0, "unfamiliarity"), place, row))
        seen[key] += 1
    return [row for *_, row in sorted(turns, key=lambda entry: entry[:3])[:count]]


@dataclass(frozen=True)
class Home:
    """The folds of one home; no prompt is in two of them."""

    name: str
    fit: Fold
    held: Fold
    inside: Fold
    outside: dict[str, Fold]
    inside_dev: Fold
    outside_dev: dict[str, Fold]

    @classmethod
    def of(cls, material: Material, name: str, seed: int) -> Home:
        """Split 70 : 10 : 20 by prompt."""
        sources = HOMES[name]
        everything = joined([material.train(source) for source in sources])
        order = _places(everything, seed)
        parts = [everything.take(np.flatnonzero(order == part)) for part in range(3)]
        foreign = [source for source in ROWS if source not in sources]
        outside = {source: material.train(source) for source in foreign}
        inside_dev = joined([material.dev(source) for source in sources])
        return cls(name, *parts, outside, inside_dev, {source: material.dev(source) for source in foreign})


def _places(fold: Fold, seed: int) -> np.ndarray:
    """0, 1 or 2 for each row: shares of the prompts of each source, at least one prompt each."""
    result = np.zeros(len(fold), dtype=int)
    sources = np.array([row.source for row in fold.judgments])
    for source in set(sources):
        rows = np.flatnonzero(sources == source)
        keys = [fold.groups[row] for row in rows]
        order = sorted(set(keys), key=lambda key: uniform_hash(key, seed, "home"))
        inside, held = max(1, round(0.2 * len(order))), max(1, round(0.1 * len(order)))
        place = {key: 2 if rank < inside else 1 if rank < inside + held else 0 for rank, key in enumerate(order)}
        result[rows] = [place[key] for key in keys]
    return result


@dataclass(frozen=True)
class Vectors:
    """Standardized inputs of the head for one fold, float32.

    Attributes:
        prompts: (n, width).
        first: (n, width).
        second: (n, width).
    """

    prompts: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class Standard:
    """Location and inverse scale of prompts and completions, as the head's inputs have them."""

    prompts: tuple[np.ndarray, np.ndarray]
    texts: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, features: Features, fold: Fold) -> Standard:
        """Of the rows to fit."""
        prompts, texts = features.of(fold)
        return cls(_moments(prompts.numpy()), _moments(texts[:, :2].flatten(0, 1).numpy()))

    def __call__(self, features: Features, fold: Fold) -> Vectors:
        """Standardized vectors of a fold."""
        prompts, texts = (values.numpy() for values in features.of(fold))
        (loc, inverse), (text_loc, text_inverse) = self.prompts, self.texts
        first, second = ((texts[:, side] - text_loc) * text_inverse for side in (0, 1))
        return Vectors((prompts - loc) * inverse, first, second)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.mean(0), 1.0 / np.maximum(values.std(0), 1e-2)


def read(data: Path, cache: Path, share: float) -> Material:
    """The material with every feature computed."""
    material = Material(data, cache, share)
    for part in ("train", "dev"):
        for source in ROWS:
            material.fold(f"{source}.{part}")
            print("features of", source, part, len(material.fold(f"{source}.{part}")), flush=True)
    return material
