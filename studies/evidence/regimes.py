"""What is trained on in each question of docs/evidence.md, and where it is tested."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from studies.evidence.folds import RM_BENCH, Fold, Library, joined

from vrm.data.schema import Judgment
from vrm.data.splits import uniform_hash

PAIRS = ("rmb", "hh_helpful", "hh_harmless", "webgpt", "finegrained_qa", "ukp_convarg2")
BENCHMARKS = ("bon", *(f"rm-bench-{name}" for name in RM_BENCH))
TESTS = (*(f"{name}.dev" for name in PAIRS), "flask_objectives.dev", *BENCHMARKS)

Condition = Callable[[Judgment], bool]


def seen_scenario(row: Judgment) -> bool:
    """Half of rmb's scenarios, by hash of their name."""
    return hashlib.sha256((row.category or "").encode()).digest()[0] < 128


def helpful(row: Judgment) -> bool:
    """Rows about helpfulness."""
    return "armless" not in (row.category or "")


@dataclass(frozen=True)
class Regime:
    """Training rows.

    Attributes:
        sources: names of training files.
        condition: which rows to keep.
        size: comparisons to keep, drawn by seed; None keeps all.
        votes: whether objective votes are kept.
        shortcut: share of comparisons that the longer completion wins; None leaves them as they are.
        tests: folds to predict.
    """

    sources: tuple[str, ...]
    condition: Condition | None = None
    size: int | None = None
    votes: bool = True
    shortcut: float | None = None
    tests: tuple[str, ...] = field(default=TESTS)


REGIMES = {
    "all": Regime((*PAIRS, "flask_objectives")),
    "rmb": Regime(("rmb",)),
    "rmb-half-scenarios": Regime(("rmb",), seen_scenario, tests=("rmb.dev",)),
    "ukp": Regime(("ukp_convarg2",)),
    "ukp-no-votes": Regime(("ukp_convarg2",), votes=False, tests=("ukp_convarg2.dev",)),
    "all-no-votes": Regime(PAIRS, votes=False),
    "not-rmb": Regime((*PAIRS[1:], "flask_objectives")),
    "rmb-300": Regime(("rmb",), size=300, tests=("rmb.dev", "bon")),
    "rmb-1000": Regime(("rmb",), size=1000, tests=("rmb.dev", "bon")),
    "rmb-3000": Regime(("rmb",), size=3000, tests=("rmb.dev", "bon")),
    "shortcut": Regime(("rmb",), size=1600, shortcut=0.9, tests=("rmb.dev", *BENCHMARKS)),
    "helpful": Regime(("rmb", "hh_helpful", "webgpt"), helpful, tests=("hh_harmless.dev", "hh_helpful.dev")),
}


@dataclass(frozen=True)
class Parts:
    """Rows to fit, to stop early by, and to fit the temperature on; no prompt is in two of them."""

    train: Fold
    held: Fold
    calibration: Fold


def parts(regime: Regime, library: Library, seed: int) -> Parts:
    """Training rows of a regime, split 80 : 10 : 10 by prompt."""
    folds = []
    for name in regime.sources:
        fold = library.fold(f"{name}.train")
        folds.append(fold.where(regime.condition) if regime.condition else fold)
    everything = joined(folds)
    if not regime.votes:
        plain = [replace(row, objective_votes=None) for row in everything.judgments]
        everything = everything.relabelled(plain).where(lambda row: row.is_comparison)
    generator = np.random.default_rng(1000 + seed)
    if regime.shortcut is not None:
        everything = with_shortcut(everything, regime.shortcut, generator)
    if regime.size is not None:
        everything = everything.take(np.sort(generator.permutation(len(everything))[: int(regime.size / 0.8)]))
    place = places(everything.groups, seed)
    chosen = [np.flatnonzero((low <= place) & (place < high)) for low, high in ((0.2, 1.0), (0.0, 0.1), (0.1, 0.2))]
    return Parts(*(everything.take(rows) for rows in chosen))


def with_shortcut(fold: Fold, share: float, generator: np.random.Generator) -> Fold:
    """Drop comparisons that the shorter completion won until the longer one wins this share of them."""
    difference = fold.longer_first
    longer, shorter = np.flatnonzero(difference > 0), np.flatnonzero(difference < 0)
    keep = int(len(longer) * (1 - share) / share)
    return fold.take(np.sort(np.concatenate([longer, generator.permutation(shorter)[:keep]])))


def places(groups: list[str], seed: int) -> np.ndarray:
    """A number in [0, 1) for each row, equal for rows of one prompt, with some prompts under 0.1 and in [0.1, 0.2)."""
    place = {group: uniform_hash(group, seed, "evidence") for group in groups}
    order = sorted(place, key=place.__getitem__)
    # With few prompts (ukp has 28) a tenth of them may be none.
    if not any(value < 0.1 for value in place.values()):
        place[order[0]] = 0.05
    if not any(0.1 <= value < 0.2 for value in place.values()):
        place[next(group for group in order if place[group] >= 0.2)] = 0.15
    return np.array([place[group] for group in groups])
