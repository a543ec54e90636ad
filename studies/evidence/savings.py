"""Labels saved at equal loss, with intervals over seeds and prompts: the tables of `selecting.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression
from studies.evidence.acquisition import METHODS
from studies.evidence.tables import markdown

RESAMPLES = 1000
LEVELS = (150, 400, 900)
"""Savings are taken at the losses that random labels reach with so many."""
SHOWN = (100, 400, 900)
FIRST = 50
"""Labels drawn by chance, with which all methods begin."""
FEW_GROUPS = 8
"""With fewer prompts than this the pairs are resampled in their place, which is too sure of itself."""


@dataclass(frozen=True)
class Curves:
    """Outcomes of one method and learner.

    Attributes:
        budgets: (b,) labels.
        loss: (seeds, b, pairs) nats.
        hits: (seeds, b, pairs), NaN for ties.
    """

    budgets: np.ndarray
    loss: np.ndarray
    hits: np.ndarray

    def at(self, budgets: np.ndarray) -> Curves:
        """At some of the budgets."""
        kept = np.flatnonzero(np.isin(self.budgets, budgets))
        return Curves(self.budgets[kept], self.loss[:, kept], self.hits[:, kept])


def curves(folder: Path, method: str, learner: str, seeds: Sequence[int]) -> Curves:
    """What `selecting.py` kept of these seeds."""
    kept = []
    for seed in seeds:
        with np.load(folder / f"{method}-{seed}.npz") as found:
            names = [name for name in found.files if name.startswith(f"{learner}-")]
            kept.append({int(name.rpartition("-")[2]): found[name] for name in names})
    budgets = sorted(set.intersection(*map(set, kept)))
    values = np.stack([[seed[budget] for budget in budgets] for seed in kept])
    return Curves(np.array(budgets), values[:, :, 0], values[:, :, 1])


def labels_needed(budgets: np.ndarray, losses: np.ndarray, level: float) -> float:
    """Labels after which a curve stays at a loss: falling by isotonic regression, linear in the logarithm of labels.

    Between the first budget and the last; a curve that does not come down to the level needs the last.
    """
    falling = isotonic_regression(losses, increasing=False).x
    # np.interp wants rising abscissas; a plateau's first budget is the one that is needed.
    return float(np.exp(np.interp(-level, -falling + 1e-12 * np.arange(len(falling)), np.log(budgets))))


def saved(budgets: np.ndarray, random: np.ndarray, other: np.ndarray, level: int) -> float:
    """Share of labels saved where random labels stand after `level` of them; negative where more are needed."""
    falling = isotonic_regression(random, increasing=False).x
    target = float(np.interp(np.log(level), np.log(budgets), falling))
    return 1.0 - labels_needed(budgets, other, target) / labels_needed(budgets, random, target)


def resampled(values: Sequence[np.ndarray], groups: Sequence[Any], generator: np.random.Generator) -> np.ndarray:
    """Mean curves of several methods, (1 + resamples, methods, b), the first as they are; seeds and prompts drawn."""
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.stack([[_by_group(seed, numbers) for seed in value] for value in values])
    counts = np.bincount(numbers)
    seeds, size = totals.shape[1], len(counts)
    found = [totals.sum((1, 3)) / (seeds * counts.sum())]
    for _ in range(RESAMPLES):
        drawn = np.bincount(generator.integers(0, size, size), minlength=size)
        of_seeds = np.bincount(generator.integers(0, seeds, seeds), minlength=seeds)
        summed = np.einsum("msbg,s,g->mb", totals, of_seeds, drawn)
        found.append(summed / (seeds * (counts @ drawn)))
    return np.stack(found)


def _by_group(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(b, pairs) to sums (b, groups)."""
    return np.stack([np.bincount(numbers, row) for row in values])


def interval(values: np.ndarray, scale: float = 1.0, digits: int = 0) -> str:
    """The first value, and the middle 95 % of the others; bold where they leave out 0."""
    return interval_text([values[0], *np.percentile(values[1:], [2.5, 97.5])], scale, digits)


def interval_text(limits: Sequence[float], scale: float = 1.0, digits: int = 0) -> str:
    """Estimate, low and high; bold where they leave out 0."""
    value, low, high = (scale * limit for limit in limits)
    text = f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def done_seeds(folder: Path, methods: Sequence[str], learner: str) -> list[int]:
    """Seeds for which every method has this learner."""
    sets = []
    for method in methods:
        done = set()
        for path in folder.glob(f"{method}-*.npz"):
            with np.load(path) as found:
                if any(name.startswith(f"{learner}-") for name in found.files):
                    done.add(int(path.stem.rpartition("-")[2]))
        sets.append(done)
    return sorted(set.intersection(*sets)) if sets else []


def pool_rows(folder: Path, learner: str, groups: Sequence[Any]) -> tuple[list[list[str]], dict[str, Any]]:
    """A row a method: loss and accuracy at some budgets, mean difference from random, labels saved."""
    seeds_of = {method: done_seeds(folder, [method], learner) for method in METHODS}
    methods = [method for method, done in seeds_of.items() if len(done) >= len(seeds_of["random"])]
    seeds = done_seeds(folder, methods, learner)
    found = {method: curves(folder, method, learner, seeds) for method in methods}
    budgets = found["random"].budgets
    means = resampled([found[method].loss for method in methods], groups, np.random.default_rng(0))
    # A toy of fewer labels than the first level is looked at where it ends.
    levels = [level for level in LEVELS if level < budgets[-1]] or [int(budgets[-1])]
    shown = [index for index, budget in enumerate(budgets) if budget in SHOWN]
    rows, figures = [], {}
    base = methods.index("random")
    for number, method in enumerate(methods):
        accuracy = np.nanmean(found[method].hits, (0, 2))
        cells = [f"{means[0, number, index]:.3f} / {100 * accuracy[index]:.1f}" for index in shown]
        difference = (means[:, number] - means[:, base])[:, budgets > FIRST].mean(1)
        savings = np.array([[saved(budgets, draw[base], draw[number], level) for level in levels] for draw in means])
        averaged = savings.mean(1)
        against = [interval(difference, 1000.0, 1), interval(averaged, 100.0)]
        rows.append([method, *cells, *(["-"] * len(against) if number == base else against)])
        figures[method] = {
            "budgets": budgets.tolist(),
            "nll": means[0, number].round(5).tolist(),
            "accuracy": accuracy.round(5).tolist(),
            "seeds": len(seeds),
            "nll minus random": _three(difference),
            "savings": dict(zip(map(str, levels), savings[0].round(4).tolist(), strict=True)),
            "mean savings": _three(averaged),
        }
    head = ["labels chosen by", *(f"{budgets[index]:,}" for index in shown), "NLL minus random, 1e-3", "saved, %"]
    return [head, *rows], figures


def _three(values: np.ndarray) -> list[float]:
    """Estimate, low and high of an interval."""
    return [round(float(value), 5) for value in (values[0], *np.percentile(values[1:], [2.5, 97.5]))]


def tables(output: Path, target: Path | None) -> str:
    """All tables as Markdown; figures to a file."""
    parts, kept = [], {}
    for folder in sorted(path.parent for path in output.glob("*/groups.json")):
        groups = json.loads((folder / "groups.json").read_text())
        units = groups if len(set(groups)) >= FEW_GROUPS else list(range(len(groups)))
        for learner in ("bayes", "gated"):
            if done_seeds(folder, ["random"], learner):
                rows, kept[f"{folder.name}, {learner}"] = pool_rows(folder, learner, units)
                parts.append(f"**{folder.name}, learner `{learner}`**\n\n{markdown(rows)}")
            if done_seeds(folder, ["each-1"], learner):
                rows, kept[f"{folder.name}, {learner}, again"] = again_rows(folder, learner, units)
                parts.append(f"**{folder.name}, several judgments of a pair, learner `{learner}`**\n\n{markdown(rows)}")
    if target:
        target.write_text(json.dumps(kept, indent=1) + "\n")
    return "\n\n".join(parts)


def again_rows(folder: Path, learner: str, groups: Sequence[Any]) -> tuple[list[list[str]], dict[str, Any]]:
    """Loss by how many judgments of a pair were bought, and its difference from one each."""
    ways = [f"each-{each}" for each in (1, 2, 5) if list(folder.glob(f"each-{each}-*.npz"))]
    seeds = done_seeds(folder, ways, learner)
    # One judgment each of so many pairs is what a small pool does not have.
    few = curves(folder, ways[0], learner, seeds).budgets
    found = [curves(folder, way, learner, seeds).at(few) for way in ways]
    budgets = found[0].budgets
    means = resampled([value.loss for value in found], groups, np.random.default_rng(0))
    rows = [["judgments a pair", *(f"{budget:,} judgments" for budget in budgets)]]
    figures = {}
    for number, way in enumerate(ways):
        cells = [f"{loss:.3f}" for loss in means[0, number]]
        if number:
            differences = means[:, number] - means[:, 0]
            cells = [f"{cell}, {interval(differences[:, column], 1000.0, 1)}" for column, cell in enumerate(cells)]
        rows.append([way.rpartition("-")[2], *cells])
        figures[way] = {
            "budgets": budgets.tolist(),
            "nll": means[0, number].round(5).tolist(),
            "nll minus one each": [
                _three(means[:, number, column] - means[:, 0, column]) for column in range(len(budgets))
            ],
            "seeds": len(seeds),
        }
    return rows, figures
