"""What a run has to know of all its rows before it begins, from one pass over them; stored rows remember it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from vrm.data.row_tables import RowTable, remembered
from vrm.data.schema import Judgment
from vrm.data.statistics import ObjectiveCounts, RatingStatistics, objective_names
from vrm.labels.judgments import vote_counts

_PLACE = {"file", "line", "source", "category", "annotator"}
"""Fields of a row that training does not read."""


@dataclass(frozen=True)
class RowFacts:
    """Facts about rows.

    Attributes:
        sha256: over all that training reads of them, in their order.
        rated: objectives with ratings, the most frequent first; see `objective_names`.
        voted: objectives with votes.
        ratings: {objective: distribution of its ratings}, sorted by name.
        votes: [votes for the first, for the second, ties, how many rows of several raters have them].
        ties_of_raters: whether a rater called a pair a tie.
        several_raters: whether a row has several raters.
        conversational: whether every prompt is a list of messages.
        with_objectives: rows with ratings or objective votes.
        without_pairs: rows with fewer than two completions.
    """

    sha256: str
    rated: list[str]
    voted: list[str]
    ratings: dict[str, RatingStatistics]
    votes: list[list[float]]
    ties_of_raters: bool
    several_raters: bool
    conversational: bool
    with_objectives: int
    without_pairs: int


def facts_of(rows: Sequence[Judgment]) -> RowFacts:
    """The facts about some rows."""
    values: dict[str, Any] = remembered(rows, "facts", lambda: asdict(_gathered(rows)))
    ratings = {name: RatingStatistics(**entry) for name, entry in values["ratings"].items()}
    return RowFacts(**values | {"ratings": ratings})


def named_objectives(rows: Sequence[Judgment]) -> tuple[list[str], list[str]]:
    """As `objective_names`; stored rows remember it."""
    if isinstance(rows, RowTable):
        facts = facts_of(rows)
        return facts.rated, facts.voted
    return objective_names(rows)


def _gathered(rows: Sequence[Judgment]) -> RowFacts:
    digest = hashlib.sha256()
    names = [field.name for field in fields(Judgment) if field.name not in _PLACE]
    objectives, counts = ObjectiveCounts(), Counter[str]()
    votes = Counter[tuple[float, ...]]()
    for row in rows:
        content = {name: value for name in names if (value := getattr(row, name)) is not None}
        digest.update(json.dumps(content, sort_keys=True, default=repr).encode())
        objectives.add(row)
        if row.judgments:
            votes[tuple(vote_counts(row.judgments))] += 1
            counts["ties"] += any(judgment.preference == 0.5 for judgment in row.judgments)
            counts["several"] += len(row.judgments) > 1
        counts["plain"] += isinstance(row.prompt, str)
        counts["objectives"] += bool(row.objective_votes or any(row.ratings or []))
        counts["few"] += len(row.completions) < 2
    return RowFacts(
        digest.hexdigest(),
        *objectives.names(),
        objectives.statistics(),
        [[*pattern, count] for pattern, count in votes.items()],
        counts["ties"] > 0,
        counts["several"] > 0,
        counts["plain"] == 0,
        counts["objectives"],
        counts["few"],
    )
