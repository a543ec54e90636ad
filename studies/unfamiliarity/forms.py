"""Forms of unfamiliarity: numbers that are high for texts unlike those that they were fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import cho_factor, solve_triangular
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from vrm.core.unfamiliarity import principal_subspaces

COMPONENTS = 256
NEAR = 64
"""Components in which distances are taken."""

Map = Callable[[np.ndarray], np.ndarray]

BLOCKS = {"all blocks": tuple(range(9)), "mean blocks": (0, 3, 6), "last mean block": (6,)}
"""Blocks of the head's input: layers 1, 3 and 6, each by mean, max and CLS pooling."""

BLOCK_COMPONENTS = 16


def block_form(name: str, vectors: np.ndarray) -> Map:
    """Mean log of the squared lengths that the leading components of some blocks leave out, as the package has it."""

    def chosen(values: np.ndarray) -> Tensor:
        blocks = torch.from_numpy(values).unflatten(-1, (9, -1))
        return blocks[:, list(BLOCKS[name])].flatten(1)

    inputs = chosen(vectors)
    known = principal_subspaces(inputs, len(BLOCKS[name]), min(BLOCK_COMPONENTS, len(inputs) // 4))
    return lambda queries: known(chosen(queries))[1].double().numpy()


@dataclass(frozen=True)
class Space:
    """Leading principal components of some vectors.

    Attributes:
        mean: (width,).
        basis: (width, components).
        spread: (components,) standard deviations.
        rest: variance of one direction that is left out.
        coordinates: (n, components) of the vectors themselves.
        residual: (n,) squared length of what is left out of them.
    """

    mean: np.ndarray
    basis: np.ndarray
    spread: np.ndarray
    rest: float
    coordinates: np.ndarray
    residual: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Space:
        """By a randomized decomposition."""
        mean = vectors.mean(0)
        centred = vectors - mean
        count = min(COMPONENTS, len(vectors) // 2)
        _, values, rows = randomized_svd(centred, count, n_iter=3, random_state=0)
        basis = rows.T
        coordinates = centred @ basis
        residual = np.maximum((centred**2).sum(1) - (coordinates**2).sum(1), 0.0)
        rest = max(float(residual.mean()) / max(vectors.shape[1] - count, 1), 1e-6)
        return cls(mean, basis, values / np.sqrt(len(vectors)), rest, coordinates, residual)

    def __call__(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (n, components), and squared length of what they leave out (n,)."""
        centred = vectors - self.mean
        coordinates = centred @ self.basis
        return coordinates, np.maximum((centred**2).sum(1) - (coordinates**2).sum(1), 0.0)

    def whitened(self, components: int) -> Map:
        """Leading coordinates of variance 1."""
        spread = np.maximum(self.spread[:components], 1e-6)
        return lambda coordinates: coordinates[:, :components] / spread

    def fourier(self, scale: float, count: int = 256) -> Map:
        """Random Fourier features, 2 * count, of a Gaussian kernel whose width is `scale` median distances."""
        near = self.coordinates[:, :NEAR]
        generator = np.random.default_rng(0)
        some = near[generator.permutation(len(near))[:400]]
        width = scale * np.median(cdist(some, some)[np.triu_indices(len(some), 1)])
        frequencies = generator.standard_normal((near.shape[1], count)) / width

        def features(coordinates: np.ndarray) -> np.ndarray:
            phase = coordinates[:, :NEAR] @ frequencies
            return np.concatenate([np.cos(phase), np.sin(phase)], 1) / np.sqrt(count)

        return features


Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From coordinates and residuals to unfamiliarity, (n,)."""


def posterior(psi: np.ndarray, curvature: np.ndarray | float, ridge: float) -> Map:
    """(17): ridge psi^T (ridge I + sum_i c_i psi_i psi_i^T)^-1 psi."""
    weighted = psi * np.sqrt(np.broadcast_to(curvature, len(psi)))[:, None]
    precision = ridge * np.eye(psi.shape[1]) + weighted.T @ weighted
    factor, _ = cho_factor(precision, lower=True)

    def variance(queries: np.ndarray) -> np.ndarray:
        return ridge * (solve_triangular(factor, queries.T, lower=True) ** 2).sum(0)

    return variance


def text_forms(space: Space) -> dict[str, Score]:
    """Every form for single texts."""
    forms: dict[str, Score] = {}
    for count in (16, 64, COMPONENTS):
        forms[f"mahalanobis {count}"] = _mahalanobis(space, count, rest=False)
        forms[f"PCA {count}"] = _mahalanobis(space, count, rest=True)
    forms["left out"] = lambda coordinates, residual: residual
    near = space.coordinates[:, :NEAR]
    for count in (1, 10):
        forms[f"nearest {count}"] = _nearest(near, count)
    for count in (16, 64):
        centres = KMeans(min(count, len(near) // 2), n_init=1, random_state=0).fit(near).cluster_centers_
        forms[f"centres {count}"] = _nearest(centres, 1)
    forms["groups 16"], forms["relative 16"] = _groups(space, 16)
    for scale in (0.5, 1.0, 2.0):
        forms[f"fourier {scale:g}"] = _fourier(space, scale)
    return forms


def _mahalanobis(space: Space, count: int, rest: bool) -> Score:
    whiten = space.whitened(count)

    def score(coordinates: np.ndarray, residual: np.ndarray) -> np.ndarray:
        inner = (whiten(coordinates) ** 2).sum(1)
        if not rest:
            return inner
        # What lies between these components and the last ones counts as left out too.
        outside = residual + (coordinates[:, count:] ** 2).sum(1)
        scale = (space.residual + (space.coordinates[:, count:] ** 2).sum(1)).mean()
        return inner + outside / scale * min(count, coordinates.shape[1])

    return score


def _nearest(places: np.ndarray, count: int) -> Score:
    def score(coordinates: np.ndarray, residual: np.ndarray) -> np.ndarray:
        distances = cdist(coordinates[:, :NEAR], places)
        nearest = np.partition(distances, min(count, len(places)) - 1, axis=1)[:, :count]
        return nearest.mean(1)

    return score


def _groups(space: Space, count: int) -> tuple[Score, Score]:
    """Mahalanobis to the nearest of some groups with one covariance, and that minus the global one."""
    white = space.whitened(NEAR)(space.coordinates)
    clusters = KMeans(min(count, len(white) // 4), n_init=1, random_state=0).fit(white)
    within = white - clusters.cluster_centers_[clusters.labels_]
    covariance = within.T @ within / len(within) + 1e-3 * np.eye(within.shape[1])
    factor, _ = cho_factor(covariance, lower=True)
    centres = solve_triangular(factor, clusters.cluster_centers_.T, lower=True).T

    def nearest(coordinates: np.ndarray, residual: np.ndarray) -> np.ndarray:
        places = solve_triangular(factor, space.whitened(NEAR)(coordinates).T, lower=True).T
        return cdist(places, centres, "sqeuclidean").min(1)

    def relative(coordinates: np.ndarray, residual: np.ndarray) -> np.ndarray:
        return nearest(coordinates, residual) - (space.whitened(NEAR)(coordinates) ** 2).sum(1)

    return nearest, relative


def _fourier(space: Space, scale: float) -> Score:
    features = space.fourier(scale)
    variance = posterior(features(space.coordinates), 0.25, 1.0)
    return lambda coordinates, residual: variance(features(coordinates))
