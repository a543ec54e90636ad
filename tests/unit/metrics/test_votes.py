from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from vrm.errors import ConfigError, DataError
from vrm.metrics import (
    top_k_recall_at_own_k,
    top_k_recall_rows,
    total_variation,
    total_variation_rows,
)


def test_recall_of_equal_votes_is_the_share_found():
    weights = [[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]
    votes = [[1, 0, 1, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(top_k_recall_rows(weights, votes, 2), [0.5, 0.0])
    np.testing.assert_allclose(top_k_recall_rows(weights, votes, 3), [1.0, 0.0])
    assert top_k_recall_rows(weights, votes, 2).mean() == 0.25
    assert top_k_recall_rows(weights, votes, 4).mean() == 1.0


def test_recall_weighs_objectives_by_their_votes():
    assert top_k_recall_rows([[0.5, 0.3, 0.2]], [[6, 0, 2]], 1).item() == 0.75


def test_recall_at_the_rows_own_k_looks_as_far_as_the_row_has_votes():
    # Row 1 names one objective, the third by weight: 0. Row 2 names two, of which 3 of 4 votes are among the best two.
    # Row 3 names all: 1 whatever the weights.
    weights = [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]
    votes = [[0, 0, 7], [3, 0, 1], [1, 1, 2]]
    assert top_k_recall_at_own_k(weights, votes) == pytest.approx((0.0 + 0.75 + 1.0) / 3)
    assert top_k_recall_at_own_k(weights[:1], [[2, 0, 0]]) == 1.0
    with pytest.raises(DataError, match="votes"):
        top_k_recall_at_own_k(weights[:1], [[0, 0, 0]])


def test_equal_weights_share_the_last_places():
    weights, votes = np.array([[3.0, 1.0, 1.0, 1.0]]), np.array([[0.0, 5.0, 2.0, 1.0]])
    choices = [votes[0, [0, *pair]].sum() / 8 for pair in itertools.combinations([1, 2, 3], 2)]
    assert top_k_recall_rows(weights, votes, 3).item() == pytest.approx(np.mean(choices))


def test_total_variation():
    p, q = [[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.25, 0.75]]
    np.testing.assert_allclose(total_variation_rows(p, q), [1.0, 0.25])
    assert total_variation(p, q) == pytest.approx(0.625)
    assert total_variation(p, p) == 0.0


@pytest.mark.parametrize(
    ("weights", "votes", "message"),
    [
        ([0.5, 0.5], [[1, 0]], r"'weights' must have shape \(rows, objectives\), none of them 0, got \(2,\)"),
        ([[0.5, 0.5]], np.zeros((0, 2)), r"'votes' must have shape .* got \(0, 2\)"),
        ([[0.5, 0.5]], [[1, 0, 0]], r"same shape, got \(1, 2\) and \(1, 3\)"),
        ([[0.5, 0.5]], [[0, 0]], r"positive total in each row, got \[0.0, 0.0\] at row 0"),
        ([[0.5, 0.5]], [[2, -1]], "'votes' must be at least 0"),
        ([[0.5, math.nan]], [[2, 1]], r"'weights' must be finite, got nan at row \(0, 1\)"),
    ],
)
def test_wrong_input_is_named(weights, votes, message):
    with pytest.raises(DataError, match=message):
        top_k_recall_rows(weights, votes, 1)


def test_rows_that_are_no_distributions_are_an_error():
    with pytest.raises(DataError, match=r"Rows of 'p' must be distributions, .* total 0.9 at row 0"):
        total_variation([[0.5, 0.4]], [[0.5, 0.5]])
    with pytest.raises(DataError, match="Rows of 'q' must be distributions"):
        total_variation([[0.5, 0.5]], [[1.5, -0.5]])


@pytest.mark.parametrize("k", [0, 3, 1.5, True])
def test_k_out_of_range_is_an_error(k):
    with pytest.raises(ConfigError, match="'k' must be a whole number, from 1 to 2"):
        top_k_recall_rows([[0.5, 0.5]], [[1, 0]], k)
