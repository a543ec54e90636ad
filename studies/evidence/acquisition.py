"""Ways to choose the pairs whose labels are bought next, for the question of docs/evidence.md about choosing labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from studies.evidence.logistic import LogisticPosterior, binary_entropy, information
from torch import Tensor

MEMBERS = 5
TARGETS = 200
"""Pairs of the pool that `targeted` looks at."""


@dataclass(frozen=True)
class State:
    """What is known when a batch is chosen.

    Attributes:
        inputs: (n, r) phi_a - phi_b of every pair of the pool; the sign tells nothing of the label.
        prompts: (n,) number of each pair's prompt.
        chosen: rows that have labels.
        labels: (len(chosen),) their labels.
        posterior: of a logistic regression on them.
        generator: of this seed and method.
    """

    inputs: Tensor
    prompts: np.ndarray
    chosen: np.ndarray
    labels: Tensor
    posterior: LogisticPosterior
    generator: np.random.Generator

    @property
    def open_rows(self) -> np.ndarray:
        """Rows without a label."""
        return np.setdiff1d(np.arange(len(self.prompts)), self.chosen)


class _Quota:
    """At most one pair a prompt in a batch, or as many as fill it where prompts are fewer than pairs to choose."""

    def __init__(self, prompts: np.ndarray, count: int) -> None:
        self.prompts = prompts
        available = np.bincount(prompts)
        self.most = 1
        while np.minimum(available, self.most).sum() < min(count, len(prompts)):
            self.most += 1
        self.used = np.zeros(len(available), dtype=np.int64)

    def take(self, position: int) -> np.ndarray:
        """Count a choice; positions that may no longer be chosen."""
        prompt = self.prompts[position]
        self.used[prompt] += 1
        return np.flatnonzero(self.prompts == prompt) if self.used[prompt] >= self.most else np.array([position])


def random_rows(state: State, count: int) -> np.ndarray:
    """Any pairs."""
    return state.generator.permutation(state.open_rows)[:count]


def spread_rows(state: State, count: int) -> np.ndarray:
    """Any pairs, at most one a prompt: what of the others' gain is due to their quota."""
    order = state.generator.permutation(state.open_rows)
    quota, barred, picked = _Quota(state.prompts[order], count), np.zeros(len(order), dtype=bool), []
    for position in range(len(order)):
        if not barred[position] and len(picked) < count:
            picked.append(position)
            barred[quota.take(position)] = True
    return order[picked]


def core_set(state: State, count: int) -> np.ndarray:
    """Greedy k-centers: the pair that is furthest from all that have labels, where a pair and its mirror are one."""
    rows = state.open_rows
    inputs = state.inputs.double()
    norms = inputs.square().sum(-1)

    def squared(center: Tensor) -> Tensor:
        products = (inputs[rows] @ inputs[center].T).abs()
        return norms[rows].unsqueeze(-1) + norms[center] - 2.0 * products

    distance = squared(torch.from_numpy(state.chosen)).amin(-1)
    picked = []
    for _ in range(min(count, len(rows))):
        best = int(distance.argmax())
        picked.append(best)
        distance = torch.minimum(distance, squared(torch.tensor([rows[best]]))[:, 0])
        distance[best] = -1.0
    return rows[picked]


def entropy(state: State, count: int) -> np.ndarray:
    """The pairs whose predicted label is least certain, for whatever reason: the closest."""
    rows = state.open_rows
    mean, variance = state.posterior.moments(state.inputs[rows])
    # (12) is monotone in this, and so is the entropy of the label.
    closeness = mean.abs() / (1.0 + math.pi / 8.0 * variance).sqrt()
    return rows[np.argsort(closeness.numpy(), kind="stable")[:count]]


def ensemble_bald(state: State, count: int) -> np.ndarray:
    """The pairs about which five linear models of resampled labels disagree most, as information (BALD)."""
    rows, known = state.open_rows, state.inputs[state.chosen]
    votes = []
    for _ in range(MEMBERS):
        drawn = torch.from_numpy(state.generator.integers(0, len(known), len(known)))
        member = state.posterior.refitted(known[drawn], state.labels[drawn])
        votes.append((state.inputs[rows].double() @ member.theta.mean).sigmoid())
    probability = torch.stack(votes)
    gain = binary_entropy(probability.mean(0)) - binary_entropy(probability).mean(0)
    return rows[np.argsort(-gain.numpy(), kind="stable")[:count]]


def informative(state: State, count: int) -> np.ndarray:
    """Expected information about theta, greedy batches by the log-determinant, at most one pair a prompt."""
    rows = state.open_rows
    mean, _ = state.posterior.moments(state.inputs[rows])
    return rows[information_batch(mean, state.posterior.doubt(state.inputs[rows]), state.prompts[rows], count)]


def information_batch(mean: Tensor, doubt: Tensor, prompts: np.ndarray, count: int) -> list[int]:
    """Positions of a batch, best first, whose labels together say most about theta.

    A pair's label is stood for by a Gaussian observation of its margin with precision w, such that the pair alone is
    worth exactly its information: 1/2 log(1 + w V_e) = I. A batch is then worth 1/2 log det(I + W^1/2 K W^1/2), K
    the posterior covariance of the margins, whose greedy gain is 1/2 log(1 + w V) with V the variance that is left.

    Args:
        mean: (n,) E[u].
        doubt: (n, r), whose rows have the covariances of the margins as inner products, V_e as squared lengths.
        prompts: (n,) numbers.
        count: size of the batch.
    """
    mean, doubt = mean.float(), doubt.float()
    left = doubt.square().sum(-1)
    precision = torch.expm1(2.0 * information(mean, left)) / left.clamp_min(1e-12)
    quota, barred, removed = _Quota(prompts, count), torch.zeros(len(mean), dtype=torch.bool), _Removed(doubt, count)
    picked: list[int] = []
    for _ in range(min(count, len(mean))):
        best = int(torch.log1p(precision * left).masked_fill(barred, -1.0).argmax())
        picked.append(best)
        barred[torch.from_numpy(quota.take(best))] = True
        left = (left - removed.observe(best, precision[best], left[best]).square()).clamp_min(0.0)
    return picked


class _Removed:
    """What observations took from the covariance K = doubt doubt^T, one root each, so that K itself is never made."""

    def __init__(self, doubt: Tensor, count: int) -> None:
        self.doubt, self.roots, self.count = doubt, doubt.new_zeros(count, len(doubt)), 0

    def observe(self, pair: int, precision: Tensor, variance: Tensor) -> Tensor:
        """Root of an observation of one pair's margin: every variance falls by the square of its entry, (n,)."""
        before = self.roots[: self.count]
        covariance = self.doubt @ self.doubt[pair] - before.T @ before[:, pair]
        root = covariance * (precision / (1.0 + precision * variance)).sqrt()
        self.roots[self.count] = root
        self.count += 1
        return root


def targeted(state: State, count: int) -> np.ndarray:
    """What lowers the expected loss on the pool most, greedy batches, at most one pair a prompt.

    Doubt V_j about a margin costs about p_j (1 - p_j) V_j / 2 nats. A label of pair i, an observation of precision
    w = p_i (1 - p_i), lowers V_j by w K_ji^2 / (1 + w V_i). Summed over a sample of the pool's pairs j.
    """
    rows = state.open_rows
    mean, left = (value.float() for value in state.posterior.moments(state.inputs[rows]))
    probability = (mean / (1.0 + math.pi / 8.0 * left).sqrt()).sigmoid()
    precision = probability * (1.0 - probability)
    doubt = state.posterior.doubt(state.inputs[rows]).float()
    sample = torch.from_numpy(state.generator.permutation(len(rows))[:TARGETS])
    covariance, cost = doubt[sample] @ doubt.T, precision[sample]
    quota, barred = _Quota(state.prompts[rows], count), torch.zeros(len(rows), dtype=torch.bool)
    removed, picked = _Removed(doubt, count), []
    for _ in range(min(count, len(rows))):
        gain = (cost @ covariance.square()) * precision / (1.0 + precision * left)
        best = int(gain.masked_fill(barred, -1.0).argmax())
        picked.append(best)
        barred[torch.from_numpy(quota.take(best))] = True
        root = removed.observe(best, precision[best], left[best])
        covariance -= root[sample].unsqueeze(-1) * root
        left = (left - root.square()).clamp_min(0.0)
    return rows[picked]


Method = Callable[[State, int], np.ndarray]

METHODS: dict[str, Method] = {
    "random": random_rows,
    "random, one a prompt": spread_rows,
    "core-set": core_set,
    "entropy": entropy,
    "ensemble BALD": ensemble_bald,
    "information": informative,
    "targeted": targeted,
}
