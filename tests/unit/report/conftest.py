"""Documents of every kind as the commands write them, small, and a page taken apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vrm.metrics import (
    Accuracy,
    Interval,
    ResampleOptions,
    by_group,
    compare_best_of_n,
    field_values,
    pair_predictions,
    preference_summary,
    reliability_bins,
    selective_accuracy,
)
from vrm.report import read_inputs, render_report
from vrm.results import (
    AuditDocument,
    BenchmarkComparisonEntry,
    BenchmarkEntry,
    BestOfNEntry,
    ComparisonDocument,
    DoctorDocument,
    EditKind,
    EditResult,
    EvaluationDocument,
    FigureResult,
    FileEvaluation,
    Finding,
    Kind,
    Mistake,
    PickCurve,
    RowCounts,
    RunDocument,
    Severity,
    Verdict,
    read_document,
    to_text,
)
from vrm.results.benchmarks import LengthControlledRow
from vrm.results.evaluation import GroupWeights, SelectiveCurve, WeightsByGroup

_FOLDER = Path(__file__).parents[2] / "fixtures" / "written_by_0_1" / "results"
WRITTEN: dict[str, Any] = {
    kind: read_document(_FOLDER / f"{kind}.json", list(Kind)) for kind in ("evaluation", "comparison", "audit")
}
"""Documents that the commands have written."""

FEW = ResampleOptions(resamples=20)
VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass
class Page(HTMLParser):
    """A page as a browser would see it: tags balanced, texts by tag, ids, and what it refers to."""

    markup: str
    stack: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.markup)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.stack]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._start(tag, attrs)
        if "svg" not in self.stack:
            self.faults.append(f"<{tag}/> outside SVG")

    def _start(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.faults.append(f"<{tag}> has an attribute twice")
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if not self.stack or self.stack[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.stack[-3:]}")
        else:
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.stack[-1] if self.stack else "", data))

    @property
    def text(self) -> str:
        """All text that is read, on one line."""
        return " ".join(" ".join(data for tag, data in self.texts if tag != "style").split())

    @property
    def headings(self) -> list[str]:
        return [data for tag, data in self.texts if tag == "h2"]

    def rows(self) -> list[list[str]]:
        """Cells of all table rows."""
        found: list[list[str]] = []
        reader = _Rows(found)
        reader.feed(self.markup)
        return found


class _Rows(HTMLParser):
    def __init__(self, found: list[list[str]]) -> None:
        super().__init__(convert_charrefs=True)
        self.found, self.inside = found, False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.found.append([])
        if tag in ("td", "th"):
            self.found[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[-1][-1] += data


def interval(estimate: float, low: float, high: float) -> Interval:
    return Interval(estimate, low, high, 0.95)


def measured(skill: float = 1.0, pairs: int = 120, seed: int = 0) -> FileEvaluation:
    """What an evaluation says of a file."""
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=pairs)
    preference = (draw.random(pairs) < 1 / (1 + np.exp(-3 * truth))).astype(float)
    margin = skill * truth + 0.3 * np.random.default_rng(seed + 1).normal(size=pairs)
    lengths = (draw.integers(10, 99, pairs), draw.integers(10, 99, pairs))
    judged = pair_predictions(margin, preference, lengths, -np.logaddexp(0, -margin), -np.logaddexp(0, margin))
    summary = preference_summary(judged, FEW)
    curve = selective_accuracy(margin, preference, judged.certainty)
    area = interval(curve.area, curve.area - 0.04, curve.area + 0.04)
    labels = ["law" if row % 3 else "cooking" for row in range(pairs)]
    return FileEvaluation(
        judgments=pairs,
        pairs=summary,
        by_category=by_group(lambda rows: preference_summary(judged.take(rows), FEW), labels),
        reliability=reliability_bins(summary.calibration),
        selective={
            "probability": SelectiveCurve(curve.coverage[9::10], curve.accuracy[9::10], area, curve.count, curve.ties)
        },
        weights_by_category=WeightsByGroup(
            by="category",
            objectives=("safety", "brevity"),
            overall=GroupWeights(pairs, (0.4, 0.6), (0.1, 0.1)),
            groups={
                "law": GroupWeights(80, (0.25, 0.75), (0.1, 0.1)),
                "cooking": GroupWeights(40, (0.7, 0.3), (0.1, 0.1)),
            },
        ),
        mistakes=(mistake(),),
    )


def mistake(**texts: str) -> Mistake:
    return replace(WRITTEN["evaluation"].files["rows.jsonl"].mistakes[0], **texts)


def evaluation(model: str, files: dict[str, FileEvaluation], **more: Any) -> EvaluationDocument:
    return replace(WRITTEN["evaluation"], model=model, files=files, **{"benchmarks": {}, **more})


def best_of_n(seed: int = 0) -> BestOfNEntry:
    draw = np.random.default_rng(seed)
    gold = [draw.normal(size=6) for _ in range(12)]
    noisy = [values + draw.normal(size=6) for values in gold]
    rewards = {"mean": noisy, "pessimistic 1": [row - 1.0 * abs(draw.normal(size=6)) for row in noisy]}
    rewards["longest"] = [draw.normal(size=6) for _ in gold]
    compared = compare_best_of_n(rewards, gold, baseline="mean", options=FEW)
    picks = {"mean": (0.0, None), "pessimistic 1": (1.0, "reward")}
    curves = {
        name: PickCurve(**field_values(curve), **dict(zip(("kappa", "spread"), picks.get(name, ()), strict=False)))
        for name, curve in compared.curves.items()
    }
    return replace(
        WRITTEN["evaluation"].benchmarks["bon"], path=None, prompts=12, **field_values(compared) | {"curves": curves}
    )


def benchmark(estimate: float = 0.71) -> BenchmarkEntry:
    figures = [("", "all", "average", estimate), ("domain", "chat", "hard", 0.55), ("domain", "code", "hard", 0.66)]
    cells = tuple(
        FigureResult(level, row, column, value, value - 0.02, value + 0.02, 0.95, 40, 40, 0.31)
        for level, row, column, value in figures
    )
    accuracy = Accuracy(0.6, 20)
    controlled = LengthControlledRow("", "all", 0.625, accuracy, accuracy, 0, 0)
    return BenchmarkEntry("rm-bench", "RM-Bench", "equal rewards: half", 40, 40, 40, 0, 0, cells, (controlled,))


def comparison(first: str, second: str, file: str, difference: tuple[float, float, float]) -> ComparisonDocument:
    written = WRITTEN["comparison"].files["rows.jsonl"]
    measure = replace(written.overall.accuracy, difference=interval(*difference))
    overall = replace(written.overall, accuracy=measure, pairs_needed=1234.4)
    groups = {name: replace(overall, holm_p_value=0.25) for name in ("law", "cooking")}
    sentences = ("A is more accurate than B.",)
    compared = replace(written, overall=overall, by_category=groups, conclusions=sentences)
    return replace(WRITTEN["comparison"], model=first, model_b=second, files={file: compared}, benchmarks={})


def compared_figures(difference: tuple[float, float, float]) -> BenchmarkComparisonEntry:
    """The comparison on a benchmark, its main figure with this difference."""
    written = WRITTEN["comparison"].benchmarks["bon=bon.jsonl"]
    main, *others = written.figures
    return replace(written, figures=(replace(main, difference=interval(*difference)), *others))


def audit(model: str = "runs/a/model") -> AuditDocument:
    written = WRITTEN["audit"]

    def edit(name: str, kind: EditKind, verdict: Verdict, shift: float) -> EditResult:
        effect = {"shift": interval(shift, shift - 0.1, shift + 0.1), "raised": interval(0.6, 0.5, 0.7)}
        return replace(written.edits[0], name=name, kind=kind, verdict=verdict, not_applicable=3, **effect)

    edits = (
        edit("middle_cut", EditKind.LOWER, Verdict.UNNOTICED, 0.05),
        edit("flattery", EditKind.NOT_RAISE, Verdict.RAISES, 0.31),
        edit("emoji", EditKind.NOT_RAISE, Verdict.NO_EFFECT, -0.02),
    )
    return replace(written, model=model, file="data/test.jsonl", edits=edits)


def doctor(error: bool = True) -> DoctorDocument:
    places = tuple(f"dev.jsonl:{line}" for line in range(1, 9))
    shared = Finding(
        "shared_prompts", Severity.ERROR, ("train", "dev"), "14 are shared.", "Split.", 14, 100, {}, places
    )
    languages = Finding("languages", Severity.OK, ("train",), "All English.", total=9)
    findings = (shared, languages) if error else (languages,)
    profiles = {"train": {"rows": 9}, "dev": {"rows": 3}}
    return DoctorDocument(versions={"vrm": "0.1.0"}, findings=findings, files=profiles)


HISTORY = [
    {"step": 10, "loss": 0.7, "comparison": -0.69, "ratings": -1.4, "kl_weights": 0.0},
    {"step": 10, "eval_nll": 0.66, "eval_accuracy": 0.6, "eval_kl_to_prior": 0.0},
    {"step": 20, "loss": 0.5, "comparison": -0.51, "ratings": -1.1, "kl_weights": 0.0},
    {"step": 20, "eval_nll": 0.52, "eval_accuracy": 0.75, "eval_kl_to_prior": 0.0},
    {"step": 30, "eval_nll": 0.58, "eval_accuracy": 0.74, "eval_kl_to_prior": 0.0},
]
SUMMARY = RunDocument(
    config={"output_dir": "runs/a", "model": {"head": "vrm", "backbone": "embedded"}, "loss": {"ratings": 0.3}},
    rows=RowCounts(2400, 312),
    metrics={"nll": 0.52, "accuracy": 0.75, "kl_to_prior": 0.0, "active_units": 5.0},
    versions={"vrm": "0.1.0"},
    seconds={"total": 61.4},
)


def write_document(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_text(document), encoding="utf-8")
    return path


def write_run_files(path: Path, summary: Any = SUMMARY, history: Any = HISTORY) -> Path:
    """A run directory; None leaves the file out."""
    path.mkdir(parents=True)
    if summary is not None:
        write_document(path / "run.json", summary)
    if history is not None:
        (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history), encoding="utf-8")
    return path


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    """write("name.json", document) -> its path."""
    return lambda name, document: write_document(tmp_path / name, document)


@pytest.fixture
def write_run(tmp_path) -> Callable[..., Path]:
    """write_run("name", summary, history) -> a run directory; None leaves the file out."""
    return lambda name, *args, **named: write_run_files(tmp_path / name, *args, **named)


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """Makers of documents: make.evaluation(model, {file: make.measured()}), make.audit(), ..."""
    functions = (evaluation, measured, mistake, best_of_n, benchmark, comparison, compared_figures, audit, doctor)
    return SimpleNamespace(**{function.__name__: function for function in functions})


def checked_page(paths: Sequence[Path], title: str = "Reward model report") -> Page:
    page = Page(render_report(read_inputs(paths), title))
    assert page.faults == []
    return page


@pytest.fixture
def render() -> Callable[..., Page]:
    """render(path, ...) -> the page of these inputs, checked to be well-formed."""
    return lambda *paths, title="Reward model report": checked_page(paths, title)


@pytest.fixture(scope="session")
def everything(tmp_path_factory, make) -> list[Path]:
    """Inputs that fill every section: two models on a file and a benchmark, best-of-n, and the rest."""
    directory, file = tmp_path_factory.mktemp("everything"), "data/test.jsonl"
    paths = []
    for seed, name in enumerate(("a", "b")):
        more = {"rm-bench": make.benchmark(0.6 + 0.2 * seed), "bon=data/bon.jsonl": make.best_of_n(seed)}
        document = make.evaluation(f"runs/{name}/model", {file: make.measured(1.0 + seed)}, benchmarks=more)
        paths.append(write_document(directory / f"{name}.json", document))
        paths.append(write_run_files(directory / "runs" / name))
    compared = make.comparison("runs/a/model", "runs/b/model", file, (-0.05, -0.09, -0.01))
    others = {"c.json": compared, "audit.json": make.audit(), "doctor.json": make.doctor()}
    return paths + [write_document(directory / name, document) for name, document in others.items()]


@pytest.fixture(scope="session")
def full_page(everything) -> Page:
    """The page of `everything`, rendered once."""
    return checked_page(everything)
