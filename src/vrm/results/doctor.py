"""What `vrm doctor` writes: findings with a severity, and the numbers of each file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vrm.results.base import Document, Kind, Part


class Severity(StrEnum):
    """How bad a finding is, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    OK = "ok"
    """Looked for and not found."""
    NOT_RUN = "not run"
    """It could not be looked for, and the message says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for in one file, or between two.

    Attributes:
        name: what was looked for, as `--allow` takes it.
        severity: how bad it is.
        files: names of the files it is about.
        message: what was found.
        advice: what to do about it; empty if nothing.
        count: how many.
        total: out of how many; 0 where there is nothing to count.
        details: further numbers, ready for JSON.
        places: `file:line` of the first rows concerned.
        allowed: whether it was an error and has been allowed.
        share: `count / total`, in [0, 1]; 0 where there is nothing to count.
    """

    name: str
    severity: Severity
    files: tuple[str, ...]
    message: str
    advice: str = ""
    count: int = 0
    total: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    allowed: bool = False
    share: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", self.count / self.total if self.total else 0.0)

    @property
    def shown_share(self) -> float | None:
        """The share as tables show it: the estimate of a rate that was estimated; None where nothing was counted."""
        rate = self.details.get("rate", self.details.get("noise"))
        estimate = rate.get("estimate") if isinstance(rate, Mapping) else getattr(rate, "estimate", None)
        if estimate is not None:
            return float(estimate)
        return self.share if self.total and (self.count or self.severity == Severity.ERROR) else None


@dataclass(frozen=True)
class DoctorReport(Part):
    """Everything that was looked at.

    Attributes:
        invalid: whether something would invalidate training or evaluation.
        settings: what was looked for.
        tokenizer: name of the tokenizer and limit of tokens, or None.
        findings: the worst first, in order of the checks otherwise.
        files: {file's name: numbers of the file}: rows, labels, lengths, tokens, languages.
    """

    invalid: bool = field(init=False)
    settings: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] | None = None
    findings: tuple[Finding, ...] = ()
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "invalid", bool(self.of(Severity.ERROR)))

    def of(self, *severities: Severity) -> list[Finding]:
        """The findings of some severities."""
        return [finding for finding in self.findings if finding.severity in severities]


@dataclass(frozen=True, kw_only=True)
class _Looked(Document):
    """What was looked at, and by what.

    Attributes:
        model: whose view of the labels was asked; None without one.
        versions: {package: version}.
        paths: as the user named them.
    """

    kind: Kind = Kind.DOCTOR
    model: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class DoctorDocument(DoctorReport, _Looked):
    """What `vrm doctor --json` writes."""
