"""The inputs of a report as its sections look at them: models and data sets under short names, with fixed colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vrm.report.inputs import Document, Inputs, Run
from vrm.report.labels import benchmark_names, short_names, steering_words
from vrm.report.values import table, text


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one evaluation says of one file or benchmark.

    Attributes:
        model: the model's short name, with its steering.
        series: number of its colour.
        dataset: the short name of the file or benchmark; equal names are the same data.
        content: what was measured.
        source: the document.
    """

    model: str
    series: int
    dataset: str
    content: dict[str, Any]
    source: str


@dataclass(frozen=True, slots=True)
class View:
    """Inputs under short names.

    Attributes:
        inputs: what was read.
        measurements: of all evaluations, in the order given.
        models: short names of the evaluated models, then of runs, in order: their places are their colours.
        names: short names by path, of models.
        files: short names by path, of files and benchmarks.
    """

    inputs: Inputs
    measurements: tuple[Measurement, ...]
    models: tuple[str, ...]
    names: dict[str, str]
    files: dict[str, str]

    def model(self, path: str) -> str:
        """The short name of a model."""
        return self.names.get(path, path)

    def file(self, path: str) -> str:
        """The short name of a file or benchmark."""
        return self.files.get(path, path)

    def series(self, model: str) -> int:
        """The number of a model's colour; the first for models that were neither evaluated nor trained here."""
        return self.models.index(model) if model in self.models else 0

    def run(self, run: Run) -> str:
        """The short name of a run, that of its model."""
        return self.model(_model_of(run))

    def by_dataset(self, wanted: Callable[[Measurement], bool] = lambda _: True) -> dict[str, list[Measurement]]:
        """The measurements that are wanted by data set, in the order given; data sets without any are left out."""
        found: dict[str, list[Measurement]] = {}
        for measurement in filter(wanted, self.measurements):
            found.setdefault(measurement.dataset, []).append(measurement)
        return found


def view_of(inputs: Inputs) -> View:
    """Give models and files their short names."""
    names = short_names(_model_paths(inputs))
    benchmarks = [key for document in inputs.documents for key in _benchmarks(document)]
    files = short_names(_file_paths(inputs)) | benchmark_names(benchmarks)
    labels = _document_labels(inputs.of_kind("evaluation"), names, files)
    models = tuple(dict.fromkeys([*labels, *(names[_model_of(run)] for run in inputs.runs)]))
    measurements = tuple(
        Measurement(label, models.index(label), files[path], content, document.source)
        for document, label in zip(inputs.of_kind("evaluation"), labels, strict=True)
        for path, content in _measured(document).items()
        if isinstance(content, dict)
    )
    return View(inputs, measurements, models, names, files)


def _document_labels(documents: Iterable[Document], names: dict[str, str], files: dict[str, str]) -> list[str]:
    """The model's name and its steering; the same model measured twice on one file is told apart by the document."""
    labels: list[str] = []
    taken: dict[tuple[str, str], str] = {}
    for document in documents:
        path = text(document.content, "model") or "(model not named)"
        words = steering_words(table(document.content, "settings"))
        label = f"{names.get(path, path)}, {words}" if words else names.get(path, path)
        measured = [files[path] for path in _measured(document)]
        if any((label, file) in taken for file in measured):
            base, number = label, 2
            while any((label, file) in taken for file in measured):
                label, number = f"{base} ({number})", number + 1
        taken |= {(label, file): document.source for file in measured}
        labels.append(label)
    return labels


def _measured(document: Document) -> dict[str, Any]:
    """What a document says of each file, by path, and of each benchmark, by NAME=PATH."""
    return table(document.content, "files") | _benchmarks(document)


def _benchmarks(document: Document) -> dict[str, Any]:
    """By NAME=PATH, or NAME where the path is not known or is the Hub.

    A comparison names a benchmark as it was asked for, and an evaluation by NAME, with the path beside its figures.
    """
    found = {}
    for name, content in table(document.content, "benchmarks").items():
        path = text(content, "path") if isinstance(content, dict) else None
        found[f"{name}={path}" if path and "=" not in name else name] = content
    return found


def _model_of(run: Run) -> str:
    return f"{run.source.rstrip('/')}/model"


def _model_paths(inputs: Inputs) -> Iterator[str]:
    for document in inputs.documents:
        for key in ("model", "model_a", "model_b"):
            path = text(document.content, key)
            if path is not None:
                yield path
    yield from map(_model_of, inputs.runs)


def _file_paths(inputs: Inputs) -> Iterator[str]:
    for document in inputs.documents:
        yield from table(document.content, "files")
        path = text(document.content, "file")
        if path is not None:
            yield path
