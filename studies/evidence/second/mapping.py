"""Temperatures that grow with a distance, learned from other homes and other foreign sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit

CONSTANT = "constant"
GROWING, CHANCE = "temperature grows", "share of chance"
TEMPERATURES = (1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
SLOPES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)


@dataclass(frozen=True)
class Judged:
    """Rows of one fold as a head judges them.

    Attributes:
        log_odds: (n,) temperature-scaled at home.
        preference: (n,) in [0, 1].
        excess: (n,) by how much a distance is over what one familiar text in twenty exceeds; 0 below.
    """

    log_odds: np.ndarray
    preference: np.ndarray
    excess: np.ndarray

    def mapped(self, mapping: str, value: float) -> np.ndarray:
        """Log odds (n,) after a mapping."""
        if mapping == CONSTANT:
            return self.log_odds / value
        if mapping == GROWING:
            return self.log_odds * np.exp(-value * self.excess)
        chance = np.exp(-value * self.excess) * (1.0 / (1.0 + np.exp(-self.log_odds)) - 0.5) + 0.5
        return np.log(chance) - np.log1p(-chance)

    def nll(self, mapping: str, value: float) -> float:
        """Mean, in nats."""
        odds, label = self.mapped(mapping, value), self.preference
        return float(-(label * log_expit(odds) + (1.0 - label) * log_expit(-odds)).mean())


@dataclass(frozen=True)
class Trip:
    """A model of one home abroad.

    Attributes:
        home: its name.
        members: sources that the home has.
        foreign: source that it lacks.
        learning: rows of train files at home and abroad.
        test: rows of dev files at home and abroad.
    """

    home: str
    members: tuple[str, ...]
    foreign: str
    learning: tuple[Judged, Judged]
    test: tuple[Judged, Judged]


def grid_of(mapping: str) -> Sequence[float]:
    """Values that are tried."""
    return TEMPERATURES if mapping == CONSTANT else SLOPES


def learned(mapping: str, trips: Sequence[Trip]) -> Iterator[tuple[Trip, float]]:
    """Every trip with the value that is best, half at home and half abroad, on trips of other homes to other places."""
    grid = grid_of(mapping)
    losses = np.array([[sum(fold.nll(mapping, value) for fold in trip.learning) for value in grid] for trip in trips])
    for trip in trips:
        others = [
            index
            for index, other in enumerate(trips)
            if len(other.members) == 1
            and other.foreign not in (trip.foreign, *_only(trip))
            and other.home not in (trip.home, trip.foreign)
        ]
        value = grid[int(losses[others].mean(0).argmin())] if others else grid[0]
        yield trip, value


def _only(trip: Trip) -> tuple[str, ...]:
    """The home's source, where it has but one."""
    return trip.members if len(trip.members) == 1 else ()
