"""Pools of pairs whose labels can be bought: splits, one label a pair, and features reduced to principal components."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from studies.evidence.folds import Features, Fold, Library
from studies.evidence.logistic import LogisticPosterior
from studies.evidence.predictors import Said
from studies.evidence.regimes import places
from torch import Tensor

from vrm.core.quadrature import MarginGivenWeights
from vrm.data.schema import Judgment
from vrm.labels.judgments import RaterJudgment
from vrm.model.heads.base import InputNorm

COMPONENTS = 256
HELD = 300
"""Pairs at most that stop training and fit the temperature."""


@dataclass(frozen=True)
class Components(Features):
    """Principal components in place of hidden states."""

    @cached_property
    def normed(self) -> Tensor:
        """(rows, components) float32."""
        return torch.from_numpy(self.raw)


class FixedNorm(InputNorm):
    """The inputs are components already."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The same."""
        return inputs.float()

    def fit(self, inputs: Tensor) -> None:
        """Nothing to fit."""


@dataclass(frozen=True)
class Basis:
    """What the logistic regression is linear in.

    Attributes:
        power: of a component's standard deviation that it is divided by: 0 leaves it, 1 whitens.
        waves: random Fourier features beside the components, of the length of a usual distance, as large together.
    """

    power: float = 0.0
    waves: int = 0

    def groups(self, components: int) -> tuple[int, ...]:
        """Number of features of each kind."""
        return (components, self.waves) if self.waves else (components,)

    def of(self, scores: Tensor) -> Tensor:
        """phi of every text, (rows, r)."""
        if not self.waves:
            return scores
        generator = torch.Generator().manual_seed(0)
        size = scores.shape[1]
        frequencies = torch.randn(size, self.waves, generator=generator) / math.sqrt(2.0 * size)
        phases = 2.0 * math.pi * torch.rand(self.waves, generator=generator)
        return torch.cat([scores, math.sqrt(2.0 * size / self.waves) * (scores @ frequencies + phases).cos()], 1)


@dataclass(frozen=True)
class Source:
    """One data set: its training and test folds over the same rows of features.

    Attributes:
        name: of the files.
        train: rows that can be bought or held out.
        test: rows of the test fold.
        features: components of every text, which `gated` reads.
        basis: phi of every text, which the logistic regression reads.
        groups: number of components and of waves in phi.
    """

    name: str
    train: Fold
    test: Fold
    features: Components
    basis: Tensor
    groups: tuple[int, ...]

    def inputs(self, fold: Fold) -> Tensor:
        """phi_a - phi_b, (n, r)."""
        return (
            self.basis[torch.from_numpy(fold.completions[:, 0])] - self.basis[torch.from_numpy(fold.completions[:, 1])]
        )


@dataclass(frozen=True)
class Pool:
    """One seed's split of a source.

    Attributes:
        source: where the rows are from.
        rows: the pool, each with the one label that buying it gives.
        held: rows that stop training and fit the temperature.
        test: rows that are predicted.
        prompts: (n,) number of the prompt of each row of the pool.
    """

    source: Source
    rows: Fold
    held: Fold
    test: Fold
    prompts: np.ndarray


def plain(row: Judgment, preference: float | None) -> Judgment:
    """A row with this label of the pair and no other."""
    return replace(row, preference=preference, ratings=None, objective_votes=None, judgments=None)


def judgment_of(row: Judgment, generator: np.random.Generator) -> float | None:
    """What one of a row's raters said, drawn by chance."""
    if not row.judgments:
        return row.preference
    return row.judgments[generator.integers(len(row.judgments))].preference


def pool_of(source: Source, seed: int, pilot: bool) -> Pool:
    """A tenth of the training prompts held out; in a pilot the next tenth stands in for the test fold."""
    generator = np.random.default_rng(1000 + seed)
    place = places(source.train.groups, seed)
    held, second, rest = (
        np.flatnonzero((low <= place) & (place < high)) for low, high in ((0, 0.1), (0.1, 0.2), (0.2, 1))
    )
    rest = rest if pilot else np.sort(np.concatenate([second, rest]))
    held = np.sort(generator.permutation(held)[:HELD])
    test = source.train.take(second) if pilot else source.test
    rows = source.train.take(rest)
    single = rows.relabelled([plain(row, judgment_of(row, generator)) for row in rows.judgments])
    shares = [
        fold.relabelled([plain(row, row.preference) for row in fold.judgments])
        for fold in (source.train.take(held), test)
    ]
    _, prompts = np.unique(np.array(rows.groups), return_inverse=True)
    return Pool(source, single, shares[0], shares[1], prompts)


def load_source(name: str, library: Library, kept: Path, basis: Basis) -> Source:
    """A data set with its components, which a file keeps."""
    folds = [library.fold(f"{name}.{part}").where(lambda row: row.is_comparison) for part in ("train", "dev")]
    used = np.unique(np.concatenate([np.append(fold.prompts, fold.completions) for fold in folds]))
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **_components(library.features().normed, np.unique(folds[0].completions), used))
    moved = [
        replace(fold, prompts=np.searchsorted(used, fold.prompts), completions=np.searchsorted(used, fold.completions))
        for fold in folds
    ]
    with np.load(kept) as found:
        scores = found["scores"] * found["scale"] ** -basis.power
    # Prompts lie elsewhere than completions; what tells one from another is kept.
    prompts = np.unique(np.concatenate([fold.prompts for fold in moved]))
    scores[prompts] -= scores[np.unique(moved[0].prompts)].mean(0)
    scores *= np.sqrt(scores.shape[1]) / np.linalg.norm(scores, axis=1).mean()
    components = Components(scores.astype(np.float32), 1)
    return Source(name, moved[0], moved[1], components, basis.of(components.normed), basis.groups(scores.shape[1]))


def toy_source(name: str, seed: int, prompts: int = 90, pairs: int = 6) -> Source:
    """A linear reward of a few numbers a text, each pair judged twice: toy size, for the tests."""
    generator = np.random.default_rng(seed)
    count = prompts * pairs
    scores = generator.standard_normal((prompts + 2 * count, 8)).astype(np.float32)
    truth = generator.standard_normal(8)
    rows, completions = [], np.arange(2 * count).reshape(count, 2) + prompts
    for pair, (first, second) in enumerate(completions):
        chance = 1.0 / (1.0 + np.exp(-(scores[first] - scores[second]) @ truth))
        votes = [RaterJudgment(None, float(vote)) for vote in generator.random(2) < chance]
        rows.append(Judgment(f"prompt {pair % prompts}", [f"{first}", f"{second}"], judgments=votes, line=pair))
    fold = Fold(name, rows, np.arange(count) % prompts, completions)
    train, test = (
        fold.where(lambda row, keep=keep: (int(row.prompt[7:]) < prompts // 4) != keep) for keep in (True, False)
    )
    features = Components(scores, 1)
    return Source(name, train, test, features, features.normed, (scores.shape[1],))


def _components(normed: Tensor, learned: np.ndarray, used: np.ndarray) -> dict[str, np.ndarray]:
    """Principal components of the training completions' inputs, each input standardized; labels play no part."""
    torch.manual_seed(0)
    sample = normed[torch.from_numpy(learned)]
    loc, scale = sample.mean(0), sample.std(0).clamp_min(1e-2)
    count = min(COMPONENTS, len(learned) - 1)
    _, values, directions = torch.svd_lowrank((sample - loc) / scale, q=min(count + 32, len(learned)), niter=3)
    scores = ((normed[torch.from_numpy(used)] - loc) / scale) @ directions[:, :count]
    return {"scores": scores.numpy(), "scale": (values[:count] / len(learned) ** 0.5).numpy()}


class LogisticPredictor:
    """A Bayesian logistic regression, as the study's other predictors are asked."""

    def __init__(self, posterior: LogisticPosterior, source: Source) -> None:
        self.posterior, self.source = posterior, source

    def say(self, fold: Fold) -> Said:
        """Margins with V_e; of the rewards only their difference is known."""
        mean, variance = self.posterior.moments(self.source.inputs(fold))
        parts = np.zeros((len(fold), 3))
        parts[:, 0] = variance.numpy()
        half = np.stack([mean.numpy() / 2, -mean.numpy() / 2], 1)
        spread = np.broadcast_to(variance.sqrt().numpy()[:, None], half.shape)
        return Said(half, spread, mean.numpy(), parts, MarginGivenWeights(mean[None], variance[None]))
