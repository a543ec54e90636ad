"""Rows with a known fate: sound ones that can be told by their prompts, and ones with one field changed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import count
from typing import Any

OBJECTIVES = ("helpfulness", "safety", "brevity")


class Fate(Enum):
    """What must become of a row."""

    GOOD = "read"
    BAD = "refused"
    EITHER = "read or refused"
    NOTHING = "no row"


@dataclass(frozen=True)
class Planted:
    """One row.

    Attributes:
        values: {column: value}.
        fate: as a row to learn from.
        field: the column that must be named where it is refused; empty where any place will do.
        name: of what was done to it.
        fate_scored: as a row to be scored, where labels are not read.
    """

    values: dict[str, Any]
    fate: Fate = Fate.GOOD
    field: str = ""
    name: str = "sound"
    fate_scored: Fate = Fate.GOOD


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


TEXTS = [
    nested(200),
    [{"role": "assistant", "content": "x", "name": nested(200)}],
    7,
    1.5,
    True,
    {},
    {"a": 1},
    [],
    [1],
    ["x"],
    [[]],
    [{}],
    [{"role": "user"}],
    [{"role": "robot", "content": "x"}],
    [{"role": "assistant", "content": 5}],
    [{"role": "assistant", "content": [{"type": "image"}]}],
    [{"from": "gpt", "value": "x"}],
    [{"role": "assistant", "content": None}],
    [{"role": None, "content": "x"}],
    [None],
    "",
    "   ",
    "\n\t",
    "\u200b",
    "\ufeff \u2060",
    "half \ud800",
    "\udfff half",
    [{"role": "assistant", "content": "half \udc00"}],
    [{"role": "assistant", "content": "x", "name": "\ud800"}],
    [{"role": "assistant", "content": "x", "tool_calls": [{"function": {"arguments": "\ud801"}}]}],
]
"""No text of a pair whose other texts are plain."""

NUMBERS = ["x", "1", True, [], {}, [1], float("1e400"), 10**400, -float("1e400")]
OBJECTIVE_NUMBERS = [
    5,
    "x",
    True,
    [],
    [1],
    {"safety": "5"},
    {"safety": True},
    {"safety": float("1e400")},
    {"safety": 10**400},
    {"safety": []},
    {"": 3},
    {" ": 3},
    {"safety\ud800": 3},
]
NAMES = [1.5, True, [], {}, ["x"], "half \ud800"]
WRONG: dict[str, list[Any]] = {
    **dict.fromkeys(("prompt", "chosen", "rejected"), TEXTS),
    "preference": [*NUMBERS, -0.1, 1.5, 2],
    "margin": NUMBERS,
    **dict.fromkeys(("chosen_ratings", "rejected_ratings"), OBJECTIVE_NUMBERS),
    "objective_votes": [*OBJECTIVE_NUMBERS, {"safety": -1}, {"safety": 0}],
    "judgments": [
        5,
        "x",
        {},
        [],
        [5],
        ["x"],
        [{}],
        [{"preference": 0.3}],
        [{"preference": "1"}],
        [{"preference": True}],
        [{"preference": 10**400}],
        [{"preference": 1, "rater": "x"}],
        [{"preference": 1, "annotator": 1.5}],
        [{"preference": 1, "annotator": "\ud800"}],
        [{"preference": 1, "chosen_ratings": 5}],
        [{"preference": 1, "objective_votes": {"safety": -1}}],
    ],
    **dict.fromkeys(("annotator", "source", "category"), NAMES),
    "tools": [
        5,
        {},
        True,
        [5],
        "not JSON",
        '{"a": 1}',
        '[{"a": 1, "a": 2}]',
        "[" * 100_000,
        ["\ud800"],
        [{"name": "\ud800"}],
        "[" * 300 + "]" * 300,
        json.dumps([{"a": nested(400)}]),
    ],
    "chat_template_kwargs": [
        5,
        "x",
        [],
        True,
        {"a": nested(300)},
        {"a": nested(700)},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": float("1e400")},
    ],
    "extra": [nested(120), nested(700)],
    "completions": [5, "x", {}, True, ["one", "two"]],
    "scores": [[1, 2]],
    "ratings": [[{"safety": 1}, {"safety": 2}]],
}
"""By column of a pair: what it cannot hold."""

RIGHT: dict[str, list[Any]] = {
    "preference": [None, 0, 1, 0.25, 1e-300],
    "margin": [None, -3, 0.5],
    "chosen_ratings": [None, {}, {"safety": None}, {"safety": 4.5, "brevity": 1}],
    "rejected_ratings": [None, {}, {"safety": 4.5}],
    "objective_votes": [None, {"safety": 1}, {"safety": 0, "brevity": 2}],
    "judgments": [
        None,
        [{"preference": 1}],
        [{"preference": 0.5, "annotator": 7}, {"preference": 0, "annotator": "x"}],
    ],
    **{name: [None, 5, 10**300, "\u202eleft", "zero\u200bwidth"] for name in ("annotator", "source", "category")},
    "tools": [None, [], [{"name": "f"}], '[{"name": "f"}]'],
    "chat_template_kwargs": [None, {}, {"a": [1, None, "x"]}],
    "extra": [
        nested(90),
        None,
        5,
        1e308,
        "half \ud800",
        [[[[]]]],
        {"deep": {"deep": {}}},
        "x" * 100_000,
        {"safety\u200b": 1},
    ],
}
"""By column of a pair: what is odd there, and allowed."""

ODD_TEXTS = [
    "\x00",
    "\x07bell",
    "\x1b[31mred",
    "a\u200bb",
    "\ufeffmark",
    "a\u2028b",
    "a\x85b",
    "\u202eright to left",
    "e\u0301" * 20,
    "\U0001f600",
    "\uffff",
    "\U0010ffff",
    "\r\n\r",
    "\x7f",
    "tab\tand\vfeed\f",
    "<|im_end|>",
    "{{ 7 * 7 }}",
    "$(touch x)",
    "\\ud800",
    "'; --",
    "</s>",
]
"""Characters that a text may hold."""

LISTS_WRONG: dict[str, list[Any]] = {
    "completions": [
        5,
        "x",
        {},
        True,
        [],
        [1, 2],
        ["a", ""],
        ["a", None],
        [["a"], ["b"]],
        ["a", "half \ud800"],
        [{}, {}],
    ],
    "scores": [5, "x", {}, [1], [1, 2, 3], ["1", "2"], [1, None], [1, True], [1, float("1e400")]],
    "ratings": [
        5,
        "x",
        {},
        [5, 5],
        [{"safety": "1"}, None],
        [{"safety": 1}],
        [{"safety": 1}, {"safety": float("1e400")}],
    ],
    "preference": [1],
    "chosen_ratings": [{"safety": 1}],
}
"""By column of a list of two completions: what it cannot hold."""

LABELS = {
    "preference",
    "margin",
    "chosen_ratings",
    "rejected_ratings",
    "objective_votes",
    "judgments",
    "scores",
    "ratings",
}


def sound(number: int) -> dict[str, Any]:
    """A pair that can be read, with labels of several kinds; its prompt holds the number."""
    row: dict[str, Any] = {
        "prompt": f"Question {number}: how do we boil water?",
        "chosen": f"Put the pot on the stove ({number % 89}).",
        "rejected": f"No idea, ask somebody ({number % 97}).",
    }
    if number % 3 == 0:
        row["chosen_ratings"] = dict.fromkeys(OBJECTIVES, number % 5)
    if number % 4 == 0:
        row["objective_votes"] = {"safety": 1 + number % 2, "brevity": 1}
    if number % 5 == 0:
        row |= {"preference": 0.75, "category": "kitchen"}
    return row


def sound_list(number: int) -> dict[str, Any]:
    """A ranked list that can be read."""
    texts = [f"Put the pot on the stove ({number % 89}).", f"No idea ({number % 97})."]
    return {"prompt": f"Question {number}: how do we boil water?", "completions": texts, "scores": [2, number % 2]}


def changes() -> Iterator[Planted]:
    """Every change of one field of a row, each with what must become of it."""
    for column, values in WRONG.items():
        yield from (_changed(sound(0), column, value, Fate.BAD) for value in values)
    for column, values in RIGHT.items():
        yield from (_changed(sound(0), column, value, Fate.GOOD) for value in values)
    for column, values in LISTS_WRONG.items():
        yield from (_changed(sound_list(0), column, value, Fate.BAD) for value in values)
    yield from _others(sound(0))


def _changed(row: dict[str, Any], column: str, value: Any, fate: Fate) -> Planted:
    shown = repr(value)
    name = f"{column}: {shown if len(shown) < 50 else shown[:47] + '...'}"
    scored = Fate.GOOD if column in LABELS or fate is Fate.GOOD else Fate.BAD
    if "inf" in shown or (column == "completions" and "chosen" not in row):
        scored = Fate.EITHER  # a literal that is no JSON is a fault anywhere; one completion is enough to be scored
    # A pair with 'completions' is a mixture of layouts, and either of their columns may be named.
    named = "" if column == "completions" and "chosen" in row else column
    return Planted({**row, column: value}, fate, named if fate is Fate.BAD else "", name, scored)


def _others(row: dict[str, Any]) -> Iterator[Planted]:
    for column in ("prompt", "chosen", "rejected"):
        absent = {name: value for name, value in row.items() if name != column}
        yield Planted(absent, Fate.BAD, column, f"no {column}", Fate.BAD)
        for other in (f"{column}\u200b", column.upper(), f" {column}", f"\ufeff{column}"):
            renamed = {other if name == column else name: value for name, value in row.items()}
            yield Planted(renamed, Fate.BAD, column, f"{column} called {other!r}", Fate.BAD)
        for odd in ODD_TEXTS:
            yield Planted({**row, column: f"{row[column]} {odd} end"}, name=f"{column} with {odd!r}")
    yield Planted(
        {**row, "odd \ud800": "x", "id": "odd \ud801"}, name="a column with half a surrogate pair in its name"
    )
    yield Planted({}, Fate.BAD, "", "no column", Fate.BAD)
    yield Planted({**row, "rejected": row["chosen"]}, Fate.BAD, "chosen", "equal sides")
    yield Planted(dict.fromkeys(row), Fate.BAD, "", "all null", Fate.BAD)


def spread(seed: int) -> Iterator[Planted]:
    """Endless: a sound row, a changed one, and so on; the changes in random order, all of them equally often."""
    rng, kinds, left = random.Random(seed), list(changes()), list[Planted]()
    for number in count(0, 2):
        left = left or rng.sample(kinds, len(kinds))
        yield Planted(sound(number))
        yield numbered(left.pop(), number + 1)


def numbered(row: Planted, number: int) -> Planted:
    """The row with this number in its prompt, which tells rows from each other, where its prompt is a sound one."""
    prompt = row.values.get("prompt")
    if not isinstance(prompt, str) or not prompt.startswith("Question "):
        return row
    return replace(row, values={**row.values, "prompt": f"Question {number}:{prompt.partition(':')[2]}"})
