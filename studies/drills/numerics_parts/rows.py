"""Rows of every kind of label that teach little, nothing or the contrary: what a user's file may well be."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from vrm.labels import KINDS

Row = dict[str, Any]

WORDS = [
    "the", "a", "is", "of", "to", "and", "you", "it", "that", "in", "how", "do", "what", "why", "can", "we", "not",
    "with", "safe", "good", "bad", "please", "thank", "plan", "water",
]  # fmt: skip
OBJECTIVES = ("helpfulness", "safety")
NUM_ROWS = 32
RATERS = 3


def text(random_: random.Random, words: int) -> str:
    return " ".join(random_.choices(WORDS, k=words))


def quality(completion: str) -> float:
    """What labels follow: the share of a few words."""
    words = completion.split()
    return sum(word in ("good", "safe", "please", "thank") for word in words) / len(words)


def _pair(random_: random.Random) -> Row:
    """A prompt and two completions, the better one first."""
    first, second = sorted((text(random_, 12) for _ in range(2)), key=quality, reverse=True)
    category = random_.choice(("cooking", "travel", "law"))
    return {"prompt": text(random_, 8), "chosen": first, "rejected": second, "category": category}


def _comparison(random_: random.Random) -> Row:
    return _pair(random_)


def _judgments(random_: random.Random) -> Row:
    """Three raters, of whom one in five errs and one in ten sees a tie."""
    votes = [random_.choices((1.0, 0.0, 0.5), (7, 2, 1))[0] for _ in range(RATERS)]
    judgments = [{"annotator": f"rater {number}", "preference": vote} for number, vote in enumerate(votes)]
    return {**_pair(random_), "judgments": judgments}


def _list(random_: random.Random) -> Row:
    completions = [text(random_, 12) for _ in range(4)]
    category = random_.choice(("cooking", "travel", "law"))
    return {"prompt": text(random_, 8), "completions": completions, "category": category}


def _ranking(random_: random.Random) -> Row:
    row = _list(random_)
    return {**row, "scores": [quality(completion) for completion in row["completions"]]}


def _ratings(random_: random.Random) -> Row:
    row = _list(random_)
    return {
        **row,
        "ratings": [
            {name: 5.0 * quality(completion) + random_.gauss(0.0, 0.5) for name in OBJECTIVES}
            for completion in row["completions"]
        ],
    }


def _votes(random_: random.Random) -> Row:
    return {**_pair(random_), "objective_votes": dict(zip(OBJECTIVES, (random_.randint(0, 4), 1), strict=True))}


MAKERS: dict[str, Callable[[random.Random], Row]] = {
    "comparison": _comparison,
    "judgments": _judgments,
    "ranking": _ranking,
    "ratings": _ratings,
    "votes": _votes,
}
"""A row of each kind of label."""

NUMBERS = ("preference", "margin", "scores", "ratings", "chosen_ratings", "rejected_ratings", "objective_votes")
"""Columns whose numbers are a user's own, or have a scale of their own."""


def kinds() -> list[str]:
    """Every kind of label that the package knows; the drill fails where one has no rows here."""
    missing = set(KINDS) - set(MAKERS)
    if missing:
        raise ValueError(f"rows of {', '.join(sorted(missing))} are not made yet: add them to MAKERS")
    return list(KINDS)


def plain(kind: str, seed: int) -> list[Row]:
    """Rows that teach what they should."""
    random_ = random.Random(f"{kind} {seed}")
    return [MAKERS[kind](random_) for _ in range(NUM_ROWS)]


def _changed(row: Row, change: Callable[[float], float], columns: Sequence[str] = NUMBERS) -> Row:
    """A row with other numbers in its labels."""

    def numbers(value: Any) -> Any:
        if isinstance(value, list):
            return [numbers(entry) for entry in value]
        if isinstance(value, dict):
            return {name: numbers(entry) for name, entry in value.items()}
        return change(value)

    return {name: numbers(value) if name in columns else value for name, value in row.items()}


def one_category(rows: list[Row]) -> list[Row]:
    return [{**row, "category": "law"} for row in rows]


def all_ties(rows: list[Row]) -> list[Row]:
    """Every pair a tie, every completion as good as the other, every objective as important."""
    changed = [_changed(row, lambda _: 1.0, ("scores", "ratings", "objective_votes")) for row in rows]
    for row in changed:
        if "judgments" in row:
            row["judgments"] = [{**judgment, "preference": 0.5} for judgment in row["judgments"]]
        elif "chosen" in row:
            row["preference"] = 0.5
    return changed


def contradicting(rows: list[Row]) -> list[Row]:
    """Half of the rows, and each of them again with the contrary label."""
    half = rows[: len(rows) // 2]
    return half + [_contrary(row) for row in half]


def _contrary(row: Row) -> Row:
    other = _changed(row, lambda value: -value, ("scores", "ratings"))
    if "judgments" in row:
        other["judgments"] = [{**entry, "preference": 1.0 - entry["preference"]} for entry in row["judgments"]]
    elif "chosen" in row:
        other["preference"] = 0.0
    if "objective_votes" in row:
        names, votes = zip(*row["objective_votes"].items(), strict=True)
        other["objective_votes"] = dict(zip(names, reversed(votes), strict=True))
    return other


def scaled(factor: float) -> Callable[[list[Row]], list[Row]]:
    """The same labels in another unit: ratings, scores, votes, and a margin where there is none of them."""

    def change(rows: list[Row]) -> list[Row]:
        changed = [_changed(row, lambda value: factor * value) for row in rows]
        if any(name in row for row in rows for name in (*NUMBERS[2:], "judgments")):
            return changed
        return [{**row, "margin": factor} for row in changed]

    return change


def one_objective_constant(rows: list[Row]) -> list[Row]:
    """The first objective is always rated the same, or never voted for; plain labels get such ratings."""
    changed = []
    for row in rows:
        first = OBJECTIVES[0]
        if "objective_votes" in row:
            changed.append({**row, "objective_votes": {**row["objective_votes"], first: 0}})
        elif "ratings" in row:
            changed.append({**row, "ratings": [{**rated, first: 3.0} for rated in row["ratings"]]})
        elif "chosen" in row:
            changed.append({**row, **{f"{side}_ratings": {first: 3.0} for side in ("chosen", "rejected")}})
        else:
            changed.append({**row, "ratings": [{first: 3.0} for _ in row["completions"]]})
    return changed


def one_word_tells(rows: list[Row]) -> list[Row]:
    """Labels that follow one word without exception, which no likelihood can have enough of."""
    changed = []
    for row in rows:
        if "judgments" in row:
            row = {**row, "judgments": [{**judgment, "preference": 1.0} for judgment in row["judgments"]]}
        if "chosen" in row:
            row = {**row, "chosen": "good good good good", "rejected": f"bad {row['rejected']}"}
        else:
            row = {**row, "completions": [f"{'good ' * place} water" for place in range(len(row["completions"]))]}
        if "scores" in row:
            row = {**row, "scores": list(range(len(row["scores"])))}
        if "ratings" in row:
            row = {**row, "ratings": [dict.fromkeys(OBJECTIVES, float(place)) for place in range(len(row["ratings"]))]}
        changed.append(row)
    return changed


def wide_margins(rows: list[Row]) -> list[Row]:
    """The same, and pairs ask for a margin that no probability needs."""
    return [{**row, "margin": 1e6} if "chosen" in row else row for row in one_word_tells(rows)]


def same_texts(rows: list[Row]) -> list[Row]:
    """The same few texts in every row: hardly an input of the head varies."""
    texts = ["good water", "bad plan", "thank you", "the safe water"]
    changed = []
    for number, row in enumerate(rows):
        same: Row = {"prompt": f"plan {'the ' * (number % 2)}water"}
        if "chosen" in row:
            same |= {"chosen": texts[0], "rejected": texts[1]}
        else:
            same |= {"completions": texts}
        changed.append({**row, **same})
    return changed


def one_row(rows: list[Row]) -> list[Row]:
    return rows[:1]


def one_prompt(rows: list[Row]) -> list[Row]:
    return [{**row, "prompt": rows[0]["prompt"]} for row in rows]


SCALED = "labels times"
UNIT_FREE = ("judgments", "ranking", "ratings", "votes")
"""Kinds of label whose unit must not matter: it has none, or is taken out."""

FAULTS: dict[str, Callable[[list[Row]], list[Row]]] = {
    "no variance in an objective": one_objective_constant,
    "the same texts in every row": same_texts,
    "one category only": one_category,
    "all ties": all_ties,
    "contradicting labels": contradicting,
    "one word decides every label": one_word_tells,
    "the same, with margins of 1e6": wide_margins,
    f"{SCALED} 1e6": scaled(1e6),
    f"{SCALED} 1e25": scaled(1e25),
    f"{SCALED} 1e200": scaled(1e200),
    "one prompt": one_prompt,
    "one pair": one_row,
}
"""What was done to plain rows, by the words of the table."""
