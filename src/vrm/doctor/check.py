"""One check of one file, and the finding that comes of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from vrm.doctor.findings import DoctorSettings, percent, severity
from vrm.doctor.rows import FileRows
from vrm.results.doctor import Finding, Severity


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """What was looked for in a file: the rows that it concerns, out of how many.

    Attributes:
        name: as `--allow` takes it.
        rows: of the file.
        settings: how many places a finding keeps.
        concerned: rows, the first of them to be named first; a row may stand more than once.
        total: number of rows, pairs or prompts that were looked at.
    """

    name: str
    rows: FileRows
    settings: DoctorSettings
    concerned: Collection[int] = ()
    total: int = 0

    @property
    def percent(self) -> str:
        """The share of the rows concerned, in words."""
        return percent(len(self.concerned) / max(self.total, 1))

    def not_run(self, message: str, details: dict[str, Any] | None = None) -> Finding:
        """The finding where nothing could be looked for."""
        return Finding(self.name, Severity.NOT_RUN, (self.rows.name,), message, details=details or {})

    def by_share(
        self,
        message: str,
        advice: str,
        *,
        error: float | None = None,
        warning: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> Finding:
        """The finding with the severity of its share; the advice is for where there is something.

        Args:
            message: what was found.
            advice: what to do about it.
            error: share above which it is an error.
            warning: share above which it is a warning.
            details: further numbers.
        """
        degree = severity(len(self.concerned), self.total, error=error, warning=warning)
        return self.finding(degree, message, advice if self.concerned else "", details)

    def finding(
        self,
        degree: Severity,
        message: str,
        advice: str = "",
        details: dict[str, Any] | None = None,
        shown: Iterable[int] | None = None,
    ) -> Finding:
        """The finding with a severity of its own; it names places of `shown`, by default of the rows concerned."""
        places = self.rows.places(self.concerned if shown is None else shown, self.settings.examples)
        count = len(self.concerned)
        return Finding(self.name, degree, (self.rows.name,), message, advice, count, self.total, details or {}, places)
