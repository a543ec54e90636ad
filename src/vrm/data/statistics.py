"""Which objectives the labels speak of, and how the ratings are distributed."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from vrm.data.schema import Judgment


@dataclass(frozen=True, slots=True)
class RatingStatistics:
    """Distribution of the ratings on one objective.

    Attributes:
        count: number of rated completions.
        mean: mean rating.
        standard_deviation: of the population (divided by `count`); 0 where all ratings are equal.
    """

    count: int
    mean: float
    standard_deviation: float


class ObjectiveCounts:
    """Which objectives rows speak of, and their ratings, row by row."""

    def __init__(self) -> None:
        self._rated, self._voted = Counter[str](), Counter[str]()
        self._values: dict[str, array[float]] = {}

    def add(self, row: Judgment) -> None:
        """Count a row: its ratings by completion, its votes as one (whatever their weight, if above 0)."""
        for ratings in row.ratings or []:
            self._rated.update([*ratings])
            for name, rating in ratings.items():
                self._values.setdefault(name, array("d")).append(rating)
        self._voted.update(name for name, count in (row.objective_votes or {}).items() if count > 0)

    def names(self) -> tuple[list[str], list[str]]:
        """Objectives with ratings, and those with votes; see `objective_names`."""
        return _by_frequency(self._rated), _by_frequency(self._voted)

    def statistics(self) -> dict[str, RatingStatistics]:
        """Of the ratings; see `rating_statistics`."""
        return {name: _statistics(self._values[name]) for name in sorted(self._values)}


def _counted(judgments: Iterable[Judgment]) -> ObjectiveCounts:
    counts = ObjectiveCounts()
    for judgment in judgments:
        counts.add(judgment)
    return counts


def objective_names(judgments: Iterable[Judgment]) -> tuple[list[str], list[str]]:
    """Names of the objectives that have ratings, and of those that have votes, the most frequent first.

    Ratings are counted by completion, votes by row (whatever their weight, if above 0); equal counts: sorted by name.
    """
    return _counted(judgments).names()


def rating_statistics(judgments: Iterable[Judgment]) -> dict[str, RatingStatistics]:
    """Count, mean and standard deviation of the ratings, {objective: statistics}, sorted by name.

    These standardize the ratings of equation (5), so they are to be taken from training rows alone.
    """
    return _counted(judgments).statistics()


def without_unknown(judgment: Judgment, rated: Collection[str], voted: Collection[str]) -> tuple[Judgment, list[str]]:
    """The row without ratings on other objectives than `rated` and votes on others than `voted`, and their names.

    A row that keeps no votes, or no ratings, has None there. An objective left out twice is named twice.
    """
    ratings, votes = judgment.ratings or [], judgment.objective_votes or {}
    unknown = [name for name in votes if name not in voted]
    unknown += [name for entry in ratings for name in entry if name not in rated]
    if not unknown:
        return judgment, []
    kept = [{name: value for name, value in entry.items() if name in rated} for entry in ratings]
    left = {name: value for name, value in votes.items() if name in voted}
    return replace(judgment, ratings=kept if any(kept) else None, objective_votes=left or None), unknown


def _statistics(values: Sequence[float]) -> RatingStatistics:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return RatingStatistics(len(values), mean, math.sqrt(variance))


def _by_frequency(counts: Counter[str]) -> list[str]:
    return sorted(sorted(counts), key=counts.__getitem__, reverse=True)
