"""What the best of n candidates is worth, and what it is, by a reward and its risks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from studies.evidence.second.candidates import Candidates
from studies.evidence.second.planted_heads import BETAS, Judged

from vrm.metrics.best_of_n import gold_by_reward, top_probabilities

KAPPAS = (0.5, 1.0, 2.0)
GUARD = 1.0
"""The largest V of candidates that the guard lets pass: what one familiar text in twenty exceeds."""

PENALTIES = (0.0, 0.1, 0.3, 1.0, 3.0)
"""Of unfamiliarity, in the reward's spread on dev candidates."""


def sizes(largest: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to a number of candidates."""
    return tuple(2**power for power in range(largest.bit_length()) if 2**power <= largest)


@lru_cache(maxsize=256)
def _chances(total: int, n: int) -> np.ndarray:
    return top_probabilities(total, n)


def expected(rewards: np.ndarray, value: np.ndarray, at: Sequence[int]) -> np.ndarray:
    """Expected value of the pick among n candidates for each n, (sizes,)."""
    ascending = gold_by_reward(rewards, value)
    return np.array([_chances(len(ascending), n) @ ascending for n in at])


@dataclass(frozen=True)
class Risks:
    """A reward with everything that can be attached to it.

    Attributes:
        lines: {risk: (prompts, candidates) what to pick by}.
        penalty: of unfamiliarity, as it was chosen.
    """

    lines: dict[str, np.ndarray]
    penalty: float


def risks(judged: Judged, dev: Judged, dev_pool: Sequence[Candidates], unfamiliar: Sequence[np.ndarray]) -> Risks:
    """Every risk that a model has.

    Args:
        judged: what it says of the candidates.
        dev: the same of candidates for dev prompts, by which the penalty is chosen.
        dev_pool: those candidates.
        unfamiliarity: V of the candidates and of the dev candidates.
    """
    lines = {"mean": judged.mean}
    if judged.sd.any():
        lines |= {f"κ {kappa:g}": judged.mean - kappa * judged.sd for kappa in KAPPAS}
    lines |= {f"β {beta:g}": values for beta, values in zip(BETAS, judged.effective)}
    spread = float(dev.mean.std(1).mean())
    n = dev.mean.shape[1]

    def gold(penalty: float) -> float:
        lowered = dev.mean - penalty * spread * unfamiliar[1]
        return float(np.mean([expected(r, each.gold, [n])[0] for r, each in zip(lowered, dev_pool, strict=True)]))

    chosen = max(PENALTIES, key=gold)
    lines["penalty V"] = judged.mean - chosen * spread * unfamiliar[0]
    below = np.ptp(judged.mean) + 1.0
    lines["guard V"] = judged.mean - below * (unfamiliar[0] > GUARD)
    return Risks(lines, chosen)


def picked(rewards: np.ndarray, pool: Sequence[Candidates]) -> dict[str, Any]:
    """Figures of one way of picking: gold by prompt and size, that of plain candidates alone, and shares of kinds."""
    total = len(pool[0].gold)
    at, plain_at = sizes(total), sizes(total // 2)
    gold, plain, kinds = [], [], []
    for reward, each in zip(rewards, pool, strict=True):
        gold.append(expected(reward, each.gold, at))
        plain.append(expected(reward[each.is_plain], each.gold[each.is_plain], plain_at))
        kinds.append([expected(reward, values, at[-3:]) for name, values in each.shown.items() if name != "gold"])
    return {"gold": _rounded(gold), "plain": _rounded(plain), "kinds": _rounded(np.mean(kinds, axis=0).T)}


def _rounded(rows: Sequence[np.ndarray]) -> list[list[float]]:
    return [[round(float(value), 4) for value in row] for row in rows]


def merged(by_seed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One line over all seeds, in rows of text: a number a line would make the document ten times as long."""
    gold, plain = (np.array([each[field] for each in by_seed]) for field in ("gold", "plain"))
    return {
        "by_seed": _texts(gold.mean(1)),
        "by_prompt": _texts(gold.mean(0)),
        "plain_by_seed": _texts(plain.mean(1)),
        "plain_by_prompt": _texts(plain.mean(0)),
        "kinds": _texts(np.mean([each["kinds"] for each in by_seed], axis=0)),
    }


def _texts(rows: np.ndarray) -> list[str]:
    return [" ".join(f"{value:.4f}" for value in row) for row in rows]


def numbers(lines: Sequence[str]) -> np.ndarray:
    """The rows of a document's text."""
    return np.array([[float(value) for value in line.split()] for line in lines])
