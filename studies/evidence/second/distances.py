"""How unlike the texts of a training file others are: numbers for pairs, higher is stranger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.utils.extmath import randomized_svd
from studies.evidence.folds import Features, Fold
from studies.unfamiliarity.forms import block_form
from studies.unfamiliarity.material import Standard

MOST_ROWS = 1024
NEIGHBOURS = 10
COMPONENTS = 64
CLUSTERS, FEWEST = 8, 5
"""Clusters where rows have no categories, and rows of a category at least."""

PACKAGE, NEAREST, CATEGORY, RELATIVE = "package", "nearest 10", "Mahalanobis by category", "the same, relative"
FORMS = (PACKAGE, NEAREST, CATEGORY, RELATIVE)
BACKGROUND = "background"

Distance = Callable[[np.ndarray], np.ndarray]


def mean_pooled(vectors: np.ndarray) -> np.ndarray:
    """The mean-pooled blocks of each of the three layers, (n, 3 * width)."""
    return vectors.reshape(len(vectors), 3, 3, -1)[:, :, 0].reshape(len(vectors), -1)


def categories(fold: Fold, vectors: np.ndarray) -> np.ndarray:
    """(n,) number of each row's category, or of its cluster where there are fewer than two categories."""
    names = [str(row.category or row.source) for row in fold.judgments]
    large = [name for name, count in Counter(names).items() if count >= FEWEST]
    if len(large) > 1:
        return np.array([large.index(name) if name in large else len(large) for name in names])
    clusters = min(CLUSTERS, len(vectors) // FEWEST)
    return KMeans(clusters, n_init=1, random_state=0).fit(vectors).labels_


@dataclass(frozen=True)
class Distances:
    """Every form that knows the home's texts alone, fitted on some of them."""

    features: Features
    standard: Standard
    forms: dict[str, tuple[Distance, Distance]]

    @classmethod
    def of(cls, features: Features, fold: Fold, seed: int) -> Distances:
        """Fit on training rows."""
        rows = fold.sample(MOST_ROWS, seed)
        standard = Standard.of(features, rows)
        vectors = standard(features, rows)
        prompts, texts = vectors.prompts, np.concatenate([vectors.first, vectors.second])
        forms: dict[str, tuple[Distance, Distance]] = {
            PACKAGE: (block_form("mean blocks", prompts), block_form("mean blocks", texts)),
            NEAREST: (_nearest(prompts), _nearest(texts)),
        }
        numbers = categories(rows, mean_pooled(prompts))
        sides = _mahalanobis(prompts, numbers), _mahalanobis(texts, np.tile(numbers, 2))
        forms[CATEGORY] = sides[0][0], sides[1][0]
        forms[RELATIVE] = sides[0][1], sides[1][1]
        return cls(features, standard, forms)

    def __call__(self, fold: Fold) -> dict[str, np.ndarray]:
        """Every form of a fold, (n,): half by the prompt, half by the mean of the two completions."""
        vectors = self.standard(self.features, fold)
        return {
            name: 0.5 * of_prompt(vectors.prompts) + 0.25 * (of_text(vectors.first) + of_text(vectors.second))
            for name, (of_prompt, of_text) in self.forms.items()
        }


def _unit(vectors: np.ndarray) -> np.ndarray:
    pooled = mean_pooled(vectors)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True).clip(1e-6)


def _nearest(known: np.ndarray) -> Distance:
    places = _unit(known)
    count = min(NEIGHBOURS, len(places))

    def distance(vectors: np.ndarray) -> np.ndarray:
        near = np.partition(-(_unit(vectors) @ places.T), count - 1, axis=1)[:, :count]
        return np.log((1.0 + near.mean(1)).clip(1e-6))

    return distance


def _whitening(centred: np.ndarray, count: int) -> np.ndarray:
    """Projection on the leading components with variance 1, (width, count)."""
    _, values, directions = randomized_svd(centred, count, n_iter=2, random_state=0)
    return directions.T / (values / np.sqrt(len(centred))).clip(1e-6)


def _mahalanobis(known: np.ndarray, numbers: np.ndarray) -> tuple[Distance, Distance]:
    """Log of the squared distance to the nearest category under one covariance, and the same minus the global one."""
    pooled = mean_pooled(known)
    centre = pooled.mean(0)
    count = min(COMPONENTS, len(pooled) // 4)
    basis = _whitening(pooled - centre, count)

    def whitened(vectors: np.ndarray) -> np.ndarray:
        return (mean_pooled(vectors) - centre) @ basis

    white = whitened(known)
    present = np.unique(numbers)
    centres = np.stack([white[numbers == number].mean(0) for number in present])
    within = white - centres[np.searchsorted(present, numbers)]
    root = np.linalg.cholesky(np.linalg.inv(within.T @ within / len(within) + 1e-3 * np.eye(count)))

    def nearest(vectors: np.ndarray) -> np.ndarray:
        places, means = whitened(vectors) @ root, centres @ root
        squares = (places**2).sum(1)[:, None] - 2 * places @ means.T + (means**2).sum(1)
        return np.log(squares.min(1).clip(1e-6))

    return nearest, lambda vectors: nearest(vectors) - np.log((whitened(vectors) ** 2).sum(1).clip(1e-6))


def pair_inputs(features: Features, standard: Standard, fold: Fold) -> np.ndarray:
    """Mean-pooled blocks of the prompt, and of the mean of both completions, (n, width)."""
    vectors = standard(features, fold)
    texts = 0.5 * (vectors.first + vectors.second)
    return np.concatenate([mean_pooled(vectors.prompts), mean_pooled(texts)], 1)


class Background:
    """Log odds that a pair is none of the home's, by logistic regression against texts of other sources.

    Args:
        home: inputs of training rows, (n, width).
        others: inputs of rows of other sources.
    """

    def __init__(self, home: np.ndarray, others: Sequence[np.ndarray]) -> None:
        inputs = np.concatenate([home, *others])
        strange = np.repeat([0, 1], [len(home), len(inputs) - len(home)])
        self.centre = inputs.mean(0)
        self.basis = _whitening(inputs - self.centre, min(2 * COMPONENTS, len(inputs) // 4))
        self.model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=300).fit(
            (inputs - self.centre) @ self.basis, strange
        )

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """(n,)."""
        return self.model.decision_function((inputs - self.centre) @ self.basis)
