"""Files of planted rows, read in every way, and what was found that was not to be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studies.drills.rows_parts.planted import Fate, Planted

from vrm.data.load import LoadResult, load_judgments
from vrm.data.problems import Problem
from vrm.data.schema import Judgment
from vrm.data.validation import InvalidDataError, ValidationReport
from vrm.errors import VrmError
from vrm.inference.score import ScoringRow, read_scoring_rows

MOST_EXAMPLES = 20
Expected = Mapping[int, Planted]
"""What was planted, by the number that messages must give: a line, or a position."""


@dataclass
class Tally:
    """What became of the tries of one line of the table.

    Attributes:
        tries: rows, or files where a whole file is damaged.
        faults: tries that ended otherwise than promised.
        lost: sound rows that were not read, or read twice.
        refused: tries that were refused by name.
        examples: what went wrong, for stderr.
    """

    tries: int = 0
    faults: int = 0
    lost: int = 0
    refused: int = 0
    examples: Counter[str] = field(default_factory=Counter)

    def fault(self, what: str, lost: int = 0) -> None:
        """Count a fault."""
        self.faults, self.lost = self.faults + (0 if lost else 1), self.lost + lost
        if len(self.examples) < MOST_EXAMPLES or what in self.examples:
            self.examples[what] += 1


def read_both_ways(path: Path, tally: Tally, refusal: bool = False) -> tuple[list[Judgment], ValidationReport] | None:
    """The rows of a file as training and the doctor read them, from memory and from the disk, which must agree.

    With `refusal` the file may be refused as a whole, by an error that names it.
    """
    outcomes = []
    for storage in ("memory", "disk"):
        try:
            outcomes.append(_outcome(lambda storage=storage: load_judgments(path, on_bad_rows="skip", storage=storage)))
        except VrmError as error:
            outcomes.append(str(error))
        except Exception as error:
            tally.fault(f"{storage}: {type(error).__name__}: {str(error)[:150]}")
            return None
    memory, disk = outcomes
    if memory != disk and repr(memory) != repr(disk):
        tally.fault(f"memory and disk differ: {_difference(memory, disk)}")
    if isinstance(memory, str):
        if refusal and str(path) in memory:
            tally.refused += 1
        else:
            tally.fault(f"not read at all: {memory[:200]}")
        return None
    rows, report = memory
    return rows, report


def _outcome(load: Any) -> tuple[list[Judgment], ValidationReport]:
    try:
        loaded: LoadResult = load()
    except InvalidDataError as error:
        return [], error.report
    return list(loaded.judgments), loaded.report


def _difference(memory: Any, disk: Any) -> str:
    if isinstance(memory, str) or isinstance(disk, str):
        return f"{str(memory)[:150]} / {str(disk)[:150]}"
    for one, other in zip(*memory[:1], *disk[:1], strict=False):
        if one != other:
            return f"{one!r:.150} / {other!r:.150}"
    return f"{memory[1].to_dict()!r:.200} / {disk[1].to_dict()!r:.200}"


def check_rows(path: Path, expected: Expected, tally: Tally) -> None:
    """Read a file of planted rows as rows to learn from, and compare with their fates; each row is a try."""
    tally.tries += len(expected)
    read = read_both_ways(path, tally)
    if read is None:
        return
    rows, report = read
    by_line: dict[int, list[Problem]] = {}
    for problem in report.problems:
        by_line.setdefault(problem.line, []).append(problem)
        if problem.file != str(path):
            tally.fault(f"another file is named: {problem}")
    good = Counter(row.line for row in rows)
    prompts = {row.line: row.prompt for row in rows}
    _compare(expected, good, prompts, by_line, tally, scored=False)


def check_scoring(path: Path, expected: Expected, tally: Tally) -> None:
    """Read the file as rows to be scored."""
    try:
        rows: Sequence[ScoringRow] = list(read_scoring_rows(str(path)))
    except VrmError as error:
        tally.fault(f"scoring, not read at all: {str(error)[:200]}")
        return
    except Exception as error:
        tally.fault(f"scoring: {type(error).__name__}: {str(error)[:150]}")
        return
    good = Counter(row.line for row in rows if row.judgment is not None)
    prompts = {row.line: row.judgment.prompt for row in rows if row.judgment is not None}
    by_line = {row.line: list(row.error.problems) for row in rows if row.error is not None}
    _compare(expected, good, prompts, by_line, tally, scored=True)


def _compare(
    expected: Expected,
    good: Counter[int],
    prompts: Mapping[int, Any],
    problems: Mapping[int, list[Problem]],
    tally: Tally,
    scored: bool,
) -> None:
    way = "scoring, " if scored else ""
    for line, planted in expected.items():
        fate = planted.fate_scored if scored else planted.fate
        was_read, said = good[line], problems.get(line, [])
        if fate is Fate.EITHER and was_read > 1 and not said:
            continue  # one line may hold columns of several rows
        if was_read + bool(said) != (fate is not Fate.NOTHING):
            lost = planted.name == "sound"
            tally.fault(f"{way}{planted.name}: {fate.value}, but read {was_read} times, problems {said[:1]}", int(lost))
        elif fate is Fate.GOOD and not was_read:
            tally.fault(f"{way}{planted.name} is refused: {said[0]}"[:300], int(planted.name == "sound"))
        elif fate is Fate.BAD and was_read:
            tally.fault(f"{way}{planted.name} is read")
        elif said and not _named(said, planted):
            tally.fault(f"{way}{planted.name}: the field is not named: {said[0]}"[:300])
        elif was_read and planted.values.get("prompt") not in (prompts[line], None):
            tally.fault(f"{way}{planted.name}: another prompt is read")
        tally.refused += bool(said) and not scored
    for line in set(good) - set(expected):
        tally.fault(f"{way}a row {line} that nobody planted is read: {prompts[line]!r:.100}")


def _named(problems: Sequence[Problem], planted: Planted) -> bool:
    """Whether one of the problems names the field, and all say a reason in one line."""
    whole = all(problem.reason and "\n" not in problem.reason and problem.kind for problem in problems)
    fields = {re.split(r"[.\[]", problem.field, maxsplit=1)[0] for problem in problems}
    return whole and (not planted.field or planted.field in fields)
