"""Pieces of the study of real raters' ratings: splits, rivals' rewards, and figures against the package's metrics."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from studies.evidence.folds import Fold
from studies.evidence.second.rated.models import Ratings, Split, flat, only_last, with_rated_rows, with_ratings_of
from studies.evidence.second.rated.scores import Labels, Scored
from studies.evidence.second.rated.told import of_second_rater

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors, RatingModel
from vrm.core.predictive import margin_moments
from vrm.data.schema import Judgment
from vrm.labels.judgments import RaterJudgment
from vrm.metrics import length_controlled_accuracy


def _fold(rows: int = 120, prompts: int = 30) -> Fold:
    draws = np.random.default_rng(0)
    judgments = [
        Judgment(
            f"prompt {row % prompts}",
            ["word " * draws.integers(1, 40), "word " * draws.integers(1, 40)],
            preference=float(draws.choice([0.0, 0.25, 0.5, 1.0])),
            ratings=[{"a": float(draws.integers(1, 6)), "b": 1.0} for _ in range(2)],
        )
        for row in range(rows)
    ]
    places = np.arange(rows)
    return Fold("toy", judgments, places, np.stack([places, places], 1))


def test_a_split_shares_no_prompt_and_uses_every_row():
    fold = _fold()
    for seed in range(3):
        split = Split.of(fold, seed)
        parts = [split.parts.train, split.parts.held, split.parts.calibration, split.test]
        assert sum(map(len, parts)) == len(fold)
        groups = [set(part.groups) for part in parts]
        assert len(set.union(*groups)) == sum(map(len, groups))
        assert [len(group) for group in groups] == [16, 3, 3, 8]


def test_rated_rows_are_nested_and_attributes_are_chosen():
    fold = _fold()
    few, more = (
        {place for place, row in enumerate(with_rated_rows(fold, count, 7).judgments) if row.ratings}
        for count in (10, 40)
    )
    assert len(few) == 10
    assert len(more) == 40
    assert few < more
    assert with_ratings_of(fold, ["b"]).judgments[0].ratings == [{"b": 1.0}, {"b": 1.0}]
    assert with_ratings_of(fold, ["c"]).judgments[0].ratings is None


def test_ratings_are_standardized_by_their_fold_and_a_constant_stays_finite():
    ratings = Ratings(_fold())
    table = ratings.of(_fold())
    assert ratings.names == ["a", "b"]
    np.testing.assert_allclose(table[..., 0].mean(), 0.0, atol=1e-12)
    np.testing.assert_allclose(table[..., 0].std(), 1.0)
    assert not table[..., 1].any()


@pytest.mark.parametrize(("change", "wanted"), [(only_last, [0.0, 0.0, 1.0]), (flat, [1 / 3, 1 / 3, 1 / 3])])
def test_rivals_take_the_prompt_away(change: Callable[[Posteriors], Posteriors], wanted: list[float]):
    torch.manual_seed(0)
    decoder = torch.randn(3, 4)
    features = SemanticFeatures(torch.randn(5, 2, 4), torch.zeros(5, 2, 4))
    rating = RatingModel(torch.ones(()), torch.zeros(3), torch.ones(3))
    found = change(Posteriors(ObjectiveWeights(torch.randn(5, 3).softmax(-1)), features, decoder, rating))
    margin = margin_moments(found.weights, features.completion(0), features.completion(1), decoder)
    expected = (features.loc[:, 0] - features.loc[:, 1]) @ (torch.tensor(wanted) @ decoder)
    torch.testing.assert_close(margin.mean, expected)


def test_figures_agree_with_the_metrics_of_the_package():
    fold = _fold()
    known = Labels.of(fold)
    margin = np.random.default_rng(1).normal(size=len(fold))
    logs = np.stack([-np.logaddexp(0, -margin), -np.logaddexp(0, margin)], -1)
    once = Scored.of([(margin, logs)], [known])
    expected = length_controlled_accuracy(margin, known.preference, *fold.style[..., 0].T).value
    assert once.interval("length-controlled").estimate == pytest.approx(expected)
    twice = Scored.of([(margin, logs)] * 2, [known] * 2)
    assert twice.by_split("length-controlled") == pytest.approx([expected] * 2)
    opposite = Scored.of([(-margin, logs[:, ::-1])], [known])
    assert once.interval("length-controlled", opposite).estimate == pytest.approx(2 * expected - 1)
    assert once.interval("nll", once).high == 0.0


def test_a_second_rater_who_always_agrees_is_told_by_the_first():
    def rater(name: str, preference: float, ratings: Any = None) -> RaterJudgment:
        return RaterJudgment(name, preference, ratings)

    draws = np.random.default_rng(2)
    rows = []
    for row in _fold(400, 100).judgments:
        choice = float(draws.integers(0, 2))
        both = [rater("one", choice, row.ratings), rater("two", choice)]
        rows.append(Judgment(row.prompt, row.completions, judgments=both))
    places = np.arange(len(rows))
    fold = Fold("toy", rows, places, np.stack([places, places], 1))
    split = Split.of(fold, 0)
    nothing = SimpleNamespace(say=lambda some: SimpleNamespace(margin=np.zeros(len(some))))
    found = of_second_rater(split, Ratings(_fold()), nothing)
    assert np.mean(found["her choice"]["hits"]) == 1.0
    assert np.mean(found["her choice"]["nll"]) < 0.2
    assert np.mean(found["margin"]["nll"]) == pytest.approx(np.log(2), abs=1e-5)
