"""Reading documents and runs from files, each recognised by what it holds."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from vrm.errors import DataError
from vrm.results.adaptation import AdaptationDocument
from vrm.results.audit import AuditDocument
from vrm.results.base import SCHEMA, Document, Kind, from_json, parse_object, read_object, read_text
from vrm.results.certificate import CertificateDocument
from vrm.results.comparison import ComparisonDocument
from vrm.results.distillation import DistillationDocument
from vrm.results.doctor import DoctorDocument
from vrm.results.evaluation import EvaluationDocument, QuickstartDocument
from vrm.results.run import Run, RunDocument

FORMS: dict[Kind, type[Document]] = {
    Kind.EVALUATION: EvaluationDocument,
    Kind.COMPARISON: ComparisonDocument,
    Kind.AUDIT: AuditDocument,
    Kind.DOCTOR: DoctorDocument,
    Kind.RUN: RunDocument,
    Kind.QUICKSTART: QuickstartDocument,
    Kind.DISTILLATION: DistillationDocument,
    Kind.ADAPTATION: AdaptationDocument,
    Kind.CERTIFICATE: CertificateDocument,
}
"""The type of each kind of document."""


def read_document(path: str | Path, kinds: Collection[Kind], expected: str = "") -> Document:
    """The document that a file holds.

    Args:
        path: of the file.
        kinds: that are wanted.
        expected: what is wanted in words, for messages; the kinds by default.

    Raises:
        DataError: the file is absent, no document of these kinds, of another schema, or has a value of a wrong type.
    """
    content = read_object(path)
    kind = content.get("kind", _old_kind(content))
    if kind not in list(kinds):
        reason = "it has no 'kind'" if kind is None else f"its kind is {kind!r}"
        allowed = expected or ", ".join(kinds)
        raise DataError(f"{path}: not a document that is read here: {reason}. Allowed is {allowed}")
    if content.get("schema", SCHEMA if "kind" not in content else None) != SCHEMA:
        raise DataError(
            f"{path}: its schema is {content.get('schema')!r}, and this version of vrm reads {SCHEMA}; write the "
            "document again with this version, or read it with the version that wrote it"
        )
    return from_json(FORMS[Kind(kind)], content, path)


def is_run(path: Path) -> bool:
    """Whether a directory is that of a run, finished or not."""
    return (path / "run.json").is_file() or (path / "history.jsonl").is_file()


def read_run(path: Path) -> Run:
    """A run from its directory.

    Raises:
        DataError: a file of it cannot be read; the message names the file, and the line of a history.
    """
    summary = None
    if (path / "run.json").is_file():
        summary = from_json(RunDocument, read_object(path / "run.json"), path / "run.json")
    history = []
    file = path / "history.jsonl"
    if file.is_file():
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            if line.strip():
                place = f"{file}:{number}"
                history.append(from_json(dict[str, float], parse_object(place, line), place))
    return Run(str(path), summary, tuple(history))


def _old_kind(content: dict[str, Any]) -> Kind | None:
    """The kind of a file from before all of them named it."""
    return Kind.QUICKSTART if isinstance(content.get("heads"), dict) else None
