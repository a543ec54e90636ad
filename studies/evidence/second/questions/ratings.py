"""Ratings of real raters: do they turn a reward away from length, and is any of it the method's alone?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from studies.evidence.folds import Fold, Library
from studies.evidence.second.rated import told
from studies.evidence.second.rated.models import (
    MODELS,
    Fitted,
    Model,
    RatingRidge,
    Ratings,
    Split,
    fitted,
    plain,
    rated,
    rating_errors,
    with_rated_rows,
    with_ratings_of,
)
from studies.evidence.second.rated.scores import Labels, Scored, figures, with_correlation
from studies.evidence.second.rated.shown import plot, tables
from studies.evidence.second.rivals import kept, predictions
from studies.evidence.second.study import Question, Study

from vrm.metrics import pearson

SOURCE = "hfngs_v1"
TESTS = (f"{SOURCE}.dev", "hfngs_controlled.dev")
SPLITS, FEW, FEWEST, ALONE, STARTS = 10, 5, 3, 1, 2
ON_ALL_SPLITS = (
    "bt",
    "mlp",
    "gated",
    "vrm",
    "gated, ratings",
    "vrm, ratings",
    "vrm, ratings, neither",
    "vrm (7'), ratings",
    "gated (7'), ratings",
    "gated, ratings, 16 free",
    "two tasks",
    "flat",
    "ridge",
    "true ratings",
)
"""Of the main table; the others are trained on `FEW` splits."""

RATED = (50, 200, 400)
WEIGHTS = (0.1, 10.0, 30.0)
"""Beside 1, which the main table has."""

SCALES = ("detail", "clarity", "creativity", "useful", "style", "confidence")
DIFFERENCES = (
    ("gated, ratings", "gated"),
    ("vrm, ratings", "vrm"),
    ("vrm (7'), ratings", "vrm (7')"),
    ("vrm, ratings", "gated, ratings"),
    ("vrm (7'), ratings", "gated, ratings"),
    ("vrm (7'), ratings", "vrm, ratings"),
    ("vrm (7'), ratings", "gated (7'), ratings"),
    ("gated (7'), ratings", "gated, ratings"),
    ("vrm, ratings, no weight variance", "vrm, ratings"),
    ("vrm, ratings, no feature variance", "vrm, ratings"),
    ("vrm, ratings, neither", "vrm, ratings"),
    ("vrm, ratings, default KL", "vrm, ratings"),
    ("gated, ratings, 16 free", "gated, ratings"),
    ("vrm, ratings, 16 free", "vrm, ratings"),
    ("vrm, ratings, 16 free", "gated, ratings, 16 free"),
    ("gated, ratings", "bt"),
    ("vrm, ratings", "bt"),
    ("ensemble", "gated, ratings"),
    ("two tasks", "gated, ratings"),
    ("flat", "gated, ratings"),
    ("ridge", "gated, ratings"),
    ("blended", "bt"),
    ("vrm, ratings", "bt, length as in vrm, ratings"),
    ("vrm, ratings", "vrm, length as in vrm, ratings"),
    ("vrm, ratings", "mlp, length as in vrm, ratings"),
    ("gated, ratings", "gated, length as in gated, ratings"),
    ("vrm (7'), ratings", "vrm (7'), length as in vrm (7'), ratings"),
    ("flat", "gated, length as in flat"),
)
MATCHED = tuple(
    (other.partition(", length as in ")[0], one) for one, other in DIFFERENCES if ", length as in " in other
)
"""Models of pairs whose margins get the correlation with length of models with ratings: what that alone would do."""


@dataclass(frozen=True)
class Piece:
    """One model on one split.

    Attributes:
        label: in tables; with the seed, the name of what is kept.
        model: what is trained.
        split: rows.
        start: seed of the initial weights.
        tests: folds that it predicts, beside the split's own.
    """

    label: str
    model: Model
    split: Split
    start: int
    tests: tuple[Fold, ...]

    def path(self, work: Path) -> Path:
        """Where its predictions are kept."""
        return work / f"{re.sub('[^a-z0-9.]+', '-', self.label)}-{self.split.seed}.npz"

    def folds(self) -> dict[str, Fold]:
        """Test folds by name."""
        return {"test": self.split.test, **{fold.name: fold for fold in self.tests}}

    def predicted(self, library: Library) -> dict[str, np.ndarray]:
        """Train and predict."""
        found = fitted(library, self.model, self.split, self.start)
        arrays = predictions(found.predictor, self.split.parts.calibration, self.folds())
        arrays["held_out_nll"] = np.array(found.held_out_nll)
        if found.ratings is not None and self.label in MODELS:
            arrays |= {f"rating error: {name}": values for name, values in _errors(found, self.split).items()}
        return arrays


def _errors(found: Fitted, split: Split) -> dict[str, np.ndarray]:
    return rating_errors(found, split.test)


def splits(study: Study, source: str, count: int) -> list[Split]:
    """Splits of a training file."""
    fold = study.library.fold(f"{source}.train")
    return [Split.of(fold, seed) for seed in study.seed_range(count)]


def of_models(study: Study) -> list[Piece]:
    """The main table, other starts, rated rows, attributes and rating weights, on splits of hfngs_v1."""
    tests = tuple(study.library.fold(name) for name in (TESTS[:1] if study.quick else TESTS))
    every = splits(study, SOURCE, SPLITS)
    found = [
        Piece(name, model, split, split.seed, tests)
        for split in every
        for name, model in MODELS.items()
        if split.seed < FEW or name in ON_ALL_SPLITS
    ]
    if study.quick:
        return [piece for piece in found if piece.model.head in ("bt", "gated", "ridge", "true")]
    found += [piece for split in every[:FEWEST] for piece in _variations(split, tests)]
    return found + [piece for split in every[:ALONE] for piece in _attributes(split, tests)]


def _variations(split: Split, tests: tuple[Fold, ...]) -> list[Piece]:
    """Fewer rated rows, and other starts."""
    found: list[Piece] = []
    for name in ("gated, ratings", "vrm, ratings"):
        for count in RATED:
            fewer = split.with_train(with_rated_rows(split.parts.train, count, split.seed))
            found.append(Piece(f"{name}, {count} rows", MODELS[name], fewer, split.seed, tests))
        for seed in range(1, STARTS + 1):
            found.append(Piece(f"{name}, start {seed}", MODELS[name], split, 1000 * seed + split.seed, tests))
    return found


def _attributes(split: Split, tests: tuple[Fold, ...]) -> list[Piece]:
    """`gated` with fewer attributes, and with other rating weights."""
    found: list[Piece] = []
    names = Ratings(split.parts.train).names
    groups = {**{name: [name] for name in SCALES}, "errors": [name for name in names if name not in SCALES]}
    for group, members in groups.items():
        others = [name for name in names if name not in members]
        for label, gone in ((f"alone {group}", others), (f"all but {group}", members)):
            model, fewer = _without(split, gone)
            found.append(Piece(label, model, split.with_train(fewer), split.seed, tests))
    for weight in WEIGHTS:
        model = rated("gated", weight=weight)
        found.append(Piece(f"gated, rating weight {weight:g}", model, split, split.seed, tests))
    return found


def _without(split: Split, gone: list[str]) -> tuple[Model, Fold]:
    """`gated` whose objectives have lost some ratings, and rows without them."""
    names = Ratings(split.parts.train).names
    chosen = [name for name in names if name not in gone]
    return rated("gated", free=len(gone)), with_ratings_of(split.parts.train, chosen)


def _changed(found: list[Piece], split: Split, tests: tuple[Fold, ...], label: str, model: Model, train: Fold) -> None:
    found.append(Piece(label, model, split.with_train(train), split.seed, tests))


def tell(study: Study) -> list[dict[str, Any]]:
    """What ratings tell by themselves, split by split."""
    return [study.piece(f"told-{split.seed}", partial(_told, study, split)) for split in splits(study, SOURCE, FEWEST)]


def _told(study: Study, split: Split) -> dict[str, Any]:
    train = plain(split.parts.train)
    ridge = RatingRidge(study.library.features(), train)
    predictor = fitted(study.library, MODELS["gated, ratings"], split, split.seed).predictor
    margin = told.of_label(split, ridge.ratings, predictor)(split.test)
    return {
        "ratings": told.of_ratings(ridge, split.test),
        "second rater": told.of_second_rater(split, ridge.ratings, predictor),
        "true ratings and margin": margin.tolist(),
    }


@dataclass
class Read:
    """Kept predictions beside labels; what is missing is trained.

    Attributes:
        study: where they are kept.
        known: labels of test folds, each computed once.
    """

    study: Study
    known: dict[tuple[str, int], Labels] = field(default_factory=dict)

    def arrays(self, piece: Piece) -> dict[str, np.ndarray]:
        """Predictions."""
        return kept(piece.path(self.study.work), partial(piece.predicted, self.study.library))

    def labels(self, piece: Piece, name: str) -> Labels:
        """Of one of its test folds."""
        place = (name + piece.split.test.name, piece.split.seed if name == "test" else -1)
        if place not in self.known:
            self.known[place] = Labels.of(piece.folds()[name])
        return self.known[place]

    def scored(self, pieces: Sequence[Piece]) -> dict[str, dict[str, Scored]]:
        """{label: {test: rows of all splits}}."""
        found: dict[str, dict[str, list[Any]]] = {}
        for piece in pieces:
            arrays = self.arrays(piece)
            for name in piece.folds():
                entry = (arrays[f"{name}:margin"], arrays[f"{name}:scaled"]), self.labels(piece, name)
                found.setdefault(piece.label, {}).setdefault(name, []).append(entry)
        return _joined(found)

    def matched(self, pieces: Sequence[Piece]) -> dict[str, dict[str, Scored]]:
        """`MATCHED`, split by split and fold by fold; a temperature of their own they do not have."""
        by_place = {(piece.label, piece.split.seed): piece for piece in pieces}
        found: dict[str, dict[str, list[Any]]] = {}
        for (label, seed), piece in by_place.items():
            for like in (like for base, like in MATCHED if base == label and (like, seed) in by_place):
                mine, other = self.arrays(piece), self.arrays(by_place[like, seed])
                for name in piece.folds():
                    labels = self.labels(piece, name)
                    wanted = float(pearson(other[f"{name}:margin"], labels.excess))
                    margin = with_correlation(mine[f"{name}:margin"].astype(float), labels.excess, wanted)
                    odds = margin / float(mine["temperature"])
                    logs = -np.stack([np.logaddexp(0, -odds), np.logaddexp(0, odds)], -1)
                    place = found.setdefault(f"{label}, length as in {like}", {}).setdefault(name, [])
                    place.append(((margin, logs), labels))
        return _joined(found)


def _joined(found: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, Scored]]:
    return {
        label: {name: Scored.of(*zip(*entries, strict=True)) for name, entries in tests.items()}
        for label, tests in found.items()
    }


def run(study: Study) -> dict[str, Any]:
    """Every piece that is not there, then figures of all."""
    for name in TESTS[:1] if study.quick else TESTS:
        study.library.fold(name)
    pieces = of_models(study)
    read = Read(study)
    rows = read.scored(pieces) | read.matched(pieces)
    document: dict[str, Any] = {"told": _summary(tell(study), pieces)}
    document["held"] = _held(pieces, study)
    document["rating errors"] = _rating_errors(pieces, study)
    both = ("gated", "vrm", "gated, ratings", "vrm, ratings")
    some = [label for label in rows if label.endswith(" rows")]
    document["rated rows"] = _of_first(rows, [*both, *some], FEWEST)
    some = [label for label in rows if label.startswith(("alone ", "all but ", "gated, rating weight"))]
    document["attributes"] = _of_first(rows, ["gated", "gated, ratings", *some], ALONE)
    document["models"] = {label: {name: figures(mine) for name, mine in tests.items()} for label, tests in rows.items()}
    document["differences"] = {
        f"{one} - {other}": {name: _difference(rows[one][name], rows[other][name]) for name in rows[one]}
        for one, other in DIFFERENCES
        if one in rows and other in rows
    }
    return document


def _of_first(rows: Mapping[str, dict[str, Scored]], labels: Sequence[str], splits: int) -> dict[str, Any]:
    """Some models on the first splits alone, which all of them have."""
    return {
        label: {name: figures(mine.first(splits)) for name, mine in rows[label].items()}
        for label in labels
        if label in rows
    }


def _difference(one: Scored, other: Scored) -> dict[str, Any]:
    """On the splits that both have."""
    splits = min(len(one.correlation), len(other.correlation))
    return figures(one.first(splits), other.first(splits))


def _held(pieces: Sequence[Piece], study: Study) -> dict[str, list[float]]:
    """NLL of the rows that stop early, by label and split."""
    found: dict[str, list[float]] = {}
    for piece in pieces:
        with np.load(piece.path(study.work)) as arrays:
            found.setdefault(piece.label, []).append(round(float(arrays["held_out_nll"]), 5))
    return {label: values for label, values in found.items() if not np.isnan(values).any()}


def _rating_errors(pieces: Sequence[Piece], study: Study) -> dict[str, dict[str, list[float]]]:
    """Mean squared errors of standardized ratings, by model and kind, mean over splits, in the order of the names."""
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for piece in pieces:
        with np.load(piece.path(study.work)) as arrays:
            for key in arrays.files:
                if key.startswith("rating error: "):
                    kinds = found.setdefault(piece.label, {})
                    kinds.setdefault(key.partition(": ")[2], []).append(arrays[key])
    return {
        label: {kind: np.mean(values, 0).round(4).tolist() for kind, values in kinds.items()}
        for label, kinds in found.items()
    }


def _summary(found: Sequence[dict[str, Any]], pieces: Sequence[Piece]) -> dict[str, Any]:
    """Told pieces over all splits."""
    tests = {piece.split.seed: piece.split.test for piece in pieces}
    labels = [Labels.of(fold) for fold in list(tests.values())[: len(found)]]
    margins = [np.array(entry["true ratings and margin"]) for entry in found]
    logs = [np.stack([-np.logaddexp(0, -margin), -np.logaddexp(0, margin)], -1) for margin in margins]
    ratings: dict[str, Any] = {"names": found[0]["ratings"]["names"]}
    for kind in ("text", "others", "text and others"):
        ratings[kind] = np.mean([entry["ratings"][kind] for entry in found], 0).round(4).tolist()
    return {
        "ratings": ratings,
        "true ratings and margin": figures(Scored.of(zip(margins, logs, strict=True), labels)),
        "second rater": told.summary([entry["second rater"] for entry in found]),
    }


QUESTION = Question("Ratings of real people", run, tables, plot)
