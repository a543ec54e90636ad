"""The kinds of label as one table: columns, parser, tensors, likelihood, and names in configuration, logs and report.

A new kind is one entry of `KINDS` and its likelihood, a class with a line in `vrm.core.likelihoods.LIKELIHOODS` in the
same order. `register_kind` adds an entry from outside, which loads its likelihood itself. Reading rows, counts,
batches, both losses, logs and the report go through the table, and none of them names a kind.

Kinds are not all alike, and the table says so. Votes and ratings are evidence about one latent each, the others are
outcomes of the rewards (`vrm.core.likelihoods.base`). A comparison or a list is what its row *is*; ratings and votes
stand *beside* it. Only kinds that order completions have `pairs`. Nothing heavy is imported here; a likelihood is
loaded when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from vrm.errors import ConfigError, DataError
from vrm.labels.base import Check, Layout, Pair, Row, objective_votes
from vrm.labels.judgments import RaterJudgment, mean_preference, parse_judgments, vote_counts

if TYPE_CHECKING:
    from torch import Tensor

    from vrm.core.likelihoods.base import Likelihood


__all__ = [
    "Check",
    "Column",
    "Kind",
    "LabelSpace",
    "LabelTensor",
    "Layout",
    "RaterJudgment",
    "decided_pairs",
    "has_label",
    "label_columns",
    "label_tensors",
    "labelled_pairs",
    "likelihoods",
    "multipliers",
    "register_kind",
]


@dataclass(frozen=True)
class LabelSpace:
    """What labels become tensors with.

    Attributes:
        objectives: names of the head's objectives, in order; empty for heads that model none.
        rating_mean: by name; ratings are standardized with it.
        rating_std: by name.
        votes_total: votes of a row are normalized to this total; None keeps counts as they are.
    """

    objectives: tuple[str, ...] = ()
    rating_mean: dict[str, float] | None = None
    rating_std: dict[str, float] | None = None
    votes_total: float | None = 1.0

    def by_objective(self, row: Row, values: Mapping[str, float], missing: float) -> list[float]:
        """The values in the objectives' order; raises `DataError` for a name that is none of them."""
        for name in values:
            if name not in self.objectives:
                raise DataError(
                    f"{row.file}:{row.line}: objective {name!r} is not one of the model's: {', '.join(self.objectives)}"
                )
        return [values.get(name, missing) for name in self.objectives]

    def standardized(self, rated: Mapping[str, float]) -> dict[str, float]:
        """The ratings of one completion in standard deviations from the mean."""
        means, stds = self.rating_mean or {}, self.rating_std or {}
        return {name: (value - means.get(name, 0.0)) / (stds.get(name, 1.0) or 1.0) for name, value in rated.items()}


@dataclass(frozen=True)
class LabelTensor:
    """One tensor of a batch's labels.

    Attributes:
        name: its key in a batch and in `vrm.core.likelihoods.base.Judgments`.
        axes: those after the batch's: "completions", "objectives", or "outcomes" (of a vote, see (15)).
        missing: what rows without the label hold, and what pads the others.
        values: of a row that has the label: a number, or nested lists by `axes` that may be shorter.
        finish: changes the filled tensor of a batch.
    """

    name: str
    axes: tuple[str, ...]
    missing: float
    values: Callable[[Row, LabelSpace], Any]
    finish: Callable[[Tensor, LabelSpace], Tensor] | None = None


@dataclass(frozen=True)
class Column:
    """A column of the row schema that holds a label.

    Attributes:
        name: in the schema; files may have another by a mapping.
        layouts: rows that may have it.
        is_number: whether a cell of a text file (CSV) is a plain number; other cells hold JSON.
    """

    name: str
    layouts: tuple[Layout, ...]
    is_number: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of label.

    Attributes:
        name: of its term in the loss, the logs and `history.jsonl`.
        columns: where rows have it.
        parse: from the columns of a row that has this layout (by name, nulls left out) to fields of `Judgment`. Kinds
            without fields of their own return `{"labels": {name: value}}`.
        has: whether a checked row has the label.
        tensors: its labels in a batch.
        likelihood: loads the likelihood.
        counted: how counts of rows name those that have it, as in "12 ranked lists" and "9 with votes".
        title: of its curve in the report.
        unit: of its term.
        beside: whether it stands beside what the row is (ratings of a comparison), and does not make the row what it
            is (a ranked list).
        multiplier: key of the configuration's `loss` section that multiplies the term; None for 1.
        pairs: the pairs of completions that a row compares; None for kinds that compare none.
    """

    name: str
    columns: tuple[Column, ...]
    parse: Callable[[Check, Mapping[str, Any], Layout], dict[str, Any]]
    has: Callable[[Row], bool]
    tensors: tuple[LabelTensor, ...]
    likelihood: Callable[[], Likelihood]
    counted: str
    title: str
    unit: str = "nats a row"
    beside: bool = False
    multiplier: str | None = None
    pairs: Callable[[Row], list[Pair]] | None = field(default=None)


def register_kind(kind: Kind) -> None:
    """Add a kind of label to the table.

    Raises:
        ConfigError: its name, or one of its columns or tensors, is taken.
    """
    columns = {column.name for column in kind.columns} & {column.name for column in label_columns()}
    tensors = {tensor.name for tensor in kind.tensors} & {tensor.name for tensor in label_tensors()}
    if kind.name in KINDS or columns or tensors:
        taken = ", ".join(sorted({kind.name} & set(KINDS) | columns | tensors))
        raise ConfigError(f"kind of label '{kind.name}': {taken} taken already; choose other names")
    KINDS[kind.name] = kind


def label_columns() -> list[Column]:
    """The columns of every kind."""
    return [column for kind in KINDS.values() for column in kind.columns]


def label_tensors() -> list[LabelTensor]:
    """The tensors of every kind."""
    return [tensor for kind in KINDS.values() for tensor in kind.tensors]


def likelihoods() -> dict[str, Likelihood]:
    """The likelihood of every kind, by name."""
    return {name: kind.likelihood() for name, kind in KINDS.items()}


def multipliers(loss: object) -> dict[str, float]:
    """Multipliers of the terms by kind, from the `loss` section of a configuration; kinds without one are left out."""
    return {name: getattr(loss, kind.multiplier) for name, kind in KINDS.items() if kind.multiplier}


def has_label(row: Row) -> bool:
    """Whether there is anything to learn from a row."""
    return any(kind.has(row) for kind in KINDS.values())


def labelled_pairs(row: Row) -> list[Pair]:
    """(first, second, preference) for every pair of completions that the row compares, by position."""
    for kind in KINDS.values():
        if kind.pairs is not None and kind.has(row):
            return kind.pairs(row)
    return []


def decided_pairs(row: Row) -> list[tuple[int, int]]:
    """(chosen, rejected) of every pair that the row orders, by position; ties are none."""
    return [
        (first, second) if preference > 0.5 else (second, first)
        for first, second, preference in labelled_pairs(row)
        if preference != 0.5
    ]


def _of_the_equations(name: str) -> Callable[[], Likelihood]:
    def load() -> Likelihood:
        from vrm.core.likelihoods import LIKELIHOODS

        return LIKELIHOODS[name]

    return load


def _parse_comparison(check: Check, columns: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    if layout is not Layout.PAIR:
        return {}
    preference = check.number("preference", columns.get("preference", 1.0))
    if preference is not None and not 0.0 <= preference <= 1.0:
        reason = f"{preference} is outside [0, 1]; 1 means that 'chosen' is preferred, 0.5 is a tie."
        check.note("preference", "out of range", reason)
    return {"preference": preference, "margin": check.number("margin", columns.get("margin", 0.0))}


def _parse_scores(check: Check, columns: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    if "scores" not in columns:
        return {}
    return {"scores": [check.number(place, value) for place, value in check.entries("scores", columns["scores"])]}


def _pairs_of_list(row: Row) -> list[Pair]:
    """Each pair once: under the Plackett-Luce model of (4) it follows the Bradley-Terry model with the same rewards."""
    scores = row.scores or []
    return [
        (first, second, 0.5 + 0.5 * ((scores[first] > scores[second]) - (scores[first] < scores[second])))
        for first, second in combinations(range(len(scores)), 2)
    ]


def _ranks(row: Row, space: LabelSpace) -> list[float] | None:
    """Places of the scores among those of the row, from 0: their order is all that counts, whatever their size."""
    if row.scores is None:
        return None
    places = {score: float(place) for place, score in enumerate(sorted(set(row.scores)))}
    return [places[score] for score in row.scores]


def _parse_ratings(check: Check, columns: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    if layout is Layout.PAIR:
        places = [(name, columns.get(name)) for name in ("chosen_ratings", "rejected_ratings")]
    elif "ratings" in columns:
        places = check.entries("ratings", columns["ratings"])
    else:
        return {}
    ratings = [{} if value is None else check.objective_numbers(place, value) or {} for place, value in places]
    return {"ratings": ratings if any(ratings) else None}


def _rating_values(row: Row, space: LabelSpace) -> list[list[float]] | None:
    if not space.objectives:
        return None
    return [space.by_objective(row, space.standardized(rated), math.nan) for rated in row.ratings or []]


def _parse_votes(check: Check, columns: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    if "objective_votes" not in columns:
        return {}
    return {"objective_votes": objective_votes(check, "objective_votes", columns["objective_votes"])}


def _vote_values(row: Row, space: LabelSpace) -> list[float] | None:
    """Nobody's vote needs no objective: data in which all votes on one are 0 does not name it."""
    given = {name: count for name, count in (row.objective_votes or {}).items() if count}
    return space.by_objective(row, given, 0.0) if space.objectives else None


def _normalized_votes(votes: Tensor, space: LabelSpace) -> Tensor:
    from vrm.core.likelihoods.votes import normalize_votes

    return votes if space.votes_total is None else normalize_votes(votes, space.votes_total)


KINDS: dict[str, Kind] = {
    "comparison": Kind(
        "comparison",
        columns=(
            Column("preference", (Layout.PAIR,), is_number=True),
            Column("margin", (Layout.PAIR,), is_number=True),
        ),
        parse=_parse_comparison,
        has=lambda row: row.is_comparison and not row.judgments,
        tensors=(
            LabelTensor("preference", (), math.nan, lambda row, space: row.preference),
            LabelTensor("margin", (), 0.0, lambda row, space: row.margin),
        ),
        likelihood=_of_the_equations("comparison"),
        counted="comparisons",
        title="Log-likelihood of comparisons",
        pairs=lambda row: [(0, 1, float(row.preference or 0.0))],
    ),
    "judgments": Kind(
        "judgments",
        columns=(Column("judgments", (Layout.PAIR,)),),
        parse=parse_judgments,
        has=lambda row: bool(row.judgments),
        tensors=(LabelTensor("vote_counts", ("outcomes",), 0.0, lambda row, space: vote_counts(row.judgments)),),
        likelihood=_of_the_equations("judgments"),
        counted="pairs with several judgments",
        title="Log-likelihood of several judgments",
        unit="nats a pair",
        pairs=lambda row: [(0, 1, mean_preference(row.judgments))],
    ),
    "ranking": Kind(
        "ranking",
        columns=(Column("scores", (Layout.LIST,)),),
        parse=_parse_scores,
        has=lambda row: row.scores is not None,
        tensors=(LabelTensor("scores", ("completions",), math.nan, _ranks),),
        likelihood=_of_the_equations("ranking"),
        counted="ranked lists",
        title="Log-likelihood of ranked lists",
        pairs=_pairs_of_list,
    ),
    "ratings": Kind(
        "ratings",
        columns=(
            Column("chosen_ratings", (Layout.PAIR,)),
            Column("rejected_ratings", (Layout.PAIR,)),
            Column("ratings", (Layout.LIST,)),
        ),
        parse=_parse_ratings,
        has=lambda row: bool(row.ratings),
        tensors=(LabelTensor("ratings", ("completions", "objectives"), math.nan, _rating_values),),
        likelihood=_of_the_equations("ratings"),
        counted="with ratings",
        title="Log-likelihood of ratings",
        unit="nats a rating",
        beside=True,
        multiplier="ratings",
    ),
    "votes": Kind(
        "votes",
        columns=(Column("objective_votes", tuple(Layout)),),
        parse=_parse_votes,
        has=lambda row: bool(row.objective_votes),
        tensors=(LabelTensor("votes", ("objectives",), 0.0, _vote_values, _normalized_votes),),
        likelihood=_of_the_equations("votes"),
        counted="with votes",
        title="Log-likelihood of objective votes",
        beside=True,
        multiplier="votes",
    ),
}
"""Every kind of label by name, in the order of the losses' terms."""
