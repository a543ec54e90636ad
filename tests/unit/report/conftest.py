"""Documents of every kind as the commands write them, small, and a page taken apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vrm.metrics import (
    ResampleOptions,
    by_group,
    compare_best_of_n,
    json_ready,
    pair_predictions,
    preference_summary,
    reliability_bins,
    selective_accuracy,
)
from vrm.report import read_inputs, render_report

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


def measured(skill: float = 1.0, pairs: int = 120, seed: int = 0) -> dict[str, Any]:
    """What an evaluation says of a file."""
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=pairs)
    preference = (draw.random(pairs) < 1 / (1 + np.exp(-3 * truth))).astype(float)
    margin = skill * truth + 0.3 * np.random.default_rng(seed + 1).normal(size=pairs)
    lengths = (draw.integers(10, 99, pairs), draw.integers(10, 99, pairs))
    found = pair_predictions(margin, preference, lengths, probability=1 / (1 + np.exp(-margin)))
    summary = preference_summary(found, ResampleOptions(resamples=20))
    curve = selective_accuracy(margin, preference, found.certainty)
    labels = ["law" if row % 3 else "cooking" for row in range(pairs)]
    return json_ready(
        {
            "judgments": pairs,
            "pairs": summary,
            "by_source": {},
            "by_category": by_group(
                lambda rows: preference_summary(found.take(rows), ResampleOptions(resamples=5)), labels
            ),
            "reliability": reliability_bins(summary.calibration),
            "selective": {
                "probability": {
                    "coverage": curve.coverage[9::10],
                    "accuracy": curve.accuracy[9::10],
                    "area": interval(curve.area, curve.area - 0.04, curve.area + 0.04),
                }
            },
            "weights_by_category": {
                "by": "category",
                "objectives": ["safety", "brevity"],
                "overall": {"prompts": pairs, "mean": [0.4, 0.6], "std": [0.1, 0.1]},
                "groups": {
                    "law": {"prompts": 80, "mean": [0.25, 0.75], "std": [0.1, 0.1]},
                    "cooking": {"prompts": 40, "mean": [0.7, 0.3], "std": [0.1, 0.1]},
                },
            },
            "mistakes": [mistake()],
        }
    )


def interval(estimate: float, low: float, high: float) -> dict[str, float]:
    return {"estimate": estimate, "low": low, "high": high, "confidence": 0.95}


def mistake(**texts: str) -> dict[str, Any]:
    def completion(label: str, reward: float) -> dict[str, Any]:
        parts = {"safety": 0.4 * reward, "brevity": 0.6 * reward}
        return {"label": label, "reward": {"mean": reward}, "objective_scores": parts, "contributions": parts}

    return {
        "file": "data/test.jsonl", "line": 7, "category": "law", "preference": 1.0, "probability": 0.031,
        "margin": -3.44, "prompt": "May I keep it?", "chosen": "Only with a permit.", "rejected": "Yes, of course!",
        **texts,
        "explanation": {
            "level": 0.9,
            "weights": [
                {"objective": "safety", "weight": {"mean": 0.4}}, {"objective": "brevity", "weight": {"mean": 0.6}},
            ],
            "completions": [completion("A", -1.0), completion("B", 2.44)],
            "pairs": [
                {
                    "first": "B", "second": "A", "reasons": "because of brevity +2.06",
                    "margin": {"mean": 3.44, "low": 1.1, "high": 5.6},
                    "uncertainty": {"shares": {"features": 0.25, "weights": 0.7, "interaction": 0.05}},
                }
            ],
            "notes": ["the prompt was cut"],
        },
    }  # fmt: skip


def evaluation(model: str, files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "kind": "evaluation", "schema": 1, "model": model, "head": "vrm", "backbone_sha256": "ab" * 32,
        "settings": {"precision": "float32", "steering": {"emphasis": None, "without": None}},
        "versions": {"vrm": "0.1.0", "torch": "2.9"}, "files": files, **more,
    }  # fmt: skip


def best_of_n(seed: int = 0) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    gold = [draw.normal(size=6) for _ in range(12)]
    noisy = [values + draw.normal(size=6) for values in gold]
    rewards = {"mean": noisy, "pessimistic 1": [row - 1.0 * abs(draw.normal(size=6)) for row in noisy]}
    rewards["longest"] = [draw.normal(size=6) for _ in gold]
    found = json_ready(compare_best_of_n(rewards, gold, baseline="mean", options=ResampleOptions(resamples=10)))
    for name, kappa in (("mean", 0.0), ("pessimistic 1", 1.0)):
        found["curves"][name] |= {"kappa": kappa, "spread": "reward" if kappa else None}
    return {"prompts": 12, "dropped": 0, "uncertain": True, "one_best": False, **found}


def benchmark(estimate: float = 0.71) -> dict[str, Any]:
    figures = [("", "all", "average", estimate), ("domain", "chat", "hard", 0.55), ("domain", "code", "hard", 0.66)]
    return {
        "name": "rm-bench", "title": "RM-Bench", "examples": 40, "prompts": 40,
        "figures": [
            {"level": level, "row": row, "column": column, "examples": 40, "longer_wins": 0.31,
             **interval(value, value - 0.02, value + 0.02)}
            for level, row, column, value in figures
        ],
        "length_controlled": [{"level": "", "row": "all", "value": 0.625}],
    }  # fmt: skip


def comparison(first: str, second: str, file: str, difference: tuple[float, float, float]) -> dict[str, Any]:
    measure = {"first": 0.8, "second": 0.8 - difference[0], "difference": interval(*difference)}
    overall = {
        "count": 120, "ties": 0, "prompts": 100, "accuracy": measure, "negative_log_likelihood": measure,
        "p_value": 0.0123, "test": "sign_flip", "difference_to_find": 0.02, "pairs_needed": 1234.4,
    }  # fmt: skip
    groups = {name: {**overall, "holm_p_value": 0.25} for name in ("law", "cooking")}
    content = {
        "overall": overall,
        "by_source": {},
        "by_category": groups,
        "conclusions": ["A is more accurate than B."],
    }
    return {
        "kind": "comparison", "schema": 1, "model": first, "model_b": second, "versions": {"vrm": "0.1.0"},
        "settings": {}, "files": {file: content}, "benchmarks": {},
    }  # fmt: skip


def audit(model: str = "runs/a/model") -> dict[str, Any]:
    def edit(name: str, kind: str, verdict: str, shift: float, harm: float) -> dict[str, Any]:
        pairs = {"flip_rate": interval(0.42, 0.3, 0.5), "error_rate": None}
        return {
            "name": name, "kind": kind, "summary": f"does {name}", "needs": "", "measured": 50, "not_applicable": 3,
            "overlong": 0, "shift": interval(shift, shift - 0.1, shift + 0.1), "raised": interval(0.6, 0.5, 0.7),
            "pairs": pairs, "harm": interval(harm, harm, harm), "verdict": verdict,
        }  # fmt: skip

    return {
        "kind": "audit", "schema": 1, "model": model, "head": "vrm", "versions": {"vrm": "0.1.0"},
        "settings": {"precision": "float32"}, "file": "data/test.jsonl", "prompts": 25, "spread": 1.5, "kappa": 0.0,
        "spread_source": "standard deviation of the rewards", "confidence": 0.95, "overlong": "all within 256 tokens",
        "edits": [
            edit("middle_cut", "must lower", "not noticed", 0.05, 0.6),
            edit("flattery", "must not raise", "raises the reward", 0.31, 0.5),
            edit("emoji", "must not raise", "no clear effect", -0.02, 0.0),
        ],
        "length": {
            "rewards": {"pearson": interval(0.33, 0.2, 0.4), "spearman": None},
            "labels": {"pearson": interval(0.1, 0.0, 0.2), "spearman": None},
            "model_prefers_longer": interval(0.7, 0.6, 0.8), "labels_prefer_longer": interval(0.6, 0.5, 0.7),
        },
    }  # fmt: skip


def doctor(error: bool = True) -> dict[str, Any]:
    findings = [
        {"name": "shared_prompts", "severity": "error", "files": ["train", "dev"], "message": "14 prompts are shared.",
         "advice": "Split by prompt.", "count": 14, "total": 100, "share": 0.14, "allowed": False,
         "places": [f"dev.jsonl:{line}" for line in range(1, 9)]},
        {"name": "languages", "severity": "ok", "files": ["train"], "message": "All English.", "count": 0, "total": 9},
    ]  # fmt: skip
    return {
        "kind": "doctor", "schema": 1, "versions": {"vrm": "0.1.0"}, "settings": {}, "invalid": error,
        "findings": findings if error else findings[1:], "files": {"train": {"rows": 9}, "dev": {"rows": 3}},
    }  # fmt: skip


HISTORY = [
    {"step": 10, "loss": 0.7, "comparison": -0.69, "ratings": -1.4, "kl_weights": 0.0},
    {"step": 10, "eval_nll": 0.66, "eval_accuracy": 0.6, "eval_kl_to_prior": 0.0},
    {"step": 20, "loss": 0.5, "comparison": -0.51, "ratings": -1.1, "kl_weights": 0.0},
    {"step": 20, "eval_nll": 0.52, "eval_accuracy": 0.75, "eval_kl_to_prior": 0.0},
    {"step": 30, "eval_nll": 0.58, "eval_accuracy": 0.74, "eval_kl_to_prior": 0.0},
]
SUMMARY = {
    "config": {"output_dir": "runs/a", "model": {"head": "vrm", "backbone": "embedded"}, "loss": {"ratings": 0.3}},
    "rows": {"train": 2400, "eval": 312},
    "metrics": {"nll": 0.52, "accuracy": 0.75, "kl_to_prior": 0.0, "active_units": 5.0},
    "seconds": {"total": 61.4},
    "versions": {"vrm": "0.1.0"},
}


def write_document(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
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
    functions = (evaluation, measured, mistake, best_of_n, benchmark, comparison, audit, doctor)
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
