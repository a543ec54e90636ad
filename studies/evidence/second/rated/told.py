"""What ratings tell by themselves: of other ratings, of the label, of a second rater."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import Ridge
from studies.evidence.folds import Fold, joined
from studies.evidence.predictors import Predictor
from studies.evidence.second.rated.models import RatingRidge, Ratings, Split, label

from vrm.metrics import bootstrap_mean, fit_logistic, pairwise_hits


def of_ratings(ridge: RatingRidge, test: Fold) -> dict[str, Any]:
    """Mean squared errors of each rating, standardized: by text, by the other ratings, by both."""
    true, text = (_flat(table) for table in (ridge.ratings.of(ridge.rated), ridge.crossed()))
    true_test, text_test = (_flat(table) for table in (ridge.ratings.of(test), ridge.predicted(test)))
    errors: dict[str, list[float]] = {"text": [], "others": [], "text and others": []}
    for column in range(true.shape[1]):
        rest = np.delete(np.arange(true.shape[1]), column)
        wanted = true_test[:, column]
        errors["text"].append(_error(text_test[:, column], wanted))
        inputs = {
            "others": (true[:, rest], true_test[:, rest]),
            "text and others": (
                np.column_stack([true[:, rest], text[:, column]]),
                np.column_stack([true_test[:, rest], text_test[:, column]]),
            ),
        }
        for name, (fit, judged) in inputs.items():
            errors[name].append(_error(Ridge(alpha=1.0).fit(fit, true[:, column]).predict(judged), wanted))
    return {"names": ridge.ratings.names, **errors}


def _flat(table: np.ndarray) -> np.ndarray:
    return table.reshape(-1, table.shape[-1])


def _error(predicted: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean((predicted - wanted) ** 2))


def of_second_rater(split: Split, ratings: Ratings, predictor: Predictor) -> dict[str, Any]:
    """NLL and hits of a rater's choice by what another one said; fitted on rows that the model was not fitted to.

    The first rater is one who gave ratings, the second one who chose alone; of most pairs there is one each.
    """
    known = joined([split.parts.held, split.parts.calibration])
    fit, judged = (_raters(fold, ratings, predictor) for fold in (known, split.test))
    found: dict[str, Any] = {"groups": judged["groups"]}
    kinds = {
        "nothing": [],
        "her choice": ["choice"],
        "her ratings": ["ratings"],
        "margin": ["margin"],
        "choice and ratings": ["choice", "ratings"],
        "choice and margin": ["choice", "margin"],
        "all": ["choice", "ratings", "margin"],
    }
    for name, parts in kinds.items():
        odds = np.zeros(len(judged["label"]))
        if parts:
            inputs, unseen = (np.column_stack([rows[part] for part in parts]) for rows in (fit, judged))
            odds = fit_logistic(inputs, fit["label"]).log_odds(unseen)
        wanted = judged["label"]
        nll = -(wanted * np.log(expit(odds)) + (1 - wanted) * np.log(expit(-odds)))
        hits = pairwise_hits(odds, wanted)
        found[name] = {"nll": nll.round(5).tolist(), "hits": [None if np.isnan(hit) else hit for hit in hits]}
    return found


def _raters(fold: Fold, ratings: Ratings, predictor: Predictor) -> dict[str, Any]:
    margins = predictor.say(fold).margin
    rows: dict[str, list[Any]] = {"label": [], "choice": [], "ratings": [], "margin": [], "groups": []}
    for number, first, second in _two(fold):
        means, spreads = ratings.statistics
        sides = [
            np.array([(entry.get(name, means[name]) - means[name]) / spreads[name] for name in ratings.names])
            for entry in first.ratings
        ]
        rows["label"].append(second.preference)
        rows["choice"].append(first.preference - 0.5)
        rows["ratings"].append(sides[0] - sides[1])
        rows["margin"].append(margins[number])
        rows["groups"].append(fold.groups[number])
    return {name: values if name == "groups" else np.array(values) for name, values in rows.items()}


def _two(fold: Fold) -> Iterator[tuple[int, Any, Any]]:
    """(row, a rater who gave ratings, another one)."""
    for number, row in enumerate(fold.judgments):
        first = next((one for one in row.judgments or [] if one.ratings and all(one.ratings)), None)
        second = next((one for one in row.judgments or [] if one is not first and not one.ratings), None)
        if first and second:
            yield number, first, second


def of_label(split: Split, ratings: Ratings, predictor: Predictor) -> Callable[[Fold], np.ndarray]:
    """The margin by the true ratings and a model's margin, fitted on rows that the model was not fitted to."""
    known = joined([split.parts.held, split.parts.calibration])

    def inputs(fold: Fold) -> np.ndarray:
        return np.column_stack([ratings.difference(fold), predictor.say(fold).margin])

    fit = fit_logistic(inputs(known), label(known))
    return lambda fold: fit.log_odds(inputs(fold))


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """NLL and accuracy over all splits by what is known, and the NLL minus that by her choice, with intervals."""
    groups = [group for entry in found for group in entry["groups"]]
    kinds = [name for name in found[0] if name != "groups"]
    nll = {name: np.concatenate([entry[name]["nll"] for entry in found]) for name in kinds}
    result = {}
    for name in kinds:
        hits = np.concatenate([np.array(entry[name]["hits"], dtype=float) for entry in found])
        against = bootstrap_mean(nll[name] - nll["her choice"], groups)
        result[name] = {
            "nll": round(float(nll[name].mean()), 5),
            "accuracy": round(float(np.nanmean(hits)), 4),
            "nll minus her choice": [round(value, 5) for value in (against.estimate, against.low, against.high)],
        }
    return result
