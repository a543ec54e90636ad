"""Tokenized rows on the disk: every stored row once for each tokenizer and limit, and choices of them as sequences."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from itertools import repeat
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from vrm import __version__
from vrm.choices import BackboneKind, OnBadRows
from vrm.data.content_keys import content_keys
from vrm.data.problems import InvalidRowError, Problem
from vrm.data.row_tables import Places
from vrm.data.schema import Judgment
from vrm.data.spans import Span, row_spans
from vrm.data.stored.making import make_table
from vrm.data.stored.rows import StoredPart, StoredRows
from vrm.data.stored.tables import StoredTable, opened
from vrm.data.tokenized import JudgmentTokenizer, OverlongReport, TokenizedJudgment, with_words
from vrm.errors import OverlongError

FORMAT = 1
"""Of the tables; another number makes them anew."""

_COLUMNS = {
    "prompt": "list<int32>",
    "completions": "list<list<int32>>",
    "prompt_tokens": "int32",
    "tokens": "int32",
    "count": "int32",
    "prompt_cut": "int32",
    "completions_cut": "list<int32>",
    "lost": "list<string>",
    "kept": "int32",
    "keys": "binary",
    "report": "large_string",
    "stop": "large_string",
}
_NOTHING: dict[str, Any] = {name: [] if kind.startswith("list") else 0 for name, kind in _COLUMNS.items()}
_NOTHING |= {"keys": None, "report": None, "stop": None}


class _Shard(NamedTuple):
    tokenize: JudgmentTokenizer
    rows: StoredRows
    span: Span
    maker: int


@dataclass(frozen=True, eq=False)
class StoredTokens(Sequence[TokenizedJudgment]):
    """Rows and their token ids, each made when it is asked for.

    Attributes:
        rows: the rows, none of which is left out.
        files: Arrow files with the tokens of every row of the rows' parts, in the order of their numbers.
    """

    rows: StoredRows
    files: tuple[str, ...]

    @cached_property
    def table(self) -> StoredTable:
        """The columns of the tokens."""
        return opened(self.files)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> TokenizedJudgment: ...
    @overload
    def __getitem__(self, index: slice) -> StoredTokens: ...
    def __getitem__(self, index: int | slice) -> TokenizedJudgment | StoredTokens:
        """One row with its tokens, or a choice of rows, whose tokens are not read yet."""
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        number, cell = int(self.rows.numbers[index]), self.table.cell
        return TokenizedJudgment(
            cell("prompt", number),
            cell("completions", number),
            self.rows[index],
            cell("prompt_cut", number),
            tuple(cell("completions_cut", number)),
            tuple(cell("lost", number)),
        )

    def __iter__(self) -> Iterator[TokenizedJudgment]:
        return (self[index] for index in range(len(self)))

    def pick(self, places: Places) -> StoredTokens:
        """The rows at these places of the sequence."""
        return replace(self, rows=self.rows.pick(places))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of completions of every row."""
        return self.column("count")

    def joined_keys(self) -> bytes:
        """`content_keys` of every row, all one behind the other."""
        return b"".join(self.table.values("keys", self.rows.numbers))

    def costs(self, kind: str) -> NDArray[np.int64]:
        """Token positions of every row, as `Tree.positions` counts them, from the columns of lengths alone."""
        again = self.counts * self.column("prompt_tokens") if kind == BackboneKind.ENCODER else 0
        return self.column("tokens") + again

    def column(self, name: str) -> NDArray[np.int64]:
        """A column of numbers, one a row."""
        return self.table.array(name).astype(np.int64)[self.rows.numbers]


def stored_tokens(rows: StoredRows, tokenize: JudgmentTokenizer, key: str) -> StoredTokens:
    """The rows that a tokenizer leaves, with their tokens from the cache, which gets them where it has not.

    All rows of the parts are tokenized once, so that another split or other weights of the same sources reuse them.
    The tokenizer's report then counts the rows that were asked for.

    Args:
        rows: the rows.
        tokenize: with its limit, policies and report.
        key: tells what the token ids depend on beside the row: tokenizer, template.

    Raises:
        InvalidRowError, OverlongError: for the first of the rows that the policies stop at.
    """
    settings = [FORMAT, __version__, key, tokenize.max_tokens, tokenize.on_overlong]
    name = f"tokens-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]}"
    files = tuple(file for part in rows.parts for file in _part_tokens(part, tokenize, name))
    everything = StoredTokens(rows, files)
    _count(everything, tokenize)
    return everything.pick(np.flatnonzero(everything.column("kept")))


def _part_tokens(part: StoredPart, tokenize: JudgmentTokenizer, name: str) -> list[str]:
    def shards() -> list[_Shard]:
        every = StoredRows((part,), np.arange(part.rows))
        bare = JudgmentTokenizer(tokenize.chat, tokenize.max_tokens, tokenize.on_overlong)
        return [_Shard(bare, every, span, os.getpid()) for span in row_spans(part.rows)]

    return make_table(part.folder, name, _COLUMNS, _records, shards)


def _records(shards: list[_Shard]) -> Iterator[dict[str, Any]]:
    for tokenize, every, span, maker in shards:
        if os.getpid() != maker:
            # The threads of a tokenizer do not survive a fork, and whoever waits for them waits for ever.
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
        there = every.table.present("row")
        there = there[(there >= span.start) & (there < span.end)]
        records = _tokenized(tokenize, every.pick(there))
        position = span.start
        for number in there:
            yield from repeat(_NOTHING, number - position)
            yield next(records)
            position = number + 1
        yield from repeat(_NOTHING, span.end - position)


def _tokenized(tokenize: JudgmentTokenizer, rows: Sequence[Judgment]) -> Iterator[dict[str, Any]]:
    """One record a row, whatever becomes of it."""
    for outcome in tokenize.read_many(rows):
        tokenize.report = OverlongReport(tokenize.max_tokens)
        fitted, stop = None, None
        try:
            if isinstance(outcome, InvalidRowError):
                raise outcome
            fitted = tokenize.fit(with_words(outcome))
        except InvalidRowError as error:
            tokenize.report.refuse(error)
        except OverlongError as error:
            stop = str(error)
        yield _record(fitted, tokenize.report) | {"stop": stop}


def _record(row: TokenizedJudgment | None, report: OverlongReport) -> dict[str, Any]:
    if row is None:
        return _NOTHING | {"report": _text(report)}
    usual = report == _usual(len(row.completions), report.limit)
    prompt_key, completion_keys = content_keys(row)
    return {
        "prompt": np.asarray(row.prompt, dtype=np.int32),
        "completions": [np.asarray(ids, dtype=np.int32) for ids in row.completions],
        "prompt_tokens": len(row.prompt),
        "tokens": row.tokens,
        "count": len(row.completions),
        "prompt_cut": row.prompt_cut,
        "completions_cut": list(row.completions_cut),
        "lost": list(row.lost),
        "kept": 1,
        "keys": b"".join([prompt_key, *completion_keys]),
        "report": None if usual else _text(report),
        "stop": None,
    }


_COUNTERS = ("sizes", "causes", "losses")


def _text(report: OverlongReport) -> str:
    return json.dumps(asdict(report) | {name: dict(getattr(report, name)) for name in _COUNTERS})


@lru_cache(maxsize=64)
def _usual(count: int, limit: int) -> OverlongReport:
    """The report on a row of so many completions of which there is nothing to tell."""
    row = TokenizedJudgment([], [[place] for place in range(count)], Judgment("", [""] * count))
    report = OverlongReport(limit, total=1)
    report.add(row)
    return report


def _count(tokens: StoredTokens, tokenize: JudgmentTokenizer) -> None:
    """Add what was told of each row when it was tokenized; raise what the policies stop at, the first row's first."""
    numbers, table, report = tokens.rows.numbers, tokens.table, tokenize.report
    telling = np.zeros(len(table), dtype=bool)
    telling[[*table.present("report"), *table.present("stop")]] = True
    for size, rows in zip(*np.unique(tokens.counts[~telling[numbers]], return_counts=True), strict=True):
        report.merge(_usual(int(size), report.limit), int(rows))
    for number in numbers[telling[numbers]].tolist():
        stop = table.cell("stop", number)
        if stop is not None:
            raise OverlongError(stop)
        values = json.loads(table.cell("report", number))
        problems = [Problem(**entry) for entry in values["refusals"]]
        if problems and tokenize.on_bad_rows == OnBadRows.ERROR:
            raise InvalidRowError(problems)
        counters = {name: Counter(values[name]) for name in _COUNTERS}
        report.merge(OverlongReport(**values | counters | {"refusals": problems}))
