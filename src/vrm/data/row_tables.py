"""Rows in memory or on the disk, as the rest of the package asks for them: a list, or a table that acts like one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from vrm.data.schema import Judgment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Change = Callable[[Judgment], Judgment]

Places: TypeAlias = "Sequence[int] | NDArray[np.int64]"


class RowTable(Sequence[Judgment]):
    """Rows that are not in memory. A row is made when it is asked for, each time anew."""

    @abstractmethod
    def pick(self, places: Places) -> RowTable:
        """The rows at these places."""

    @abstractmethod
    def joined(self, others: Sequence[RowTable]) -> RowTable:
        """These rows and those of others behind them."""

    @abstractmethod
    def edited(self, change: Change, key: str) -> RowTable:
        """The rows with a change to each; `key` tells this change from others."""

    @abstractmethod
    def prompt_keys(self) -> Iterator[str]:
        """`prompt_key` of every row, one after the other."""

    @abstractmethod
    def remembered(self, name: str, compute: Callable[[], Any]) -> Any:
        """What was computed of exactly these rows before, as JSON has it; else it is computed now, and kept."""


def pick(rows: Sequence[Judgment], places: Places) -> Sequence[Judgment]:
    """The rows at these places of a sequence."""
    return rows.pick(places) if isinstance(rows, RowTable) else [rows[place] for place in places]


def joined(parts: Sequence[Sequence[Judgment]]) -> Sequence[Judgment]:
    """All rows of several sequences, one after the other."""
    tables = [part for part in parts if isinstance(part, RowTable)]
    if tables and len(tables) == len(parts):
        return tables[0].joined(tables[1:])
    return [row for part in parts for row in part]


def edited(rows: Sequence[Judgment], change: Change, key: str) -> Sequence[Judgment]:
    """The rows with a change to each; `key` tells this change from others."""
    return rows.edited(change, key) if isinstance(rows, RowTable) else [change(row) for row in rows]


def remembered(rows: Sequence[Judgment], name: str, compute: Callable[[], Any]) -> Any:
    """A value of these rows, as JSON has it: what tables keep, and lists compute anew."""
    return rows.remembered(name, compute) if isinstance(rows, RowTable) else compute()
