"""The report on what was read: rows by kind, columns that nobody reads, and every bad row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vrm.data.columns import row_columns, suggestion
from vrm.data.problems import InvalidRowError, Problem, other_names, together
from vrm.data.schema import Judgment
from vrm.errors import DataError
from vrm.labels import KINDS

MAX_PRINTED = 20


@dataclass(slots=True)
class RecipeCounts:
    """What a recipe did with a published dataset.

    Attributes:
        read: published rows (after the join, where the recipe joins tables).
        made: rows of the schema made from them.
        left_out: how often each reason applied, as the recipe names it.
    """

    read: int = 0
    made: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """The counts as lines of the report."""
        lines = [f"    the recipe made {self.made:,} rows of {self.read:,}"]
        return lines + [f"    left out: {count:,} x {reason}" for reason, count in self.left_out.most_common()]


@dataclass(slots=True)
class ValidationReport:
    """Counts what was read from one or more sources.

    Attributes:
        good: rows that became judgments, by source.
        bad: rows that could not be used, by source.
        problems: everything that is wrong, in the order of reading; a row may have several, a whole file may have some.
        kinds: number of good rows of each kind (see `kinds_of`).
        ignored: {column: number of rows}, columns that hold something and are not read.
        recipes: {source: what its recipe did}, for the sources that have one.
        grouped: rows of several raters of one pair that were made one row each (see `vrm.data.raters`), by source.
        groups: the rows that they were made into, by source.
    """

    good: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    recipes: dict[str, RecipeCounts] = field(default_factory=dict)
    grouped: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """Number of rows read, good and bad."""
        return self.good.total() + self.bad.total()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def hint(self) -> str:
        """What to do about columns under other names; empty where no column is missing."""
        return other_names(self.problems, self.ignored)

    def add_good(self, judgment: Judgment, source: str) -> None:
        """Count a usable row."""
        self.good[source] += 1
        self.kinds.update(kinds_of(judgment))

    def add_group(self, rows: Sequence[Judgment], judgment: Judgment, source: str) -> None:
        """Count rows, which `add_good` has counted, that were made into one."""
        self.grouped[source] += len(rows)
        self.groups[source] += 1
        self.kinds.subtract(kind for row in rows for kind in kinds_of(row))
        self.kinds.update(kinds_of(judgment))
        self.kinds = +self.kinds

    def merge(self, other: ValidationReport) -> None:
        """Count what another report has counted, after what this one has."""
        self.problems.extend(other.problems)
        for name in ("good", "bad", "kinds", "ignored", "grouped", "groups"):
            getattr(self, name).update(getattr(other, name))
        for name, counts in other.recipes.items():
            mine = self.recipes.setdefault(name, RecipeCounts())
            mine.read, mine.made = mine.read + counts.read, mine.made + counts.made
            mine.left_out.update(counts.left_out)

    def add_bad(self, error: InvalidRowError, source: str) -> None:
        """Count a bad row, or (line 0) a fault of the whole file, and keep its problems."""
        self.problems.extend(error.problems)
        self.bad[source] += 1 if error.line else 0

    def reasons(self) -> dict[str, int]:
        """Number of rows (or files) with each kind of problem, the most frequent first; a row may count twice."""
        places = {(problem.kind, problem.file, problem.line) for problem in self.problems}
        return dict(Counter(sorted(kind for kind, _, _ in places)).most_common())

    def render(self, max_printed: int = MAX_PRINTED) -> str:
        """The report as text, with at most `max_printed` different problems; `problems` holds all."""
        lines = self._summary()
        if self.kinds:
            lines.append("Kinds of rows: " + ", ".join(f"{count:,} {kind}" for kind, count in self.kinds.most_common()))
        if self.ignored:
            known = row_columns()
            most = self.ignored.most_common(max_printed)
            named = [f"'{name}' (in {count:,}){suggestion(name, known)}" for name, count in most]
            named += [f"and {len(self.ignored) - len(most):,} more"] if len(most) < len(self.ignored) else []
            lines.append(f"Columns that are not read, and in how many rows: {', '.join(named)}")
            lines += [self.hint] if self.hint else []
        if self.problems:
            lines.append("What is wrong, by number of rows:")
            lines += [f"  {count:>7,}  {kind}" for kind, count in self.reasons().items()]
            lines += ["Where:", *self._places(max_printed)]
        return "\n".join(lines)

    def _places(self, max_printed: int) -> list[str]:
        """Every problem with its place; of those that read the same the first, and how many there are."""
        found = together(self.problems)
        lines = [f"  {problem}" + (f" (in {count:,} rows)" if count > 1 else "") for problem, count in found]
        rest = sum(count for _, count in found[max_printed:])
        return lines[:max_printed] + ([f"  ... and {rest:,} more problems"] if rest else [])

    def to_dict(self) -> dict[str, Any]:
        """The whole report as plain data, for JSON."""
        return {
            "rows": self.rows,
            "good": dict(self.good),
            "bad": dict(self.bad),
            "kinds": dict(self.kinds),
            "ignored_columns": dict(self.ignored),
            "grouped": {name: {"rows": count, "pairs": self.groups[name]} for name, count in self.grouped.items()},
            "recipes": {
                name: {"read": counts.read, "made": counts.made, "left_out": dict(counts.left_out)}
                for name, counts in self.recipes.items()
            },
            "reasons": self.reasons(),
            "problems": list(map(asdict, self.problems)),
        }

    def _summary(self) -> list[str]:
        lines = [f"{self.rows:,} rows: {self.good.total():,} good, {self.bad.total():,} bad"]
        for source in dict.fromkeys([*self.good, *self.bad, *self.recipes]):
            lines.append(f"  {source}: {self.good[source]:,} good, {self.bad[source]:,} bad")
            if source in self.recipes:
                lines += self.recipes[source].lines()
            if source in self.grouped:
                pairs = f"{self.groups[source]:,} pair{'' if self.groups[source] == 1 else 's'}"
                lines.append(f"    {self.grouped[source]:,} rows of several raters were grouped into {pairs}")
        return lines


class InvalidDataError(DataError):
    """Some rows cannot be used; the message is the rendered report.

    Attributes:
        report: the `ValidationReport` on everything that was read.
    """

    def __init__(self, headline: str, report: ValidationReport) -> None:
        self.headline, self.report = headline, report
        super().__init__(f"{headline}\n{report.render()}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt from `args`, which holds the text and not the report.
        return type(self), (self.headline, self.report)


def kinds_of(judgment: Judgment) -> list[str]:
    """What a row offers: what it is (one or more names), and the labels beside it."""
    present = [kind for kind in KINDS.values() if kind.has(judgment)]
    names = [kind.counted for kind in present if not kind.beside]
    if not names:
        without_outcome = "rated lists" if judgment.ratings else "unranked lists"
        names.append(without_outcome if judgment.completions else "votes only")
    if judgment.is_comparison and not judgment.judgments and judgment.preference == 0.5:
        names.append("ties")
    return names + [kind.counted for kind in present if kind.beside]
