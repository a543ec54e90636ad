"""Scoring: rows of prompts and completions in, one row of rewards for each, in order, a window at a time.

An output row, for an input row with n completions (chosen first where the row is a pair):

    line                 1-based line (or row) number in the input
    id                   the input row's `id`, if it has one
    rewards              n numbers, E[r] (9)
    reward_std           n numbers, the square root of (10)
    pessimistic_rewards  n numbers, E[r] - kappa sqrt(Var[r]); only with kappa
    effective_rewards    n numbers, -beta log E exp(-r / beta); only with beta
    unfamiliarity        n numbers, above 1 for one text in twenty like the training texts; older models have none
    objective_weights    {objective: E[w]}, the same for all n
    rater_tilt           {objective: b}, what a rater adds to them; only of a rater
    total_concentration  of the weights' Dirichlet; null for heads whose weights carry no uncertainty
    objective_scores     n of {objective: o(mu)}
    truncated            whether the row was cut to the model's limit
    input                {column: value}, the columns that were asked to be kept

A row that gets no rewards (unreadable, or dropped as overlong) has `line`, `id`, `error` and `input`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from vrm.choices import OnBadRows
from vrm.data.load import Source, source_rows
from vrm.data.parse import parse_scoring_row
from vrm.data.problems import InvalidRowError
from vrm.data.readers import locate
from vrm.data.schema import Judgment
from vrm.data.tokenized import OverlongReport, TokenizedJudgment
from vrm.data.validation import RecipeCounts
from vrm.errors import DataError, VrmError, check_choice
from vrm.inference.ahead import ahead
from vrm.inference.engine import RewardEngine
from vrm.inference.reward_choice import RewardChoice
from vrm.inference.rewards import RewardView, RowRewards

ALL_COLUMNS = "all"
WINDOW_TEXTS = 512


@dataclass(frozen=True)
class ScoreOptions(RewardChoice):
    """Contents of output rows: the rewards by scale and kappa, and copied columns. Kappa adds `pessimistic_rewards`,
    beta `effective_rewards`.

    Attributes:
        keep: columns of the input copied to `input`; (`all`,) copies every one.
        on_bad_rows: `error` stops at the first row that cannot be read; `skip` writes a row with `error` instead.

    Raises:
        ConfigError: for a value that is not allowed.
    """

    keep: tuple[str, ...] = ()
    on_bad_rows: str = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("on_bad_rows", self.on_bad_rows, OnBadRows)

    def kept(self, columns: Iterable[str]) -> list[str]:
        """Names of the columns that are copied, of those that there are."""
        return list(columns) if self.keep == (ALL_COLUMNS,) else list(self.keep)


@dataclass(frozen=True, slots=True)
class ScoringRow:
    """An input row: its number, its columns as read, and the judgment they hold or why they hold none.

    One that is `written` stands in the output already. It is computed for the sake of the rows beside it, which would
    else be rounded otherwise, and not given again.
    """

    line: int
    columns: Mapping[str, Any]
    judgment: Judgment | None = None
    error: InvalidRowError | None = None
    written: bool = False

    def is_pair(self, mapping: Mapping[str, str] | None) -> bool:
        """Whether it is a pair of the preference schema, whose first completion is the chosen one."""
        return self.columns.get((mapping or {}).get("chosen", "chosen")) is not None


@dataclass
class ScoreCounts:
    """Counts of the rows of one run; `scored` + `unreadable` + `dropped` is the number of output rows."""

    scored: int = 0
    texts: int = 0
    unreadable: int = 0
    dropped: int = 0
    truncated: int = 0

    @property
    def rows(self) -> int:
        """Number of output rows."""
        return self.scored + self.unreadable + self.dropped

    def add(self, other: ScoreCounts) -> None:
        """Add the counts of other rows."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def read_scoring_rows(
    source: str | Source, mapping: Mapping[str, str] | None = None, counts: RecipeCounts | None = None
) -> Iterator[ScoringRow]:
    """Rows of a source, good and bad, in order and as they are asked for.

    Args:
        source: anything `vrm.data.readers.locate` takes, or such a source with its mapping or recipe.
        mapping: {schema's column: the source's column}, of a source that is given by its path.
        counts: what the recipe does is counted here.

    Raises:
        DataError: if the source does not exist, has no row at all, or no row has a column that is mapped.
    """
    given = source if isinstance(source, Source) else Source(source, mapping=mapping)
    location = locate(given.path, given.split)
    bad: list[InvalidRowError] = []

    def noted() -> Iterator[ScoringRow]:
        while bad:
            error = bad.pop(0)
            if error.line == 0:  # a fault of the whole source, for which there is no row to stand
                raise error
            yield ScoringRow(error.line, {}, error=error)

    for line, columns in source_rows(given, location, bad.append, counts):
        yield from noted()
        try:
            judgment = parse_scoring_row(columns, file=location.label, line=line, mapping=given.mapping)
            yield ScoringRow(line, columns, judgment)
        except InvalidRowError as error:
            yield ScoringRow(line, columns, error=error)
    yield from noted()


@dataclass
class _Prepared:
    """A row on its way to the model; `message` is why it does not get there."""

    row: ScoringRow
    tokenized: TokenizedJudgment | None = None
    message: str = ""


Input: TypeAlias = tuple[Source, int]
"""A source, and how many rows at its beginning are left out, since an earlier run has written them."""


@dataclass
class Scorer:
    """Scores rows with an engine; `counts` grows as windows are taken.

    Raises:
        ConfigError: for options that this model cannot follow.
    """

    engine: RewardEngine
    options: ScoreOptions = field(default_factory=ScoreOptions)
    counts: ScoreCounts = field(default_factory=ScoreCounts)

    def __post_init__(self) -> None:
        self.view = RewardView(self.engine.model.config, self.options)

    @property
    def report(self) -> OverlongReport:
        """Counts of the rows over the model's limit of tokens."""
        return self.engine.report

    def stream(self, rows: Iterable[ScoringRow], window_texts: int = WINDOW_TEXTS) -> Iterator[list[dict[str, Any]]]:
        """Output rows, in lists; no more than one window of `window_texts` texts is held at any time.

        Raises:
            InvalidRowError, OverlongError: at a bad row where the options say so, after the rows before it.
            NumericsError: if a reward is not finite.
        """
        return self._scored(windows_of(rows, window_texts))

    def _scored(self, windows: Iterable[Sequence[ScoringRow]]) -> Iterator[list[dict[str, Any]]]:
        for prepared, stop in ahead(map(self._prepare, windows)):
            if prepared:
                yield self._score(prepared)
            if stop is not None:
                raise stop

    def windows(
        self, source: Source, skip: int = 0, recipe: RecipeCounts | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """Output rows of a source, in lists.

        Args:
            source: the input.
            skip: rows at its beginning that are left out, since an earlier run has written them.
            recipe: what the source's recipe does is counted here.

        Raises:
            DataError: the source does not exist, or has fewer rows than are to be skipped.
            InvalidRowError, OverlongError, NumericsError: as of `stream`.
        """
        return self._scored(windows_after(skip, read_scoring_rows(source, counts=recipe)))

    def each(self, inputs: Sequence[Input]) -> Iterator[Iterator[list[dict[str, Any]]]]:
        """`windows` of several sources, to be taken one after the other."""
        return (self.windows(source, skip) for source, skip in inputs)

    def _prepare(self, window: Sequence[ScoringRow]) -> tuple[list[_Prepared], VrmError | None]:
        prepared: list[_Prepared] = []
        outcomes = self.engine.tokenize.each(row.judgment for row in window if row.judgment is not None)
        for row in window:
            try:
                prepared.append(self._prepare_row(row, outcomes))
            except VrmError as error:
                return prepared, error
        return prepared, None

    def _prepare_row(
        self, row: ScoringRow, outcomes: Iterator[TokenizedJudgment | InvalidRowError | None]
    ) -> _Prepared:
        tokenized = next(outcomes) if row.judgment is not None else None
        if isinstance(tokenized, InvalidRowError):  # the chat template refuses it
            row, tokenized = replace(row, judgment=None, error=tokenized), None
        if row.judgment is None:
            assert row.error is not None
            if self.options.on_bad_rows == OnBadRows.ERROR and not row.written:
                raise row.error
            return _Prepared(row, message=str(row.error))
        if tokenized is None:
            where = f"{row.judgment.file}:{row.line}"
            limit, policy = self.engine.tokenize.max_tokens, self.engine.tokenize.on_overlong
            return _Prepared(row, message=f"{where}: over the limit of {limit} tokens, dropped ({policy})")
        return _Prepared(row, tokenized)

    def _score(self, prepared: Sequence[_Prepared]) -> list[dict[str, Any]]:
        tokenized = [item.tokenized for item in prepared if item.tokenized is not None]
        rewards = self.view(self.engine.judge_tokenized(tokenized)).rows() if tokenized else iter(())
        pairs = [(item, next(rewards) if item.tokenized is not None else None) for item in prepared]
        return [self._output(*pair) for pair in pairs if not pair[0].row.written]

    def _output(self, item: _Prepared, rewards: RowRewards | None) -> dict[str, Any]:
        columns = item.row.columns
        output: dict[str, Any] = {"line": item.row.line}
        if "id" in columns:
            output["id"] = _jsonable(columns["id"])
        if rewards is None:
            output["error"] = item.message
            self.counts.unreadable += item.row.judgment is None
            self.counts.dropped += item.row.judgment is not None
        else:
            output.update(rewards.to_dict(), truncated=rewards.tokenized.truncated)
            self.counts.scored += 1
            self.counts.texts += len(rewards.tokenized.completions)
            self.counts.truncated += rewards.tokenized.truncated
        if self.options.keep:
            output["input"] = {name: _jsonable(columns.get(name)) for name in self.options.kept(columns)}
        return output


def windows_after(skip: int, rows: Iterable[ScoringRow]) -> Iterator[list[ScoringRow]]:
    """Windows of rows, as of `windows_of`, without those that an output holds already.

    Where it ends within a window, that window comes whole, its first rows marked as written.

    Args:
        skip: rows that the output holds.
        rows: all of the input.

    Raises:
        DataError: there are not so many.
    """
    left = skip
    for window in windows_of(rows):
        if left < len(window):
            yield [*(replace(row, written=True) for row in window[:left]), *window[left:]]
        left = max(left - len(window), 0)
    if left:
        raise DataError(f"the output holds {skip} rows, the input only {skip - left}: it is another input")


def windows_of(rows: Iterable[ScoringRow], max_texts: int = WINDOW_TEXTS) -> Iterator[list[ScoringRow]]:
    """Lists of consecutive rows with `max_texts` completions or a little more; an unreadable row counts as one."""
    window: list[ScoringRow] = []
    texts = 0
    for row in rows:
        window.append(row)
        texts += len(row.judgment.completions) if row.judgment is not None else 1
        if texts >= max_texts:
            yield window
            window, texts = [], 0
    if window:
        yield window


def _jsonable(value: Any) -> Any:
    """Values of columnar files as JSON has them: NaN is null, dates and bytes are texts."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(entry) for entry in value]
    return _jsonable(value.tolist()) if hasattr(value, "tolist") else str(value)
