"""What a report is made from: training runs and the JSON documents of other commands, read and recognised."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from vrm.errors import ConfigError, DataError
from vrm.metrics import field_values
from vrm.results import (
    AuditDocument,
    ComparisonDocument,
    DoctorDocument,
    EvaluationDocument,
    FileEvaluation,
    Kind,
    QuickstartDocument,
    Run,
    is_run,
    read_document,
    read_run,
)

Reported: TypeAlias = EvaluationDocument | ComparisonDocument | AuditDocument | DoctorDocument
"""The documents that a report shows."""

Content = TypeVar("Content", EvaluationDocument, ComparisonDocument, AuditDocument, DoctorDocument, Reported)

KINDS = (Kind.EVALUATION, Kind.COMPARISON, Kind.AUDIT, Kind.DOCTOR)

ALLOWED = (
    "a run directory (run.json or history.jsonl, as `vrm train` writes), the output directory of `vrm quickstart`, or "
    f"a JSON document of kind {', '.join(KINDS)} (`--json FILE` of the command)"
)


@dataclass(frozen=True, slots=True)
class Input(Generic[Content]):
    """A document of another command.

    Attributes:
        source: the file that it was read from.
        content: the document.
    """

    source: str
    content: Content


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a report shows, in the order it was given."""

    documents: tuple[Input[Reported], ...]
    runs: tuple[Run, ...]

    def of(self, form: type[Content]) -> list[Input[Content]]:
        """The documents of one type."""
        documents = ((entry.source, entry.content) for entry in self.documents)
        return [Input(source, content) for source, content in documents if isinstance(content, form)]


def read_inputs(paths: Sequence[str | Path]) -> Inputs:
    """Read runs and results, each recognised by what it holds.

    Args:
        paths: directories and files, at least one.

    Raises:
        ConfigError: no path, or one given twice.
        DataError: a path is absent, is not a run or a result, or is of a kind or schema that is not known.
    """
    if not paths:
        raise ConfigError(f"a report needs at least one input: {ALLOWED}")
    documents: list[Input[Reported]] = []
    runs: list[Run] = []
    seen: set[Path] = set()
    for path in map(Path, paths):
        if path.resolve() in seen:
            raise ConfigError(f"{path} is given twice")
        seen.add(path.resolve())
        if path.is_dir():
            more_documents, more_runs = _read_directory(path)
            documents += more_documents
            runs += more_runs
        else:
            documents += _read_document(path)
    return Inputs(tuple(documents), tuple(runs))


def _read_directory(path: Path) -> tuple[list[Input[Reported]], list[Run]]:
    if is_run(path):
        return [], [read_run(path)]
    results = path / "results.json"
    if results.is_file():
        documents = _read_document(results)
        return documents, [read_run(entry) for entry in sorted(path.iterdir()) if is_run(entry)]
    hint = ""
    below = [str(entry) for entry in sorted(path.iterdir()) if entry.is_dir() and is_run(entry)]
    if below:
        hint = f"; it holds runs, which can be given: {', '.join(below)}"
    elif (path / "config.json").is_file() and is_run(path.parent):
        hint = f"; it is the model of a run: give {path.parent}"
    raise DataError(f"{path}: not an input of a report{hint}. Allowed is {ALLOWED}")


def _read_document(path: Path) -> list[Input[Reported]]:
    document = read_document(path, [*KINDS, Kind.QUICKSTART], ALLOWED)
    if isinstance(document, QuickstartDocument):
        return list(_evaluations(path, document))
    assert isinstance(document, Reported)
    return [Input(str(path), document)]


def _evaluations(path: Path, quickstart: QuickstartDocument) -> Iterable[Input[Reported]]:
    """The evaluations of `vrm quickstart`, one document a head, as `vrm evaluate` would have written them."""
    for head, splits in quickstart.heads.items():
        files = {split: FileEvaluation(**field_values(evaluation)) for split, evaluation in splits.items()}
        model = str(path.parent / head / "model")
        yield Input(str(path), EvaluationDocument(model=model, head=head, files=files))
