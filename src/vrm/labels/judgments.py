"""What several raters say of one pair, the labels of (15): one object a rater in the column `judgments`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from numbers import Real
from typing import Any

from vrm.errors import DataError
from vrm.labels.base import Check, Layout, objective_votes

VOTES = (1.0, 0.0, 0.5)
"""Preferences of a single rater: for the first (`chosen`), for the second, a tie; in the order of the outcomes."""

KEYS = ("annotator", "preference", "chosen_ratings", "rejected_ratings", "objective_votes")
"""What an object of the column `judgments` may have."""

_OTHER_NAMES = {
    **dict.fromkeys(("rater", "user", "worker", "judge", "labeler", "labeller", "reviewer", "evaluator"), "annotator"),
    **dict.fromkeys(("vote", "label", "choice", "winner", "verdict", "judgment", "preferred", "score"), "preference"),
}
"""What others call the fields of `KEYS`; an ending such as `_id` does not matter."""


@dataclass(frozen=True, slots=True)
class RaterJudgment:
    """What one of several raters said of a pair.

    Attributes:
        annotator: who judged; None where nobody is named.
        preference: 1 for the first completion, 0 for the second, 0.5 for a tie.
        ratings: this rater's, one mapping {objective: number} a completion; None without.
        objective_votes: this rater's, {objective: weight >= 0}; None without.

    Raises:
        DataError: for another preference.
    """

    annotator: str | None
    preference: float
    ratings: list[dict[str, float]] | None = None
    objective_votes: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if self.preference not in VOTES:
            raise DataError(f"preference of a rater is {self.preference!r}; {_ALLOWED}")


_ALLOWED = "1 is a vote for 'chosen', 0 for 'rejected', 0.5 a tie."
_NUMBERS = "1 (chosen), 0 (rejected) or 0.5 (a tie)"


def mean_preference(judgments: Sequence[RaterJudgment]) -> float:
    """Share of the raters who prefer the first completion, in [0, 1]; ties count half."""
    return math.fsum(judgment.preference for judgment in judgments) / len(judgments)


def vote_counts(judgments: Sequence[RaterJudgment]) -> list[float]:
    """Number of votes for the first completion, for the second, and of ties."""
    return [float(sum(judgment.preference == vote for judgment in judgments)) for vote in VOTES]


def parse_judgments(check: Check, columns: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """The raters' judgments of a pair, from the column of that name."""
    if "judgments" not in columns:
        return {}
    value = columns["judgments"]
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        reason = "it is no list; a list with one object a rater is needed, each with 'annotator' and 'preference'."
        check.note("judgments", "wrong type", reason)
        return {}
    if not value:
        check.note("judgments", "no judgments", "the list is empty; leave the column out if nobody judged.")
    parsed = [_judgment(check, f"judgments[{index}]", entry) for index, entry in enumerate(value)]
    return {"judgments": [judgment for judgment in parsed if judgment is not None]}


def _judgment(check: Check, field: str, value: object) -> RaterJudgment | None:
    if not isinstance(value, Mapping):
        check.note(field, "wrong type", f"{value!r:.60} is no object; it needs 'preference', and may have {_listed()}.")
        return None
    given = {name: entry for name, entry in value.items() if entry is not None}
    unknown = [str(name) for name in given if name not in KEYS]
    if unknown:
        meant = [name for name in dict.fromkeys(map(_meant, unknown)) if name is not None and name not in given]
        hint = f" Did you mean {_listed(*meant)}?" if meant else ""
        check.note(field, "unknown field", f"{_listed(*unknown)} is not read; allowed are {_listed(*KEYS)}.{hint}")
    preference = _preference(check, f"{field}.preference", given.get("preference"))
    ratings = [
        check.objective_numbers(f"{field}.{name}", given[name]) or {} if name in given else {}
        for name in ("chosen_ratings", "rejected_ratings")
    ]
    votes = objective_votes(check, f"{field}.objective_votes", given["objective_votes"]) if KEYS[4] in given else None
    annotator = check.name(f"{field}.annotator", given["annotator"]) if "annotator" in given else None
    if preference is None:
        return None
    return RaterJudgment(annotator, preference, ratings if any(ratings) else None, votes)


def _meant(name: str) -> str | None:
    """The field that somebody calls `name`; None if nothing is close."""
    base = name.lower().removesuffix("_id").removesuffix("_name")
    close = get_close_matches(base, [*_OTHER_NAMES, *KEYS], n=1, cutoff=0.75)
    return _OTHER_NAMES.get(close[0], close[0]) if close else None


def _listed(*names: str) -> str:
    return ", ".join(f"'{name}'" for name in names or [name for name in KEYS if name != "preference"])


def _preference(check: Check, field: str, value: object) -> float | None:
    if value is None:
        check.note(field, "missing field", f"it is absent or null; {_ALLOWED}")
        return None
    if not isinstance(value, Real) or isinstance(value, bool):
        check.note(field, "wrong type", f"{value!r:.60} is a {type(value).__name__}; it must be {_NUMBERS}.")
        return None
    preference = check.number(field, value)
    if preference is not None and preference not in VOTES:
        check.note(field, "out of range", f"{preference} is no vote of one rater; {_ALLOWED}")
        return None
    return preference
