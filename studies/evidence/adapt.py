"""Question (g): 20 comparisons of a new group, used by one global tilt (13) or by refitting a `bt` head.

Everything is trained without harmlessness data; the group is hh_harmless, whose training rows give the comparisons and
whose dev rows are the test.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from studies.evidence.folds import Features, Fold
from studies.evidence.regimes import REGIMES, parts
from studies.evidence.study import Study, train_head
from torch import Tensor

from vrm.core.predictive import log_probabilities
from vrm.core.steering import Comparisons, emphasize, fit_tilt
from vrm.metrics import negative_log_likelihood, pairwise_accuracy

SHOTS = (20, 100)
DRAWS = 10
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Candidates for the inverse strength of the ridge; chosen by cross-validation inside the labelled comparisons."""
PRIOR_MEANS = (1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Task:
    """The new group's comparisons and the test rows."""

    pool: Fold
    test: Fold


def adapt(study: Study, seed: int) -> None:
    """Every method on the same draws of comparisons."""
    target = study.output / "adapt" / f"{seed}.json"
    if target.exists():
        return
    rows = parts(REGIMES["helpful"], study.library, seed)
    task = Task(study.library.fold("hh_harmless.train"), study.library.fold("hh_harmless.dev"))
    bt, _, _ = train_head(study, "bt", rows, study.settings("bt"), seed)
    vrm, _, _ = train_head(study, "vrm", rows, study.settings("vrm"), seed)
    found: list[dict[str, float | str]] = []
    bt_pool, bt_test = (standardized(bt, study.features, fold) for fold in (task.pool, task.test))
    weight = bt.features.weight[0].detach().numpy()
    found.append(_result("bt, as trained", 0, 0, bt_test @ weight))
    vrm_pool, vrm_test = (comparisons(vrm, study.features, fold) for fold in (task.pool, task.test))
    found.append(_vrm_result("vrm, as trained", 0, 0, vrm, vrm_test, None))
    generator = np.random.default_rng(seed)
    for shots in SHOTS:
        for draw in range(DRAWS):
            chosen = generator.permutation(len(task.pool))[:shots]
            found += [
                _result("bt, new head", shots, draw, bt_test @ ridge(bt_pool[chosen])),
                _result(
                    "bt, refitted from its weights",
                    shots,
                    draw,
                    bt_test @ (weight + ridge(bt_pool[chosen], bt_pool[chosen] @ weight)),
                ),
            ]
            some = few(vrm_pool, torch.from_numpy(chosen))
            for prior in PRIOR_MEANS:
                tilt = fit_tilt(some, vrm.decoder.detach(), prior_mean=prior)
                found.append(_vrm_result(f"vrm, tilt (prior mean {prior:g})", shots, draw, vrm, vrm_test, tilt))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found))
    print("adapt", seed, flush=True)


@torch.inference_mode()
def standardized(head: torch.nn.Module, features: Features, fold: Fold) -> np.ndarray:
    """Differences of the head's inputs, chosen minus rejected."""
    _, completions = features.of(fold)
    inputs = head.completion_norm(completions)
    return (inputs[:, 0] - inputs[:, 1]).double().numpy()


def ridge(
    differences: np.ndarray, base: np.ndarray | None = None, penalties: Sequence[float] = PENALTIES
) -> np.ndarray:
    """Bradley-Terry weights that are added to base margins, under a ridge; its strength by 5-fold cross-validation."""
    offset = np.zeros(len(differences)) if base is None else base
    folds = np.arange(len(differences)) % 5
    losses = []
    for strength in penalties:
        loss = 0.0
        for fold in range(5):
            kept, left = folds != fold, folds == fold
            weight = _fitted(differences[kept], offset[kept], strength)
            loss += np.logaddexp(0.0, -(differences[left] @ weight + offset[left])).sum()
        losses.append(loss)
    return _fitted(differences, offset, penalties[int(np.argmin(losses))])


def _fitted(differences: np.ndarray, base: np.ndarray, strength: float) -> np.ndarray:
    """MAP in the span of the differences, where all the fitted change lies."""
    basis, _ = np.linalg.qr(differences.T)
    reduced = differences @ basis
    weight = torch.zeros(reduced.shape[1], dtype=torch.float64, requires_grad=True)
    inputs, offset = torch.from_numpy(reduced), torch.from_numpy(base)
    optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        fit = torch.nn.functional.softplus(-(inputs @ weight + offset)).sum()
        loss = fit + weight.square().sum() / (2 * strength)
        loss.backward()
        return loss

    optimizer.step(objective)
    return basis @ weight.detach().numpy()


@torch.inference_mode()
def comparisons(head: torch.nn.Module, features: Features, fold: Fold) -> Comparisons:
    """What a head with Dirichlet weights says of a fold's pairs."""
    found = head(*features.of(fold))
    label = torch.tensor([row.preference for row in fold.judgments])
    return Comparisons(found.weights, found.features.completion(0), found.features.completion(1), label)


def few(pool: Comparisons, rows: Tensor) -> Comparisons:
    """Some of them."""

    def side(features: object) -> object:
        return type(features)(features.loc[rows], features.variance[rows])

    weights = type(pool.weights).from_concentration(pool.weights.concentration[rows])
    return Comparisons(weights, side(pool.first), side(pool.second), pool.preference[rows])


def _result(method: str, shots: int, draw: int, margins: np.ndarray) -> dict[str, float | str]:
    ones = np.ones(len(margins))
    probability = 1.0 / (1.0 + np.exp(-margins))
    return {
        "method": method,
        "shots": shots,
        "draw": draw,
        "accuracy": float(pairwise_accuracy(margins, ones).value),
        "nll": negative_log_likelihood(probability, ones),
    }


def _vrm_result(
    method: str, shots: int, draw: int, head: torch.nn.Module, test: Comparisons, tilt: Tensor | None
) -> dict[str, float | str]:
    weights = test.weights if tilt is None else emphasize(test.weights, tilt)
    decoder = head.decoder.detach()
    first, _ = log_probabilities(weights, test.first, test.second, decoder)
    margins = ((weights.mean @ decoder) * (test.first.loc - test.second.loc)).sum(-1).numpy()
    return {**_result(method, shots, draw, margins), "nll": float(-first.mean())}
