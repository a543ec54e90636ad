"""Predictions that `run.py` kept, with labels, as arrays: what every table of docs/evidence.md is made from."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from vrm.data.load import load_judgments
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.style import style_measures
from vrm.metrics import (
    expected_calibration_error,
    length_controlled_accuracy,
    pairwise_hits,
    pearson,
    selective_accuracy,
    spearman,
)


@dataclass(frozen=True)
class Labels:
    """Comparisons of one test fold."""

    judgments: list[Judgment]

    @cached_property
    def preference(self) -> np.ndarray:
        """(n,)."""
        return np.array([row.preference for row in self.judgments], dtype=float)

    @cached_property
    def groups(self) -> list[str]:
        """Prompt keys."""
        return [prompt_key(row) for row in self.judgments]

    @cached_property
    def log_lengths(self) -> np.ndarray:
        """(n, 2)."""
        return np.array([[style_measures(text)[0] for text in row.completions] for row in self.judgments])


@dataclass(frozen=True)
class Predicted:
    """One model on one fold of comparisons."""

    labels: Labels
    margin: np.ndarray
    variance: np.ndarray
    logs: np.ndarray
    scaled_logs: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """(n,) 1, 0, or 1/2 for equal rewards; NaN for labelled ties."""
        return pairwise_hits(self.margin, self.labels.preference)

    def nll(self, scaled: bool) -> np.ndarray:
        """(n,) nats."""
        logs, p = self.scaled_logs if scaled else self.logs, self.labels.preference
        return -(p * logs[:, 0] + (1 - p) * logs[:, 1])

    def brier(self, scaled: bool) -> np.ndarray:
        """(n,)."""
        return (np.exp((self.scaled_logs if scaled else self.logs)[:, 0]) - self.labels.preference) ** 2

    def take(self, rows: np.ndarray) -> Predicted:
        """Some of the comparisons."""
        labels = Labels([self.labels.judgments[row] for row in rows])
        return Predicted(labels, self.margin[rows], self.variance[rows], self.logs[rows], self.scaled_logs[rows])

    def metrics(self) -> dict[str, float]:
        """All metrics, NaN where the fold cannot tell."""
        lengths, preference = self.labels.log_lengths, self.labels.preference
        certainty = -self.scaled_logs.min(1)
        return {
            "accuracy": float(np.nanmean(self.hits)),
            "length-controlled": length_controlled_accuracy(self.margin, preference, *lengths.T).value,
            "nll": float(self.nll(False).mean()),
            "nll scaled": float(self.nll(True).mean()),
            "brier scaled": float(self.brier(True).mean()),
            "ece": expected_calibration_error(np.exp(self.logs[:, 0].clip(max=0)), preference).value,
            "ece scaled": expected_calibration_error(np.exp(self.scaled_logs[:, 0].clip(max=0)), preference).value,
            "selective area": selective_accuracy(self.margin, preference, certainty).area,
            "length correlation": pearson(self.margin, lengths[:, 0] - lengths[:, 1]),
            "length rank correlation": spearman(self.margin, lengths[:, 0] - lengths[:, 1]),
        }


@dataclass(frozen=True)
class Store:
    """Everything under `runs/evidence`, read when asked for."""

    root: Path
    data: Path

    @cache  # noqa: B019  one store lives as long as the program
    def labels(self, fold: str) -> Labels:
        """Labels of a fold of comparisons."""
        path = self.data / "preferences" / f"{fold}.jsonl.gz"
        return Labels([row for row in load_judgments(str(path), on_bad_rows="skip").judgments if row.is_comparison])

    @cache  # noqa: B019
    def rows(self, fold: str) -> list[dict]:
        """Rows of a benchmark file: `bon` or `rm-bench-DOMAIN`."""
        if fold == "bon":
            with gzip.open(self.data / "benchmarks" / "rmb-bon.dev.jsonl.gz") as file:
                return [json.loads(line) for line in file]
        domain = fold.removeprefix("rm-bench-")
        with gzip.open(self.data / "benchmarks" / "rm-bench" / f"{domain}_filtered.json.gz") as file:
            return json.load(file)

    def seeds(self, regime: str, head: str) -> list[int]:
        """Seeds that are done."""
        done = (self.root / regime).glob(f"{head}-*/meta.json")
        found = [path.parent.name.removeprefix(f"{head}-") for path in done]
        return sorted(int(seed) for seed in found if seed.isdigit())

    def meta(self, regime: str, head: str, seed: int) -> dict:
        """What training reached, temperature and settings."""
        return json.loads((self.root / regime / f"{head}-{seed}" / "meta.json").read_text())

    def arrays(self, regime: str, head: str, seed: int, fold: str) -> dict[str, np.ndarray]:
        """Predictions of one fold as saved."""
        with np.load(self.root / regime / f"{head}-{seed}" / f"{fold}.npz") as found:
            return dict(found)

    @cache  # noqa: B019
    def predicted(self, regime: str, head: str, seed: int, fold: str) -> Predicted:
        """Predictions of comparisons beside their labels."""
        found = self.arrays(regime, head, seed, fold)
        return Predicted(self.labels(fold), found["margin"], found["variance"], found["logs"], found["scaled_logs"])

    def has(self, regime: str, head: str, seed: int, fold: str) -> bool:
        """Whether a fold was predicted."""
        return (self.root / regime / f"{head}-{seed}" / f"{fold}.npz").exists()

    def has_votes(self, regime: str, head: str, seed: int, fold: str) -> bool:
        """Whether weights of a fold with votes were kept."""
        return (self.root / regime / f"{head}-{seed}" / f"{fold}.votes.npz").exists()

    def votes(self, regime: str, head: str, seed: int, fold: str) -> tuple[np.ndarray, np.ndarray]:
        """Expected weights and shares of the vote, among the objectives that the fold's votes name, by row."""
        names = self.meta(regime, head, seed)["objectives"]
        path = self.data / "preferences" / f"{fold}.jsonl.gz"
        rows = [row.objective_votes or {} for row in load_judgments(str(path), on_bad_rows="skip").judgments]
        votes = np.array([[row.get(name, 0.0) for name in names] for row in rows])
        with np.load(self.root / regime / f"{head}-{seed}" / f"{fold}.votes.npz") as found:
            weights = found["mean"]
        named, voted = votes.sum(0) > 0, votes.sum(1) > 0
        weights, votes = weights[voted][:, named], votes[voted][:, named]
        return weights / weights.sum(1, keepdims=True), votes / votes.sum(1, keepdims=True)
