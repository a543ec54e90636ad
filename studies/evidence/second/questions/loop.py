"""The closed loop: does a reward survive being optimized, by head, labels, nuisance offset and risk?"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from studies.evidence.second.loop_plot import draw
from studies.evidence.second.loop_policy import KL_EVERY, PROMPTS, World, gold, optimize, sample, start, world
from studies.evidence.second.loop_rewards import (
    Corpus,
    Judge,
    Recipe,
    Risk,
    Sentences,
    Trained,
    corpus,
    familiar,
    train,
)
from studies.evidence.second.study import Question, Study
from studies.evidence.tables import markdown

from vrm.core.unfamiliarity import FamiliarTexts
from vrm.metrics import bootstrap_mean, wilson_interval

STEPS, SUPERVISED_STEPS = 50, 150
LAST = 10
"""Steps at the end whose mean is the final value."""

WINDOW = 5
"""Steps that a kept point of a curve is the mean of."""

MEAN, UNFAMILIAR = Risk(), Risk("unfamiliar", 8.0)
PESSIMISTIC, EXPONENTIAL, WORST = Risk("pessimistic", 1.0), Risk("exponential", 1.0), Risk("worst")


@dataclass(frozen=True)
class Variant:
    """A reward to optimize: how it is trained, how it is read, and on how many seeds it is run."""

    recipe: Recipe
    seeds: int
    risk: Risk = MEAN


def _labels(head: str, loss: str = "variational", offset: bool = False) -> Recipe:
    return Recipe(head, loss, ratings=True, votes=True, offset=offset)


FIVE = Recipe("mlp", members=5)
VARIANTS = {
    "bt": Variant(Recipe("bt"), 20),
    "mlp": Variant(Recipe("mlp"), 20),
    "gated": Variant(Recipe("gated"), 20),
    "vrm": Variant(Recipe("vrm"), 20),
    "gated, labels": Variant(_labels("gated"), 20),
    "vrm, labels": Variant(_labels("vrm"), 20),
    "gated, labels, offset": Variant(_labels("gated", offset=True), 20),
    "vrm, labels, offset": Variant(_labels("vrm", offset=True), 20),
    "ensemble": Variant(FIVE, 10),
    "ensemble, worst": Variant(FIVE, 10, WORST),
    "vrm (7')": Variant(Recipe("vrm", "marginal"), 10),
    "vrm (7'), labels": Variant(_labels("vrm", "marginal"), 10),
    "vrm, pessimistic": Variant(Recipe("vrm"), 10, PESSIMISTIC),
    "vrm, labels, pessimistic": Variant(_labels("vrm"), 10, PESSIMISTIC),
    "gated, labels, unfamiliarity": Variant(_labels("gated"), 10, UNFAMILIAR),
    "vrm, labels, unfamiliarity": Variant(_labels("vrm"), 10, UNFAMILIAR),
    "bt, offset": Variant(Recipe("bt", offset=True), 6),
    "mlp, offset": Variant(Recipe("mlp", offset=True), 6),
    "vrm, offset": Variant(Recipe("vrm", offset=True), 6),
    "vrm, ratings": Variant(Recipe("vrm", ratings=True), 6),
    "vrm, votes": Variant(Recipe("vrm", votes=True), 6),
    "vrm, exponential": Variant(Recipe("vrm"), 6, EXPONENTIAL),
    "mlp, unfamiliarity": Variant(Recipe("mlp"), 6, UNFAMILIAR),
    "bnrm": Variant(Recipe("bnrm"), 6),
}
SAME_LABELS = {
    "vrm": "gated",
    "vrm, labels": "gated, labels",
    "vrm, labels, offset": "gated, labels, offset",
    "vrm (7')": "gated",
    "vrm (7'), labels": "gated, labels",
    "vrm, labels, unfamiliarity": "gated, labels, unfamiliarity",
}
QUICK = ("bt", "vrm, labels, unfamiliarity")


class Seed:
    """What the runs of a seed share, each made when it is first needed.

    Args:
        seed: of corpus, heads and run.
        study: where pieces are kept.
    """

    def __init__(self, seed: int, study: Study) -> None:
        self.seed, self.study = seed, study
        self._trained: dict[Recipe, Trained] = {}

    @cached_property
    def corpus(self) -> Corpus:
        """With features."""
        return corpus(self.seed, Sentences(self.study.work / "sentences.npy"), 96 if self.study.quick else None)

    @cached_property
    def known(self) -> FamiliarTexts:
        """What unfamiliarity is measured by."""
        return familiar(self.corpus, self.seed)

    @cached_property
    def world(self) -> World:
        """What the policy is asked."""
        return world(self.seed)

    @property
    def start(self) -> Any:
        """The supervised policy, the same for all seeds."""
        return start(2 if self.study.quick else SUPERVISED_STEPS)

    def start_gold(self) -> float:
        """Of ten batches."""
        generator = torch.Generator().manual_seed(self.seed)
        prompts = torch.randperm(len(self.world.rows), generator=generator).tolist()
        groups = [prompts[first : first + PROMPTS] for first in range(0, 10 * PROMPTS, PROMPTS)]
        batches = [sample(self.start, self.world, group, generator) for group in groups]
        return float(np.mean([gold(self.world, batch) for batch in batches]))

    def trained(self, recipe: Recipe) -> Trained:
        """The heads of a recipe."""
        if recipe not in self._trained:
            self._trained[recipe] = train(recipe, self.corpus, self.seed)
        return self._trained[recipe]

    def run(self, variant: Variant) -> dict[str, Any]:
        """One run's figures."""
        trained = self.trained(variant.recipe)
        known = self.known if variant.risk.kind == "unfamiliar" else None
        judge = Judge(trained, variant.risk, self.corpus, self.world, known)
        series = optimize(self.start, self.world, judge, self.seed, WINDOW if self.study.quick else STEPS)
        curves = {name: _blocks(series[name]) for name in ("gold", "shortcut", "sentences")}
        final = {name: float(np.mean(series[name][-LAST:])) for name in ("gold", "shortcut")}
        return {
            "final": final,
            "best": max(np.convolve(series["gold"], np.ones(WINDOW) / WINDOW, "valid").tolist()),
            "accuracy": trained.accuracy,
            "curves": curves,
            "kl": [round(value, 2) for value in series["kl"]],
        }


def _blocks(values: list[float]) -> list[float]:
    return [round(float(np.mean(values[at : at + WINDOW])), 3) for at in range(0, len(values), WINDOW)]


def file_name(variant: str) -> str:
    """Of a variant's pieces."""
    return re.sub(r"[^a-z0-9]+", "-", variant).strip("-") + ("-marginal" if "'" in variant else "")


def run_seed(study: Study, number: int, names: list[str]) -> None:
    """All runs of a seed that are not kept yet."""
    seed = Seed(number, study)
    study.piece(f"start-{number}", lambda: {"gold": seed.start_gold()})
    for name in names:
        study.piece(f"{file_name(name)}-{number}", _run(seed, VARIANTS[name]))


def _run(seed: Seed, variant: Variant) -> Callable[[], dict[str, Any]]:
    return lambda: seed.run(variant)


def run(study: Study) -> dict[str, Any]:
    """Run what is missing, by seed, and gather what there is."""
    torch.set_num_threads(1)
    names = list(QUICK if study.quick else VARIANTS)
    for number in study.seed_range(max(variant.seeds for variant in VARIANTS.values())):
        run_seed(study, number, [name for name in names if number < VARIANTS[name].seeds])
    return gather(study, names)


def gather(study: Study, names: list[str]) -> dict[str, Any]:
    """The figures of all kept runs: by variant and seed."""

    def kept(name: str) -> dict[str, Any]:
        found = {}
        for number in range(VARIANTS[name].seeds):
            path = study.work / f"{file_name(name)}-{number}.json"
            if path.exists():
                found[str(number)] = study.piece(path.stem, dict)
        return found

    runs = {name: kept(name) for name in names}
    seeds = sorted({number for entries in runs.values() for number in entries}, key=int)
    return {"start": {number: study.piece(f"start-{number}", dict)["gold"] for number in seeds}, "runs": runs}


def tables(figures: dict[str, Any]) -> str:
    """Rates and gold by variant; differences in final gold; gold against policy KL."""
    runs = {name: entries for name, entries in figures["runs"].items() if entries}
    rows = [
        [
            "optimized reward",
            "runs",
            "collapsed, %",
            "flattery alone, %",
            "final gold",
            "best gold",
            "accuracy, %",
            "reversed, %",
        ]
    ]
    for name, entries in runs.items():
        lost = [entry["final"]["gold"] < figures["start"][seed] for seed, entry in entries.items()]
        alone = [entry["final"]["shortcut"] > 0.5 for entry in entries.values()]
        final, best = ([pick(entry) for entry in entries.values()] for pick in (_final, lambda entry: entry["best"]))
        right = [
            f"{100 * np.mean([entry['accuracy'][split] for entry in entries.values()]):.1f}"
            for split in ("test", "test_reversed")
        ]
        rows.append([name, str(len(entries)), _rate(lost), _rate(alone), _mean(final), f"{np.mean(best):.2f}", *right])
    return "\n\n".join([markdown(rows), _differences(runs), _frontier(runs)])


def _final(entry: dict[str, Any]) -> float:
    return entry["final"]["gold"]


def _rate(hits: list[bool]) -> str:
    found = wilson_interval(float(np.mean(hits)), len(hits))
    return f"{100 * found.estimate:.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def _mean(values: list[float]) -> str:
    found = bootstrap_mean(values)
    return f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _differences(runs: dict[str, Any]) -> str:
    rows = [["final gold, paired by seed", "minus `bt`", "minus `gated` with the same labels"]]
    for name, entries in runs.items():
        cells = [_paired(entries, runs.get(other, {}) if other else {}) for other in ("bt", SAME_LABELS.get(name))]
        if name != "bt":
            rows.append([name, *cells])
    return markdown(rows)


def _paired(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Bold where the interval excludes zero and four seeds in five agree."""
    away = [_final(first[seed]) - _final(second[seed]) for seed in first if seed in second]
    if not away:
        return "-"
    found = bootstrap_mean(away)
    agree = np.mean(np.sign(away) == np.sign(found.estimate)) >= 0.8
    text = f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return f"**{text}**" if agree and (found.low > 0 or found.high < 0) else text


def _frontier(runs: dict[str, Any]) -> str:
    """Best block of gold among those before the policy KL passes a budget."""
    budgets = (3, 10, 30)
    rows = [["best gold within a policy KL of", *(f"{budget} nats" for budget in budgets)]]
    for name, entries in runs.items():
        cells = []
        for budget in budgets:
            reached = [
                max(value for value, kl in zip(entry["curves"]["gold"], entry["kl"], strict=False) if kl <= budget)
                for entry in entries.values()
            ]
            cells.append(f"{np.mean(reached):.2f}")
        rows.append([name, *cells])
    return markdown(rows)


def plot(figures: dict[str, Any], folder: Path) -> Path:
    """Gold against policy KL, and the shortcut's share over steps."""
    return draw(figures["runs"], folder / "evidence-loop.png", KL_EVERY)


QUESTION = Question("The closed loop", run, tables, plot)
