"""Rows of a benchmark that are not as they should be: counted by reason, with a few places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vrm.errors import DataError

MAX_PLACES = 5
LEFT_OUT, KEPT = "left out", "kept"


class UnusualRow(DataError):
    """A row that is left out; never seen by users, who read the counts.

    Attributes:
        reason: a few words, the same for all rows that have it.
        field: the offending field; empty for the whole row.
    """

    def __init__(self, reason: str, field: str = "") -> None:
        self.reason, self.field = reason, field
        super().__init__(f"field '{field}': {reason}" if field else reason)


@dataclass
class UnusualReason:
    """How often one thing occurred, and where: `places` are (file, row, field) of the first few."""

    action: str
    count: int = 0
    places: list[tuple[str, int, str]] = field(default_factory=list)


@dataclass
class UnusualRows:
    """Counts by reason. A row may be counted under several reasons, but is left out at most once.

    Attributes:
        reasons: {reason: how often and where}.
        left_out: rows that became no example.
    """

    reasons: dict[str, UnusualReason] = field(default_factory=dict)
    left_out: int = 0

    def add(self, reason: str, file: str, row: int, field: str = "", *, action: str = KEPT) -> None:
        """Count one."""
        self.left_out += action == LEFT_OUT
        entry = self.reasons.setdefault(reason, UnusualReason(action))
        entry.count += 1
        if len(entry.places) < MAX_PLACES:
            entry.places.append((file, row, field))

    def to_dict(self) -> dict[str, Any]:
        """{"left_out": rows, "reasons": {reason: {"count", "action", "places": [{"file", "row", "field"}]}}}."""
        return {
            "left_out": self.left_out,
            "reasons": {
                reason: {
                    "count": entry.count,
                    "action": entry.action,
                    "places": [dict(zip(("file", "row", "field"), place, strict=True)) for place in entry.places],
                }
                for reason, entry in sorted(self.reasons.items())
            },
        }

    def lines(self) -> list[str]:
        """A line a reason, for people."""
        lines = []
        for reason, entry in sorted(self.reasons.items(), key=lambda item: (item[1].action, -item[1].count, item[0])):
            file, row, name = entry.places[0]
            where = f"{file}:{row}" + (f", field '{name}'" if name else "")
            lines.append(f"{entry.count} {entry.action}: {reason} ({'first ' if entry.count > 1 else ''}{where})")
        return lines
