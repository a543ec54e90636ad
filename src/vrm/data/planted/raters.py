"""Who judges the quickstart corpus: sixteen raters, each with an own tilt over the objectives and an own tie threshold.

Equation (16) as it was planted. With levels divided by their standard deviation, rater r sees the utility
u_r = (w + b_r) . (level_a - level_b) / temperature, and calls a tie what lies within the threshold c_r.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vrm.data.planted.text import OBJECTIVES

NAMES = tuple(objective.name for objective in OBJECTIVES)
"""The objectives, in the order of every table of numbers."""

JUDGMENTS_A_PAIR = 3


@dataclass(frozen=True, slots=True)
class PlantedRater:
    """How one rater differs from the population.

    Attributes:
        tilt: b_r, {objective: number}, in units of the true weights and signed.
        tie_threshold: c_r > 0, in log-odds.
    """

    tilt: dict[str, float]
    tie_threshold: float

    def vote_probabilities(self, utilities: Mapping[str, float], weights: Mapping[str, float]) -> list[float]:
        """T_a(u_r), T_b(u_r) and T_tie(u_r) of (15); they sum to 1.

        Args:
            utilities: by objective, what a weight of 1 would add to u.
            weights: the population's, by objective.
        """
        utility = sum((weights[name] + self.tilt[name]) * utilities[name] for name in utilities)
        first, second = _logistic(utility - self.tie_threshold), _logistic(-utility - self.tie_threshold)
        return [first, second, 1.0 - first - second]


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


RATERS = {
    name: PlantedRater(dict(zip(NAMES, tilt)), tie_threshold)
    for name, tie_threshold, tilt in (
        # in the order of NAMES: safety, evidence, honesty, empathy, creativity, actionability
        ("ada", 0.6, (0.10, -0.05, 0.15, 0.00, -0.15, -0.10)),
        ("ben", 0.3, (0.10, 0.10, 0.00, 0.10, 0.00, 0.05)),
        ("cleo", 0.8, (-0.05, 0.00, -0.15, 0.10, 0.20, 0.00)),
        ("dov", 0.4, (0.10, 0.00, 0.05, 0.15, -0.10, -0.10)),
        ("eva", 0.9, (0.10, 0.05, 0.05, -0.10, 0.15, 0.15)),
        ("finn", 0.9, (-0.10, -0.20, -0.10, 0.20, 0.00, 0.00)),
        ("gus", 1.3, (0.15, -0.05, -0.20, 0.05, 0.05, 0.00)),
        ("hana", 0.8, (-0.30, -0.10, 0.00, -0.15, -0.05, 0.00)),
        ("ida", 1.1, (-0.10, -0.10, 0.05, 0.05, 0.00, 0.00)),
        ("jon", 0.5, (0.00, 0.05, 0.00, 0.00, -0.10, -0.15)),
        ("kai", 1.1, (0.00, 0.20, 0.05, 0.00, 0.20, 0.10)),
        ("lena", 1.0, (0.00, -0.15, 0.00, -0.15, 0.00, -0.20)),
        ("milo", 0.6, (0.05, 0.20, -0.10, -0.05, -0.15, 0.10)),
        ("nora", 0.5, (-0.15, 0.10, 0.10, -0.05, 0.00, 0.20)),
        ("otto", 0.7, (0.05, -0.10, 0.15, 0.00, -0.15, 0.00)),
        ("pia", 0.7, (0.05, 0.05, -0.05, -0.15, 0.10, -0.05)),
    )
}
"""The tilts of an objective sum to 0 over the raters, so the population's weights are the domains' true weights."""


def population_vote(utilities: Mapping[str, float], weights: Mapping[str, float]) -> list[float]:
    """Probabilities of the vote of a rater drawn at random: the mean over all of them; arguments as there."""
    by_rater = [rater.vote_probabilities(utilities, weights) for rater in RATERS.values()]
    return [math.fsum(values) / len(RATERS) for values in zip(*by_rater)]
