"""Several raters of one pair: what they say together, and rows in long form (one row a rater) made one row a pair."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vrm.data.schema import Judgment, Text
from vrm.labels.judgments import VOTES, RaterJudgment, mean_preference


def pooled(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a `Judgment`, with those of the pair that follow from its raters' judgments.

    The preference is the share of the raters for the first completion. Ratings, where the row has none of its own, are
    means over the raters who gave them, and objective votes are sums.
    """
    judgments: list[RaterJudgment] = parts.get("judgments") or []
    if not judgments:
        return dict(parts)
    return {
        **parts,
        "preference": mean_preference(judgments),
        "ratings": parts.get("ratings") or _mean_ratings(judgments),
        "objective_votes": parts.get("objective_votes") or _summed_votes(judgments),
    }


def by_raters(rows: Iterable[Judgment], grouped: Callable[[Sequence[Judgment], Judgment], None]) -> list[Judgment]:
    """Rows of one pair by several annotators made one row with `judgments`, in the place of the first; others as given.

    Rows belong together if their texts, tools and template arguments are equal, whichever completion comes first. Each
    names its annotator, at least two do differently, each preference is 1, 0 or 0.5, and none has a target margin. Rows
    without annotators stay as they are, since nothing tells a second rater from a copy.

    Args:
        rows: of one source.
        grouped: called with the rows of a group, and what they became.
    """
    kept = dict(enumerate(rows))
    groups: dict[Hashable, list[int]] = {}
    for index, row in kept.items():
        if _is_one_raters(row):
            groups.setdefault(_key(row), []).append(index)
    for members in groups.values():
        of_pair = [kept[index] for index in members]
        merged = merged_pair(of_pair)
        if merged is not None:
            kept[members[0]] = merged
            for index in members[1:]:
                del kept[index]
            grouped(of_pair, merged)
    return list(kept.values())


def pair_digest(row: Judgment) -> str | None:
    """A hash that rows of one pair by single raters share; None for other rows, which stay as they are."""
    if not _is_one_raters(row):
        return None
    prompt, sides, *rest = _key(row)
    return hashlib.blake2b(json.dumps([prompt, sorted(sides), *rest]).encode(), digest_size=16).hexdigest()


def merged_pair(rows: Sequence[Judgment]) -> Judgment | None:
    """Rows of one pair as one row with `judgments`; None where all are by one annotator."""
    return _one_row(rows) if len({row.annotator for row in rows}) > 1 else None


def _is_one_raters(row: Judgment) -> bool:
    own = row.annotator is not None and row.is_comparison and not (row.judgments or row.labels)
    return own and row.preference in VOTES and row.margin == 0.0


def _key(row: Judgment) -> tuple[str, frozenset[str], str, str]:
    return (
        _text_key(row.prompt),
        frozenset(map(_text_key, row.completions)),
        _text_key(row.tools),
        _text_key(row.chat_template_kwargs),
    )


def _text_key(value: Text | Any) -> str:
    return json.dumps(value, default=repr, sort_keys=True)


def _one_row(rows: Sequence[Judgment]) -> Judgment:
    first = rows[0]
    judgments = [_as_in(first, row) for row in rows]
    merged = pooled({"judgments": judgments})
    return replace(first, annotator=None, **merged)


def _as_in(first: Judgment, row: Judgment) -> RaterJudgment:
    """A row as one rater's judgment of the first row's pair, its sides in that row's order."""
    preference, ratings = float(row.preference or 0.0), row.ratings
    if row.completions != first.completions:
        preference, ratings = 1.0 - preference, None if ratings is None else ratings[::-1]
    return RaterJudgment(row.annotator, preference, ratings, row.objective_votes)


def _mean_ratings(judgments: Sequence[RaterJudgment]) -> list[dict[str, float]] | None:
    ratings = []
    for side in range(2):
        given: dict[str, list[float]] = {}
        for judgment in judgments:
            for name, value in (judgment.ratings[side] if judgment.ratings else {}).items():
                given.setdefault(name, []).append(value)
        ratings.append({name: math.fsum(values) / len(values) for name, values in given.items()})
    return ratings if any(ratings) else None


def _summed_votes(judgments: Sequence[RaterJudgment]) -> dict[str, float] | None:
    votes: dict[str, float] = {}
    for judgment in judgments:
        for name, count in (judgment.objective_votes or {}).items():
            votes[name] = votes.get(name, 0.0) + count
    return votes or None
