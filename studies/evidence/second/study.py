"""What a question of part two is given, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from studies.evidence.folds import Library

SHARES = {"rmb.train": 0.5, "finegrained_qa.train": 0.5}
"""Of the prompts of a file that are read, drawn by hash; of the others all are."""

QUICK_SHARE = 0.03
"""Of the prompts of a file with `--quick`; files of a few dozen prompts or debates are read whole."""

WHOLE = ("ukp_convarg2", "ukpconvarg1", "cobbler", "hanna", "dialsummeval")
FILES = (
    "finegrained_qa",
    "flask_objectives",
    "hh_harmless",
    "hh_helpful",
    "rmb",
    "webgpt",
    "hfngs_v1",
    "hfngs_controlled",
)


@dataclass(frozen=True)
class Study:
    """Where data and kept pieces are, and how much to do.

    Attributes:
        data: directory with `preferences/`, `raters/` and `benchmarks/`.
        cache: the feature cache, shared by all questions.
        work: directory of this question's pieces, by which a broken run goes on.
        seeds: number of seeds; None for the question's own.
        quick: toy sizes, whose figures mean nothing.
    """

    data: Path
    cache: Path
    work: Path
    seeds: int | None = None
    quick: bool = False

    @cached_property
    def library(self) -> Library:
        """All folds over the embedded encoder's frozen features; with `quick` a small share of the larger ones."""
        files = [f"{name}.{part}" for name in FILES for part in ("train", "dev")]
        return Library(self.data, self.cache, shares=dict.fromkeys(files, QUICK_SHARE) if self.quick else SHARES)

    def seed_range(self, default: int) -> range:
        """Seeds from 0 up: as many as were asked for, else one with `quick`, else `default`."""
        return range(self.seeds if self.seeds is not None else 1 if self.quick else default)

    def piece(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What `make` returns, computed once and kept as JSON under this name.

        Args:
            name: of a file below `work`, without its ending.
            make: computes it; everything that its result depends on belongs into `name`.
        """
        path = self.work / f"{name}.json"
        if path.exists():
            return dict(json.loads(path.read_text(encoding="utf-8")))
        result = dict(make())
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(result), encoding="utf-8")
        beside.rename(path)
        print(f"{self.work.name}: {name}", flush=True)
        return dict(json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        title: in words.
        run: the figures, as JSON values; may be called again to go on.
        tables: those figures as Markdown, the tables of docs/evidence.md.
        plot: draws the figures into a directory and returns the file's path, or None where a question has no plot.
    """

    title: str
    run: Callable[[Study], dict[str, Any]]
    tables: Callable[[dict[str, Any]], str]
    plot: Callable[[dict[str, Any], Path], Path] | None = None
