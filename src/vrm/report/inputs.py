"""What a report is made from: training runs and the JSON documents of other commands, read and recognised."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vrm.errors import ConfigError, DataError

KINDS = ("evaluation", "comparison", "audit", "doctor")
SCHEMA = 1
"""Version of the documents that this report can read."""

ALLOWED = (
    "a run directory (run.json or history.jsonl, as `vrm train` writes), the output directory of `vrm quickstart`, or "
    f"a JSON document of kind {', '.join(KINDS)} (`--json FILE` of the command)"
)


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document of another command.

    Attributes:
        source: the file it was read from.
        kind: one of `KINDS`.
        content: the document.
    """

    source: str
    kind: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A training run.

    Attributes:
        source: its directory.
        summary: `run.json`; None while the run is not finished.
        history: `history.jsonl`, one dictionary a log, in order; empty where the file is missing.
    """

    source: str
    summary: dict[str, Any] | None
    history: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a report shows, in the order it was given."""

    documents: tuple[Document, ...]
    runs: tuple[Run, ...]

    def of_kind(self, kind: str) -> tuple[Document, ...]:
        """The documents of one kind."""
        return tuple(document for document in self.documents if document.kind == kind)


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
    documents: list[Document] = []
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


def _read_directory(path: Path) -> tuple[list[Document], list[Run]]:
    if _is_run(path):
        return [], [_read_run(path)]
    results = path / "results.json"
    if results.is_file():
        documents = _read_document(results)
        return documents, [_read_run(entry) for entry in sorted(path.iterdir()) if _is_run(entry)]
    hint = ""
    below = [str(entry) for entry in sorted(path.iterdir()) if entry.is_dir() and _is_run(entry)]
    if below:
        hint = f"; it holds runs, which can be given: {', '.join(below)}"
    elif (path / "config.json").is_file() and _is_run(path.parent):
        hint = f"; it is the model of a run: give {path.parent}"
    raise DataError(f"{path}: not an input of a report{hint}. Allowed is {ALLOWED}")


def _is_run(path: Path) -> bool:
    return (path / "run.json").is_file() or (path / "history.jsonl").is_file()


def _read_run(path: Path) -> Run:
    summary = None
    if (path / "run.json").is_file():
        summary = _object(path / "run.json", _parse(path / "run.json", _text(path / "run.json")))
    history: list[dict[str, Any]] = []
    file = path / "history.jsonl"
    if file.is_file():
        for number, line in enumerate(_text(file).splitlines(), start=1):
            if line.strip():
                place = f"{file}:{number}"
                history.append(_object(place, _parse(place, line)))
    return Run(str(path), summary, tuple(history))


def _read_document(path: Path) -> list[Document]:
    content = _object(path, _parse(path, _text(path)))
    if "kind" not in content and isinstance(content.get("heads"), dict):
        return list(_quickstart(path, content["heads"]))
    kind, schema = content.get("kind"), content.get("schema")
    if kind not in KINDS:
        found = "it has no 'kind'" if kind is None else f"its kind is {kind!r}"
        raise DataError(f"{path}: not an input of a report: {found}. Allowed is {ALLOWED}")
    if schema != SCHEMA:
        raise DataError(
            f"{path}: its schema is {schema!r}, and this version of vrm reads {SCHEMA}; write the document again with "
            "this version, or make the report with the version that wrote it"
        )
    return [Document(str(path), kind, content)]


def _quickstart(path: Path, heads: dict[str, Any]) -> Iterable[Document]:
    """The evaluations of `vrm quickstart`, one document a head, as `vrm evaluate` would have written them."""
    for head, files in heads.items():
        if not isinstance(files, dict):
            raise DataError(f"{path}: 'heads.{head}' must be an object, got {type(files).__name__}")
        content = {"model": str(path.parent / head / "model"), "head": head, "files": files}
        yield Document(str(path), "evaluation", content)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file or directory") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}). Allowed is {ALLOWED}") from None


def _parse(place: str | Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{place}: not JSON (line {error.lineno}, column {error.colno}: {error.msg}). Allowed is {ALLOWED}"
        ) from None
    except RecursionError:
        raise DataError(f"{place}: JSON that is nested too deeply") from None


def _object(place: str | Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{place}: must be a JSON object, got {type(value).__name__}. Allowed is {ALLOWED}")
    return value
