"""A new group in 20 comparisons: tilts of (16), with a spread that other groups taught, and what other heads have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from studies.evidence.adapt import comparisons, few, ridge, standardized
from studies.evidence.folds import Features, Fold, joined
from studies.evidence.regimes import REGIMES, Parts, parts
from studies.evidence.second.rivals import Rivals
from studies.evidence.second.study import Question, Study
from studies.evidence.second.voters import INDEPENDENT, Attached, counts_of, moments
from studies.evidence.second.voting import OPTIONS, cell, rounded
from studies.evidence.tables import markdown
from torch import Tensor, nn

from vrm.core.bayes import RewardRegression
from vrm.core.predictive import margin_moments
from vrm.core.raters import FittedRaters, RaterVotes, fit_raters, vote_log_likelihood
from vrm.core.steering import emphasize, fit_tilt
from vrm.data.schema import Judgment
from vrm.metrics import bootstrap_mean, pairwise_hits

SHOTS, DRAWS, SEEDS = (5, 20, 100), 10, 3
QUICK_SHOTS, QUICK_DRAWS = (5, 20), 1
OBJECTIVE_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
PRIOR_MEAN = 100.0
"""Of the counts of (13), in votes: the best of three in part one."""

REFERENCE = "bt, new head"

Method = Callable[[np.ndarray], tuple[Tensor, Tensor]]
"""From the numbers of a few comparisons to the mean and the variance of the test pairs' margins."""


@dataclass(frozen=True)
class Group:
    """The new group's comparisons and its test pairs."""

    pool: Fold
    test: Fold
    features: Features


def run(study: Study) -> dict[str, Any]:
    """Accuracy and NLL of every method, with what they differ by."""
    task = Group(
        study.library.fold("hh_harmless.train"), study.library.fold("hh_harmless.dev"), study.library.features()
    )
    found = [study.piece(f"{seed}", lambda seed=seed: of_seed(study, task, seed)) for seed in study.seed_range(SEEDS)]
    return summary(found, task.test.groups)


def of_seed(study: Study, task: Group, seed: int) -> dict[str, Any]:
    """Every method on the same draws of comparisons: hits and NLL of every test pair, mean over the draws."""
    rows = parts(REGIMES["helpful"], study.library, seed)
    rivals = Rivals(study.library, rows, seed)
    task = replace(task, features=study.library.features())
    shots, draws = (QUICK_SHOTS, QUICK_DRAWS) if study.quick else (SHOTS, DRAWS)
    generator = np.random.default_rng(seed)
    chosen = {count: [generator.permutation(len(task.pool))[:count] for _ in range(draws)] for count in shots}
    chosen[0] = [np.zeros(0, dtype=np.int64)]
    found: dict[str, Any] = {"methods": {}, "seconds": {}}
    for name, method, sizes in methods(rivals, task, rows):
        started = time.process_time()
        for count in (0, *shots) if sizes is None else [size for size in sizes if size in chosen]:
            outcomes = np.mean([outcome(*method(rows_), task.test) for rows_ in chosen[count]], axis=0)
            found["methods"].setdefault(name, {})[str(count)] = np.round(outcomes, 5).tolist()
        found["seconds"][name] = round(time.process_time() - started, 1)
    return found


def outcome(mean: Tensor, variance: Tensor, test: Fold) -> np.ndarray:
    """(2, pairs): hits, and NLL in nats with the variance integrated out."""
    counts = counts_of(test).double()
    nothing = torch.zeros(len(mean), 0, dtype=torch.float64)
    index = torch.zeros(len(mean), dtype=torch.long)
    votes = RaterVotes(index, mean, torch.zeros_like(mean), variance.clamp_min(0.0), nothing, counts)
    return np.stack([pairwise_hits(mean.numpy(), counts[:, 0].numpy()), -vote_log_likelihood(votes, None).numpy()])


def methods(rivals: Rivals, task: Group, rows: Parts) -> Iterator[tuple[str, Method, tuple[int, ...] | None]]:
    """Name, method, and numbers of comparisons it is asked for; None for all and for none."""
    few_or_more = SHOTS
    bt = rivals.predictor("bt").head
    pool, test = (standardized(bt, task.features, fold) for fold in (task.pool, task.test))
    yield "bt, as trained", as_trained(bt, task), (0,)
    yield "bt, scaled", as_trained(bt, task, rows), (0,)
    yield REFERENCE, lambda chosen: certain(test @ ridge(pool[chosen])), few_or_more
    for name in ("gated", "vrm"):
        head = rivals.predictor(name).head
        yield f"{name}, as trained", as_trained(head, task), (0,)
        yield f"{name}, scaled", as_trained(head, task, rows), (0,)
        tilts = Tilts.of(head, task, rows)
        if name == "gated":
            yield "gated, ridge of objectives", tilts.ridge, few_or_more
        yield f"{name}, (16), B from other groups", tilts.beside_others, None
        yield f"{name}, (16), the group alone", tilts.alone, few_or_more
        if name == "vrm":
            yield "vrm, counts (13)", counts_tilt(head, task), few_or_more[1:]
    bayes = rivals.predictor("bayes").head
    yield "bayes, as trained", as_trained(bayes, task), (0,)
    yield "bayes, updated", updated(bayes, task), few_or_more


def certain(margins: np.ndarray) -> tuple[Tensor, Tensor]:
    """Margins without variance."""
    mean = torch.from_numpy(margins)
    return mean, torch.zeros_like(mean)


def as_trained(head: nn.Module, task: Group, rows: Parts | None = None) -> Method:
    """Without any comparison; with a temperature where rows for it are given."""
    said = moments(head, task.features, task.test).single
    if rows is not None:
        calibration = moments(head, task.features, rows.calibration)
        said = Attached.fitted(calibration, INDEPENDENT, ties=False).moved(said)
    return lambda chosen: (said.mean, said.own_variance)


@dataclass(frozen=True)
class Tilts:
    """Tilts of a head's objectives, after the temperature of the calibration part.

    Attributes:
        others: votes of the groups that were trained on, on held-out rows.
        fitted: those groups and one of which nothing is known, the last.
        pool: the new group's comparisons.
        test: its test pairs.
    """

    others: RaterVotes
    fitted: FittedRaters
    pool: RaterVotes
    test: RaterVotes

    @classmethod
    def of(cls, head: nn.Module, task: Group, rows: Parts) -> Tilts:
        """With the groups of the held-out rows: rmb's scenarios, and the other sources."""
        attached = Attached.fitted(moments(head, task.features, rows.calibration), INDEPENDENT, ties=False)
        known = joined([rows.held, rows.calibration])
        names = [group_of(row) for row in known.judgments]
        number = {name: place for place, name in enumerate(sorted(set(names)))}
        others, pool, test = (
            attached.moved(moments(head, task.features, fold)) for fold in (known, task.pool, task.test)
        )
        others = replace(others, rater=torch.tensor([number[name] for name in names]))
        return cls(others, fit_raters(others, len(number) + 1, None), pool, test)

    def beside_others(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """By (16), fitted together with the other groups."""
        number = len(self.fitted.parameters)
        fitted = self.fitted
        if len(chosen):
            own = self._own(chosen, number - 1)
            fitted = fit_raters(RaterVotes.concatenate([self.others, own]), number, None, self.fitted)
        return self._tilted(fitted, number - 1)

    def alone(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """By (16), with no other group."""
        return self._tilted(fit_raters(self._own(chosen, 0), 1, None), 0)

    def ridge(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """u + b . delta with b under a ridge."""
        own = self.pool[torch.from_numpy(chosen)]
        weight = ridge(own.delta.numpy(), own.mean.numpy(), OBJECTIVE_STRENGTHS)
        return self.test.mean + self.test.delta @ torch.from_numpy(weight), self.test.own_variance

    def _own(self, chosen: np.ndarray, number: int) -> RaterVotes:
        own = self.pool[torch.from_numpy(chosen)]
        return replace(own, rater=torch.full_like(own.rater, number))

    def _tilted(self, fitted: FittedRaters, number: int) -> tuple[Tensor, Tensor]:
        tilt = fitted.tilt(number)
        return self.test.mean + tilt.mean(self.test.delta), self.test.own_variance + tilt.variance(self.test.delta)


def group_of(row: Judgment) -> str:
    """rmb's scenario, or else the source."""
    return f"{row.source} {row.category}" if row.source == "rmb" else str(row.source)


def counts_tilt(head: nn.Module, task: Group) -> Method:
    """Counts of (13), by MAP."""
    pool, test = (comparisons(head, task.features, fold) for fold in (task.pool, task.test))
    decoder = head.decoder.detach()

    def method(chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        tilt = fit_tilt(few(pool, torch.from_numpy(chosen)), decoder, prior_mean=PRIOR_MEAN, num_draws=64)
        said = margin_moments(emphasize(test.weights, tilt), test.first, test.second, decoder)
        return said.mean.double(), said.variance.double()

    return method


def updated(head: nn.Module, task: Group) -> Method:
    """Bayesian logistic regression whose prior is the posterior of all that was trained on.

    In coordinates a of theta = mean + F a, a ~ N(0, I), the doubt of a head is what a is multiplied by.
    """
    pool, test = (_doubts(head, task.features, fold) for fold in (task.pool, task.test))
    label = counts_of(task.pool)[:, 0].double()

    def method(chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(chosen)
        base, doubt, preference = pool[0][index], pool[1][index], label[index]

        def log_likelihood(rewards: Tensor, rows: slice) -> Tensor:
            margin = base[rows] + rewards[:, 1] - rewards[:, 0]
            return torch.nn.functional.logsigmoid(margin) - (1.0 - preference[rows]) * margin

        posterior = RewardRegression(doubt[:, None], log_likelihood, (doubt.shape[1],)).posterior((1.0,))
        mean = test[0] + test[1] @ posterior.mean
        return mean, (test[1] @ posterior.factor).square().sum(-1)

    return method


def _doubts(head: nn.Module, features: Features, fold: Fold) -> tuple[Tensor, Tensor]:
    """Mean margins (pairs,), and what their doubt is made of, (pairs, width)."""
    with torch.no_grad():
        said = head.semantic_features(features.of(fold)[1])
    first, second = said.completion(0), said.completion(1)
    return (first.loc - second.loc)[:, 0].double(), (first.doubt - second.doubt).double()


def summary(found: list[dict[str, Any]], groups: list[str]) -> dict[str, Any]:
    """Means, and differences to a new head of `bt` with as many comparisons."""
    result: dict[str, Any] = {"pairs": len(groups), "prompts": len(set(groups)), "seeds": len(found), "methods": {}}
    result["processor seconds"] = {name: [seed["seconds"][name] for seed in found] for name in found[0]["seconds"]}
    for name, by_shots in found[0]["methods"].items():
        for count in by_shots:
            values = np.array([seed["methods"][name][count] for seed in found])  # (seeds, 2, pairs)
            means = values.mean(-1)
            entry: dict[str, Any] = {
                "accuracy": np.round(100 * means[:, 0], 2).tolist(),
                "nll": np.round(means[:, 1], 4).tolist(),
            }
            if count != "0" and name != REFERENCE:
                other = np.array([seed["methods"][REFERENCE][count] for seed in found])
                away = values - other
                for place, measure, factor in ((0, "accuracy", 100.0), (1, "nll", 1.0)):
                    interval = bootstrap_mean(factor * away[:, place].mean(0), groups, OPTIONS)
                    seeds = np.round(factor * away[:, place].mean(-1), 4).tolist()
                    entry[f"{measure} minus {REFERENCE}"] = {"interval": rounded(interval, 4), "seeds": seeds}
            result["methods"].setdefault(name, {})[count] = entry
    return result


def tables(figures: dict[str, Any]) -> str:
    """Markdown: a row a method."""
    shots = sorted({int(count) for entry in figures["methods"].values() for count in entry})
    rows = [["accuracy, % / NLL", *(str(count) for count in shots), "20 against a new head of `bt`: points", "nats"]]
    for name, by_shots in figures["methods"].items():
        cells = []
        for count in shots:
            entry = by_shots.get(str(count))
            cells.append("" if entry is None else f"{np.mean(entry['accuracy']):.1f} / {np.mean(entry['nll']):.3f}")
        entry = by_shots.get("20", {})
        for measure, digits in (("accuracy", 1), ("nll", 3)):
            key = f"{measure} minus {REFERENCE}"
            cells.append(cell(entry[key], digits) if key in entry else "")
        rows.append([name, *cells])
    words = f"{figures['pairs']} pairs of {figures['prompts']} prompts, {figures['seeds']} seeds"
    return f"{words}\n\n{markdown(rows)}"


QUESTION = Question("A new group in 20 comparisons", run, tables)
