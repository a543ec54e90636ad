"""The rows of one file as the checks need them: keys of texts, labelled pairs, places."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vrm.data.problems import Problem
from vrm.data.schema import Judgment, Text
from vrm.data.splits import prompt_key, prompt_keys
from vrm.data.validation import ValidationReport
from vrm.labels import labelled_pairs

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of a row and which is preferred.

    Attributes:
        row: index of the row.
        first: index of one completion.
        second: index of the other.
        preference: probability that the first is preferred; 0.5 is a tie.
    """

    row: int
    first: int
    second: int
    preference: float

    @property
    def sign(self) -> int:
        """1 if the first is preferred, -1 if the second, 0 for a tie."""
        return sign(self.preference)


@dataclass(frozen=True, slots=True, eq=False)
class FileRows:
    """The usable rows of one file, and the report on the others.

    Texts have equal keys if they are equal but for case, white space and Unicode form (`prompt_key`).

    Attributes:
        name: what reports call the file.
        judgments: the rows.
        report: what was read and what was not.
        prompts: key of each row's prompt.
        completions: keys of each row's completions.
        pairs: labelled pairs; every pair of a ranked list is one.
        several_raters: (rows,) whether each row holds judgments of raters.
    """

    name: str
    judgments: Sequence[Judgment]
    report: ValidationReport
    prompts: list[str]
    completions: list[list[str]]
    pairs: list[Pair]
    several_raters: NDArray[np.bool_]

    @classmethod
    def of(cls, name: str, judgments: Sequence[Judgment], report: ValidationReport) -> FileRows:
        """Compute the keys and pairs of a file's rows."""
        completions: list[list[str]] = []
        pairs: list[Pair] = []
        several = np.zeros(len(judgments), dtype=bool)
        for index, row in enumerate(judgments):
            completions.append([text_key(text) for text in row.completions])
            pairs += (Pair(index, *pair) for pair in labelled_pairs(row))
            several[index] = bool(row.judgments)
        return cls(name, judgments, report, prompt_keys(judgments), completions, pairs, several)

    def __len__(self) -> int:
        return len(self.judgments)

    def places(self, rows: Iterable[int], count: int) -> tuple[str, ...]:
        """`file:line` of the first `count` different rows."""
        places = dict.fromkeys(f"{self.judgments[row].file}:{self.judgments[row].line}" for row in rows)
        return tuple(places)[:count]

    def first_rows(self) -> dict[str, int]:
        """{prompt's key: the first row that has it}."""
        first: dict[str, int] = {}
        for row, key in enumerate(self.prompts):
            first.setdefault(key, row)
        return first


def sign(preference: float) -> int:
    """1 if a preference is for the first side, -1 if for the second, 0 for a tie."""
    return (preference > 0.5) - (preference < 0.5)


def text_key(text: Text) -> str:
    """The key of a completion, made as those of prompts are."""
    return prompt_key(Judgment(text))


def occurring_again(values: Iterable[Hashable]) -> NDArray[np.bool_]:
    """(values,) whether each occurs at another place too; perhaps also where two others have one hash."""
    hashes = np.fromiter(map(hash, values), dtype=np.int64)
    _, places, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return counts[places] > 1


def problem_places(problems: Iterable[Problem], count: int, with_kind: bool = False) -> tuple[str, ...]:
    """`file:line` of the first `count` places that problems name, with field and kind if asked for.

    Never the reason, which quotes the row.
    """
    places = []
    for entry in problems:
        place = f"{entry.file}:{entry.line}" if entry.line else entry.file
        field = f" {entry.field}" if entry.field else ""
        places.append(f"{place}{field} ({entry.kind})" if with_kind else place)
    return tuple(dict.fromkeys(places))[:count]


def evenly(entries: Sequence[Entry], limit: int) -> list[Entry]:
    """At most `limit` entries, evenly spaced from the first on; all of them if `limit` is 0."""
    if not limit or len(entries) <= limit:
        return list(entries)
    return [entries[index * len(entries) // limit] for index in range(limit)]
