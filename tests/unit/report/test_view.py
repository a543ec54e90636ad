"""Which measurements are of the same data."""

from __future__ import annotations

from dataclasses import replace

from vrm.metrics import Interval
from vrm.report import read_inputs
from vrm.report.sections.best import paired_differences
from vrm.report.view import view_of

FIRST, SECOND = "data/first.jsonl", "data/second.jsonl"


def views(write, make, entries, comparison=None):
    """The view of evaluations of bon, each (model, path), and perhaps of a comparison on a benchmark."""
    documents = []
    for place, (model, path) in enumerate(entries):
        bon = replace(make.best_of_n(place), path=path)
        documents.append(write(f"{place}.json", make.evaluation(f"runs/{model}/model", {}, benchmarks={"bon": bon})))
    if comparison is not None:
        document = make.comparison("runs/a/model", "runs/b/model", "data/test.jsonl", (-0.05, -0.09, -0.01))
        compared = {comparison: make.compared_figures((0.2, 0.1, 0.3))}
        documents.append(write("c.json", replace(document, files={}, benchmarks=compared)))
    return view_of(read_inputs(documents))


def datasets(view):
    return {name: [entry.model for entry in measured] for name, measured in view.by_dataset().items()}


def test_a_benchmark_on_two_files_is_two_data_sets(write, make):
    view = views(write, make, [("a", FIRST), ("b", SECOND), ("b", FIRST)])
    assert datasets(view) == {"bon=first.jsonl": ["a", "b"], "bon=second.jsonl": ["b"]}


def test_one_file_is_one_data_set_by_the_benchmarks_name(write, make):
    assert datasets(views(write, make, [("a", FIRST), ("b", f"./{FIRST}")])) == {"bon": ["a", "b"]}
    assert datasets(views(write, make, [("a", None), ("b", FIRST)])) == {"bon": ["a", "b"]}


def test_a_model_measured_twice_on_one_file_is_told_apart(write, make):
    assert datasets(views(write, make, [("a", FIRST), ("a", f"./{FIRST}")])) == {"bon": ["a", "a (2)"]}


def test_paired_differences_are_of_the_file_that_was_compared(write, make):
    view = views(write, make, [("a", FIRST), ("b", FIRST), ("a", SECOND), ("b", SECOND)], f"bon={SECOND}")
    found = paired_differences(view)
    assert found["bon=second.jsonl", "a", "b"] == Interval(0.2, 0.1, 0.3, 0.95)
    assert ("bon=first.jsonl", "a", "b") not in found


def test_measurements_that_are_not_wanted_leave_no_empty_data_set(write, make):
    view = views(write, make, [("a", FIRST), ("b", SECOND)])
    assert list(view.by_dataset(lambda entry: entry.model == "b")) == ["bon=second.jsonl"]
