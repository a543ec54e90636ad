"""The inputs of a report as its sections look at them: models and data sets under short names, with fixed colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeAlias

from vrm.report.inputs import Input, Inputs, Reported
from vrm.results import (
    AuditDocument,
    BenchmarkEntry,
    BestOfNEntry,
    ComparisonDocument,
    DoctorDocument,
    Evaluation,
    EvaluationDocument,
    FigureResult,
    Run,
)

UNNAMED = "(model not named)"


Measured: TypeAlias = Evaluation | BenchmarkEntry | BestOfNEntry
"""What an evaluation says of a file, or of a benchmark."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one evaluation says of one file or benchmark.

    Attributes:
        model: the model's short name, with its steering.
        series: number of its colour.
        dataset: the short name of the file or benchmark; equal names are the same data.
        content: what was measured.
        source: the document.
        path: of the model, as the user named it.
    """

    model: str
    series: int
    dataset: str
    content: Measured
    source: str
    path: str = ""

    @property
    def file(self) -> Evaluation:
        """The evaluation of a file; an empty one of benchmarks."""
        return self.content if isinstance(self.content, Evaluation) else Evaluation()

    @property
    def figures(self) -> tuple[FigureResult, ...]:
        """A benchmark's figures; none of files of judgments and of best-of-n."""
        return self.content.figures if isinstance(self.content, BenchmarkEntry) else ()


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

    def models_of(self, document: Reported) -> list[str]:
        """The short names of a document's models: one, or A and B; a data check may have none."""
        return [self.model(name) for name in model_names(document)]

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
        datasets: dict[str, list[Measurement]] = {}
        for measurement in filter(wanted, self.measurements):
            datasets.setdefault(measurement.dataset, []).append(measurement)
        return datasets


def view_of(inputs: Inputs) -> View:
    """Give models and files their short names."""
    names = short_names(_model_paths(inputs))
    benchmarks = [key for entry in inputs.documents for key in _benchmarks(entry.content)]
    files = short_names(_file_paths(inputs)) | benchmark_names(benchmarks)
    evaluations = inputs.of(EvaluationDocument)
    labels = _document_labels(evaluations, names, files)
    models = tuple(dict.fromkeys([*labels, *(names[_model_of(run)] for run in inputs.runs)]))
    measurements = tuple(
        Measurement(label, models.index(label), files[path], content, entry.source, entry.content.model)
        for entry, label in zip(evaluations, labels, strict=True)
        for path, content in (entry.content.files | _benchmarks(entry.content)).items()
    )
    return View(inputs, measurements, models, names, files)


def model_names(document: Reported) -> list[str]:
    """The models of a document as the user named them: one, or A and B; a data check may have none."""
    if isinstance(document, ComparisonDocument):
        return [name or UNNAMED for name in (document.model, document.model_b)]
    if isinstance(document, DoctorDocument):
        return [document.model] if document.model else []
    return [document.model or UNNAMED]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """A short name for each path; a trailing `model`, which every run has, is left out.

    Where the shortest names are equal, folders are put before them until they differ.
    """
    distinct = list(dict.fromkeys(paths))
    whole = {path: _parts(path) for path in distinct}
    parts = {path: _without_model(parts, set(whole.values())) for path, parts in whole.items()}
    names: dict[str, str] = {}
    for path in distinct:
        for size in range(1, len(parts[path]) + 1):
            name = "/".join(parts[path][-size:])
            if all(parts[other] == parts[path] or parts[other][-size:] != parts[path][-size:] for other in distinct):
                break
        names[path] = name
    return names


def benchmark_names(keys: Iterable[str]) -> dict[str, str]:
    """A short name for each NAME or NAME=PATH: NAME if all paths of it are the same, else with a short path."""
    given = {key: key.partition("=")[::2] for key in keys}
    paths: dict[str, list[str]] = {}
    for name, path in given.values():
        paths.setdefault(name, []).extend([str(PurePath(path))] if path else [])
    short = {name: short_names(given) for name, given in paths.items()}
    return {
        key: f"{name}={short[name][str(PurePath(path))]}" if path and len(short[name]) > 1 else name
        for key, (name, path) in given.items()
    }


def steering_words(settings: Mapping[str, object]) -> str:
    """`without creativity, safety=5`, or as which rater it judged: how a model was steered, empty if it was not."""
    steering = settings.get("steering")
    if not isinstance(steering, Mapping):
        return ""
    emphasis, without, rater = (_names(steering.get(key)) for key in ("emphasis", "without", "rater"))
    words = [f"without {', '.join(without)}"] if without else []
    words += [f"as {', '.join(rater)}"] if rater else []
    return ", ".join([*emphasis, *words])


def _document_labels(
    evaluations: Iterable[Input[EvaluationDocument]], names: dict[str, str], files: dict[str, str]
) -> list[str]:
    """The model's name and its steering; the same model measured twice on one file is told apart by the document."""
    labels: list[str] = []
    taken: dict[tuple[str, str], str] = {}
    for entry in evaluations:
        (path,) = model_names(entry.content)
        words = steering_words(entry.content.settings)
        label = f"{names[path]}, {words}" if words else names[path]
        measured = [files[path] for path in [*entry.content.files, *_benchmarks(entry.content)]]
        if any((label, file) in taken for file in measured):
            base, number = label, 2
            while any((label, file) in taken for file in measured):
                label, number = f"{base} ({number})", number + 1
        taken |= {(label, file): entry.source for file in measured}
        labels.append(label)
    return labels


def _benchmarks(document: Reported) -> dict[str, Any]:
    """What a document says of benchmarks by NAME=PATH, or NAME where the path is not known or is the Hub.

    A comparison names a benchmark as it was asked for, and an evaluation by NAME, with the path beside its figures.
    """
    if isinstance(document, ComparisonDocument):
        return dict(document.benchmarks)
    if not isinstance(document, EvaluationDocument):
        return {}
    entries = document.benchmarks.items()
    return {f"{name}={entry.path}" if entry.path and "=" not in name else name: entry for name, entry in entries}


def _model_of(run: Run) -> str:
    return f"{run.source.rstrip('/')}/model"


def _model_paths(inputs: Inputs) -> Iterator[str]:
    for entry in inputs.documents:
        yield from model_names(entry.content)
    yield from map(_model_of, inputs.runs)


def _file_paths(inputs: Inputs) -> Iterator[str]:
    for entry in inputs.documents:
        if isinstance(entry.content, AuditDocument):
            yield from [entry.content.file] if entry.content.file else []
        else:
            yield from entry.content.files


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in PurePath(path).parts if part != "/") or (path,)


def _without_model(parts: tuple[str, ...], others: set[tuple[str, ...]]) -> tuple[str, ...]:
    """Without a trailing `model`, unless what is left is the path of another one."""
    return parts[:-1] if len(parts) > 1 and parts[-1] == "model" and parts[:-1] not in others else parts


def _names(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}={count}" for name, count in value.items()]
    return [str(entry) for entry in value] if isinstance(value, list | tuple) else []
