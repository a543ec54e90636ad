"""What a model card may say: read from the run and from results, never guessed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vrm.errors import ConfigError, DataError
from vrm.model.checkpoint import weights_sha256


@dataclass(frozen=True)
class Figure:
    """A share with its interval, all in [0, 1]; None where they are not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ResultRow:
    """A line of a table of results.

    Attributes:
        data: name of the file or benchmark, and of its part.
        count: pairs or examples.
        accuracy: of the model, or the benchmark's own figure.
        longer_wins: the same figure for "the longer wins", in [0, 1]; None where it is not defined.
        length_controlled: mean accuracy where the chosen is the longer and the shorter; None where not computed.
        nll: mean negative log-likelihood in nats; None where not computed.
        calibration_error: expected calibration error; None where not computed.
    """

    data: str
    count: int
    accuracy: Figure
    longer_wins: float | None = None
    length_controlled: float | None = None
    nll: float | None = None
    calibration_error: float | None = None


@dataclass(frozen=True)
class Results:
    """One document of `vrm evaluate --json`.

    Attributes:
        rows: files of judgments first, then the benchmarks' figures.
        steering: what was changed at inference, in words; empty for the model as it is.
        versions: {package: version} that it was measured with.
    """

    rows: tuple[ResultRow, ...]
    steering: str
    versions: Mapping[str, str]


def read_run(model: str | Path) -> dict[str, Any] | None:
    """The `run.json` that `vrm train` wrote beside a model directory; None if there is none.

    Raises:
        DataError: if it is not what `vrm train` writes.
    """
    file = Path(model).resolve().parent / "run.json"
    if not Path(model).is_dir() or not file.is_file():
        return None
    run = _document(file)
    missing = sorted({"config", "rows", "metrics", "versions"} - set(run))
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}, which `vrm train` writes: move it away, or train again")
    return run


def read_results(files: Sequence[Path], model: str | Path) -> list[Results]:
    """Documents of `vrm evaluate --json`, checked to be of this model.

    Raises:
        DataError: if a file is not such a document.
        ConfigError: if it was measured on other weights.
    """
    found = []
    weights = weights_sha256(str(model)) if files else None
    for file in files:
        document = _document(file)
        if document.get("kind") != "evaluation":
            raise DataError(f"{file} is of kind {document.get('kind')!r}: expected a document of `vrm evaluate --json`")
        if document.get("model_sha256") != weights:
            raise ConfigError(
                f"{file} was measured on the weights {document.get('model_sha256')} (of {document.get('model')}), "
                f"but {model} has {weights}: evaluate this model"
            )
        found.append(_results(document))
    return found


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{file}: expected one JSON object, found {type(document).__name__}")
    return document


def _results(document: Mapping[str, Any]) -> Results:
    rows = [_file_row(name, entry) for name, entry in document.get("files", {}).items() if entry.get("pairs")]
    for name, entry in document.get("benchmarks", {}).items():
        rows += _benchmark_rows(name, entry)
    steering = document.get("settings", {}).get("steering") or {}
    words = [f"{name.replace('_', ' ')} {', '.join(values)}" for name, values in steering.items() if values]
    return Results(tuple(rows), "; ".join(words), document.get("versions", {}))


def _file_row(name: str, entry: Mapping[str, Any]) -> ResultRow:
    pairs = entry["pairs"]
    return ResultRow(
        Path(name).name,
        pairs["count"],
        _figure(pairs["accuracy"]),
        pairs["longer_wins"]["value"],
        pairs["length_controlled"]["value"],
        pairs["negative_log_likelihood"],
        pairs["calibration"]["value"],
    )


def _benchmark_rows(name: str, entry: Mapping[str, Any]) -> list[ResultRow]:
    """The figures of a benchmark; curves (best-of-n) have none that fit a line."""
    return [
        ResultRow(
            " / ".join(part for part in (name, figure["row"], figure["column"]) if part),
            figure["examples"],
            _figure(figure),
            figure["longer_wins"],
        )
        for figure in entry.get("figures", [])
    ]


def _figure(value: Mapping[str, Any]) -> Figure:
    return Figure(value["estimate"], value.get("low"), value.get("high"))
