"""What `vrm distill-linear` writes beside a student: `distillation.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vrm.metrics import Agreement
from vrm.results.base import Document, Kind


@dataclass(frozen=True)
class Teacher:
    """Whom a student imitates.

    Attributes:
        name: of a path the last two parts.
        sha256: of its weights; None if unknown.
        head: the kind of its head.
        reward_std: standard deviation of its rewards on the held-out rows.
    """

    name: str
    sha256: str | None
    head: str
    reward_std: float


@dataclass(frozen=True)
class StudentRows:
    """Rows behind a student.

    Attributes:
        train: that it was fitted to.
        held_out: that the agreement was measured on.
        overlong: that were left out, being over the teacher's limit of tokens.
    """

    train: int
    held_out: int
    overlong: int


@dataclass(frozen=True, kw_only=True)
class DistillationDocument(Document):
    """How a student was made, and how well it follows its teacher.

    Attributes:
        teacher: whom it imitates.
        backbone: the Hub's name of it; None if it is a file or unknown.
        conversational: whether texts go through the chat template.
        max_input_tokens: longest text that was seen.
        versions: {package: version}.
        architecture: class of the student.
        tuning: `head` for the score layer alone, `full` for all weights.
        fresh_parameters: names of parameters that the teacher has not.
        settings: of the fit.
        rows: that were used.
        agreement: on held-out rows, by form of the text.
        license: identifier for the Hub; None if not stated.
    """

    kind: Kind = Kind.DISTILLATION
    teacher: Teacher
    backbone: str | None
    conversational: bool
    max_input_tokens: int
    versions: dict[str, str]
    architecture: str
    tuning: str
    fresh_parameters: tuple[str, ...]
    settings: dict[str, Any]
    rows: StudentRows
    agreement: dict[str, Agreement]
    license: str | None = field(default=None)
