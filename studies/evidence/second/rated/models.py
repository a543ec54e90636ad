"""Heads with and without ratings, and rivals that use ratings without the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from studies.evidence.fitting import Settings, Transform
from studies.evidence.folds import Features, Fold, Library
from studies.evidence.predictors import HeadPredictor, Predictor, Said
from studies.evidence.regimes import Parts, places
from studies.evidence.second.rivals import Rivals
from studies.evidence.study import Study, train_head
from studies.evidence.variants import certain, certain_features, certain_weights

from vrm.core.distributions import ObjectiveWeights
from vrm.core.likelihoods.ratings import condition_on_ratings
from vrm.core.posteriors import Posteriors
from vrm.core.quadrature import MarginGivenWeights
from vrm.data.statistics import objective_names, rating_statistics
from vrm.metrics import fit_logistic

SETTINGS = Settings(learning_rate=1e-3, weight_decay=0.1, dropout=0.3, kl=1e-3, batch_size=64)
"""The package's, but for the batch: 256 would be 40 steps."""

SHARES = {"held": (0.0, 0.1), "calibration": (0.1, 0.2), "test": (0.2, 0.45), "train": (0.45, 1.0)}
"""Of the prompts of a training file."""

ALPHAS = np.logspace(2, 6, 9)
"""Penalties of the ridge regression from features to ratings that are tried."""


def only_last(found: Posteriors) -> Posteriors:
    """The reward is the last objective, whatever the prompt; the others are side tasks."""
    mean = torch.zeros_like(found.weights.mean)
    mean[..., -1] = 1.0
    return replace(found, weights=ObjectiveWeights(mean))


def flat(found: Posteriors) -> Posteriors:
    """The reward is the mean of the objectives, whatever the prompt."""
    mean = torch.full_like(found.weights.mean, 1.0 / found.weights.mean.shape[-1])
    return replace(found, weights=ObjectiveWeights(mean))


@dataclass(frozen=True)
class Model:
    """What is trained.

    Attributes:
        head: of the package, of `Rivals`, or one of `OTHERS`.
        rated: whether it is given ratings.
        free: objectives without a name.
        kl: weight of the KL terms.
        loss: of the package.
        weight: of the ratings.
        transform: applied to what the head says, in training and after.
    """

    head: str
    rated: bool = False
    free: int = 16
    kl: float = SETTINGS.kl
    loss: str = "variational"
    weight: float = 1.0
    transform: Transform | None = None


def rated(head: str, **settings: Any) -> Model:
    """A head with ratings, by default with the named objectives alone and no KL."""
    return Model(head, **{"rated": True, "free": 0, "kl": 0.0, **settings})


MODELS = {
    **{name: Model(name) for name in ("bt", "bayes", "mlp", "ensemble", "bottleneck", "gated", "vrm")},
    "vrm (7')": Model("vrm", loss="marginal"),
    "gated, ratings": rated("gated"),
    "vrm, ratings": rated("vrm"),
    "vrm, ratings, no weight variance": rated("vrm", transform=certain_weights),
    "vrm, ratings, no feature variance": rated("vrm", transform=certain_features),
    "vrm, ratings, neither": rated("vrm", transform=certain),
    "vrm, ratings, default KL": rated("vrm", kl=SETTINGS.kl),
    "vrm (7'), ratings": rated("vrm", loss="marginal"),
    "gated (7'), ratings": rated("gated", loss="marginal"),
    "gated, ratings, 16 free": rated("gated", free=16),
    "vrm, ratings, 16 free": rated("vrm", free=16),
    "two tasks": rated("gated", free=1, transform=only_last),
    "flat": rated("gated", transform=flat),
    "ridge": Model("ridge", rated=True),
    "blended": Model("blended", rated=True),
    "true ratings": Model("true", rated=True),
}


@dataclass(frozen=True)
class Split:
    """Rows of one split of a training file by prompt.

    Attributes:
        parts: to fit, to stop early by, and for the temperature.
        test: the rest.
        seed: of the split.
    """

    parts: Parts
    test: Fold
    seed: int

    @classmethod
    def of(cls, fold: Fold, seed: int) -> Split:
        """`SHARES` of the prompts; of a toy with a handful of prompts at least one each."""
        _, rank = np.unique(places(fold.groups, seed), return_inverse=True)
        share = rank / (rank.max() + 1)
        found = {}
        for name, (low, high) in SHARES.items():
            found[name] = fold.take(np.flatnonzero((low <= share) & (share < high)))
        return cls(Parts(found["train"], found["held"], found["calibration"]), found["test"], seed)

    def with_train(self, train: Fold) -> Split:
        """The same split with other labels of the rows that are fitted."""
        return replace(self, parts=replace(self.parts, train=train))


def plain(fold: Fold, ratings: bool = True) -> Fold:
    """Rows whose label is the raters' share, with or without ratings."""
    return fold.relabelled(
        [
            replace(row, judgments=None, objective_votes=None, ratings=row.ratings if ratings else None)
            for row in fold.judgments
        ]
    )


def with_ratings_of(fold: Fold, names: Sequence[str]) -> Fold:
    """Ratings of these attributes alone."""
    kept = set(names)
    rows = []
    for row in fold.judgments:
        some = [{name: value for name, value in entry.items() if name in kept} for entry in row.ratings or []]
        rows.append(replace(row, ratings=some if any(some) else None))
    return fold.relabelled(rows)


def with_rated_rows(fold: Fold, count: int, seed: int) -> Fold:
    """Ratings of some rows alone, drawn by seed; fewer are among more."""
    chosen = set(np.random.default_rng(seed).permutation(len(fold))[:count].tolist())
    return fold.relabelled(
        [row if place in chosen else replace(row, ratings=None) for place, row in enumerate(fold.judgments)]
    )


@dataclass(frozen=True)
class Ratings:
    """Ratings of a training fold as arrays, standardized by it."""

    train: Fold

    @cached_property
    def names(self) -> list[str]:
        """Attributes."""
        return objective_names(self.train.judgments)[0]

    @cached_property
    def statistics(self) -> tuple[dict[str, float], dict[str, float]]:
        """Means and standard deviations; 1 where all are equal."""
        found = rating_statistics(self.train.judgments)
        return {name: found[name].mean for name in self.names}, {
            name: found[name].standard_deviation or 1.0 for name in self.names
        }

    def of(self, fold: Fold) -> np.ndarray:
        """(n, 2, attributes), NaN where missing."""
        means, spreads = self.statistics
        table = np.full((len(fold), 2, len(self.names)), np.nan)
        for row, judgment in enumerate(fold.judgments):
            for side, entry in enumerate(judgment.ratings or []):
                known = [(entry.get(name, np.nan) - means[name]) / spreads[name] for name in self.names]
                table[row, side] = known
        return table

    def difference(self, fold: Fold) -> np.ndarray:
        """(n, attributes), 0 where missing."""
        table = self.of(fold)
        return np.nan_to_num(table[:, 0] - table[:, 1])


def label(fold: Fold) -> np.ndarray:
    """(n,) shares."""
    return np.array([row.preference for row in fold.judgments], dtype=float)


def said(margin: np.ndarray) -> Said:
    """Margins without doubt."""
    mean, nothing = torch.from_numpy(margin), np.zeros((len(margin), 2))
    given = MarginGivenWeights(mean[None], torch.zeros_like(mean)[None])
    return Said(nothing, nothing, margin, np.zeros((len(margin), 3)), given)


class Linear(Protocol):
    """What gives inputs of a logistic regression."""

    def __call__(self, fold: Fold) -> np.ndarray:
        """(n, inputs), first completion minus second."""


@dataclass(frozen=True)
class Logistic:
    """A logistic regression of the label on some differences."""

    inputs: Linear
    coefficients: np.ndarray

    @classmethod
    def fitted(cls, inputs: Linear, differences: np.ndarray, fold: Fold) -> Logistic:
        """To a fold's labels; `differences` stand for `inputs(fold)`, which may know the fold too well."""
        return cls(inputs, np.array(fit_logistic(differences, label(fold)).coefficients))

    def say(self, fold: Fold) -> Said:
        """Predictions for a fold."""
        return said(self.inputs(fold) @ self.coefficients)


@dataclass
class RatingRidge:
    """A ridge regression from a completion's features to its ratings.

    Attributes:
        features: of all folds.
        train: rated rows; those without ratings are left out.
    """

    features: Features
    train: Fold
    ratings: Ratings = field(init=False)

    def __post_init__(self) -> None:
        self.rated = self.train.where(lambda row: bool(row.ratings))
        self.ratings = Ratings(self.rated)
        self.model = RidgeCV(alphas=ALPHAS).fit(self._inputs(self.rated), self._targets())

    def _inputs(self, fold: Fold) -> np.ndarray:
        return self.features.of(fold)[1].flatten(0, 1).numpy()

    def _targets(self) -> np.ndarray:
        return np.nan_to_num(self.ratings.of(self.rated)).reshape(2 * len(self.rated), -1)

    def predicted(self, fold: Fold) -> np.ndarray:
        """(n, 2, attributes), standardized."""
        return self.model.predict(self._inputs(fold)).reshape(len(fold), 2, -1)

    def crossed(self) -> np.ndarray:
        """The same for its own rated rows, each by a regression of other prompts."""
        groups = np.repeat(np.unique(self.rated.groups, return_inverse=True)[1], 2)
        folds = GroupKFold(min(3, int(groups.max()) + 1))
        ridge = Ridge(alpha=self.model.alpha_)
        found = cross_val_predict(ridge, self._inputs(self.rated), self._targets(), groups=groups, cv=folds)
        return found.reshape(len(self.rated), 2, -1)

    def difference(self, fold: Fold) -> np.ndarray:
        """(n, attributes) of predicted ratings."""
        predicted = self.predicted(fold)
        return predicted[:, 0] - predicted[:, 1]

    def rewards(self) -> Logistic:
        """The label by predicted ratings."""
        crossed = self.crossed()
        return Logistic.fitted(self.difference, crossed[:, 0] - crossed[:, 1], self.rated)


@dataclass(frozen=True)
class Fitted:
    """A model of one split.

    Attributes:
        predictor: the model.
        held_out_nll: what it reached where it stops early; NaN where it does not.
        ratings: those that it was given; None without.
    """

    predictor: Predictor
    held_out_nll: float = float("nan")
    ratings: Ratings | None = None


def fitted(library: Library, model: Model, split: Split, start: int) -> Fitted:
    """Train a model on a split."""
    train = plain(split.parts.train, model.rated)
    parts = Parts(*(plain(fold, False) for fold in (split.parts.train, split.parts.held, split.parts.calibration)))
    features = library.features()
    if model.head == "ridge":
        return Fitted(RatingRidge(features, train).rewards())
    if model.head == "true":
        ratings = Ratings(train)
        return Fitted(Logistic.fitted(ratings.difference, ratings.difference(train), train))
    if model.head == "blended":
        return fitted(library, Model("bt"), split.with_train(_blended(train)), start)
    if model.head in ("bayes", "ensemble"):
        return Fitted(Rivals(library, parts, start, settings=SETTINGS).predictor(model.head))
    given, fields = None, {"num_free_objectives": model.free}
    if model.rated:
        given, parts = Ratings(train), replace(parts, train=train)
        fields |= dict(zip(("rating_mean", "rating_std"), given.statistics, strict=True))
    settings = replace(SETTINGS, kl=model.kl, loss=model.loss, ratings=model.weight, head=fields)
    head, _, reached = train_head(Study(library, Path()), model.head, parts, settings, start, model.transform)
    predictor = HeadPredictor(head, features, model.transform)
    return Fitted(predictor, reached["held_out_nll"], given)


def _blended(train: Fold) -> Fold:
    """Half the raters' share, half what a logistic regression says of the true ratings."""
    differences = Ratings(train).difference(train)
    odds = fit_logistic(differences, label(train)).log_odds(differences)
    blend = 0.5 * label(train) + 0.5 / (1.0 + np.exp(-odds))
    return train.relabelled(
        [replace(row, preference=float(value)) for row, value in zip(train.judgments, blend, strict=True)]
    )


@torch.no_grad()
def rating_errors(model: Fitted, fold: Fold) -> dict[str, np.ndarray]:
    """Squared errors of a head's predicted ratings, (attributes,) means: by text, by text and the other ratings."""
    assert isinstance(model.predictor, HeadPredictor)
    assert model.ratings is not None
    found = model.predictor.posteriors(fold, slice(None))
    names = model.ratings.names
    true = torch.from_numpy(model.ratings.of(fold)).float().flatten(0, 1)
    features, count = found.features, len(names)
    features = type(features)(features.loc.flatten(0, 1), features.variance.flatten(0, 1))
    decoder, rating = found.decoder[:count], found.rating_model
    rating = type(rating)(rating.slope, rating.offset[:count], rating.scale[:count])
    plainly = rating.slope * (features.loc @ decoder.T) + rating.offset
    errors = {"text": (plainly - true).square().mean(0).numpy()}
    if bool((features.variance > 0).all()):
        given = torch.empty_like(true)
        for column in range(count):
            others = true.clone()
            others[:, column] = float("nan")
            loc = condition_on_ratings(others, features, decoder, rating).features.loc
            given[:, column] = rating.slope * (loc @ decoder[column]) + rating.offset[column]
        errors["text and others"] = (given - true).square().mean(0).numpy()
    return errors
