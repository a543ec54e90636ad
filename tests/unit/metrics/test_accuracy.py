from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vrm.errors import DataError
from vrm.metrics import length_controlled_accuracy, longer_wins, pairwise_accuracy, pairwise_hits


def test_hits_by_sign_with_half_for_zero_margins_and_nan_for_ties():
    hits = pairwise_hits([2.0, -1.0, 0.0, 3.0, -3.0, 1.0], [1.0, 0.9, 0.0, 0.5, 0.2, 0.49])
    np.testing.assert_array_equal(hits, [1.0, 0.0, 0.5, np.nan, 1.0, 0.0])


def test_accuracy_leaves_ties_out_and_counts_them():
    accuracy = pairwise_accuracy([2.0, -1.0, 0.0, 3.0], [1.0, 0.9, 0.0, 0.5])
    assert accuracy.value == pytest.approx(0.5)
    assert (accuracy.count, accuracy.ties) == (3, 1)


def test_accuracy_of_ties_alone_is_nan():
    accuracy = pairwise_accuracy([1.0, 2.0], [0.5, 0.5])
    assert math.isnan(accuracy.value)
    assert (accuracy.count, accuracy.ties) == (0, 2)


def test_tensors_of_any_dtype_are_taken():
    margins = torch.tensor([1.0, -1.0], dtype=torch.bfloat16, requires_grad=True)
    assert pairwise_accuracy(margins, torch.tensor([True, True])).value == 0.5


@pytest.mark.parametrize(
    ("margins", "preference", "message"),
    [
        ([], [], "'margins' is empty"),
        ([[1.0]], [1.0], r"one dimension, got shape \(1, 1\)"),
        (1.0, [1.0], r"got shape \(\)"),
        ([1.0, math.nan], [1.0, 0.0], "'margins' must be finite, got nan at row 1"),
        ([1.0, math.inf], [1.0, 0.0], "got inf at row 1"),
        ([1.0], [math.nan], "'preference' must be finite"),
        ([1.0], [1.2], r"'preference' must lie in \[0, 1\], got 1.2 at row 0"),
        ([1.0, 2.0], [1.0], "'margins' 2, 'preference' 1"),
        (["1"], [1.0], "must hold real numbers"),
        ([None], [1.0], "must hold real numbers"),
        ([[1.0], [1.0, 2.0]], [1.0], "ragged"),
    ],
)
def test_wrong_input_is_named(margins, preference, message):
    with pytest.raises(DataError, match=message):
        pairwise_accuracy(margins, preference)


def test_length_control_weighs_both_sides_alike():
    # Preferred longer: 3 of 4 right; preferred shorter: 0 of 1 right; one of equal lengths, two ties, one of them
    # of equal lengths too.
    margins = [1, 1, 1, -1, 1, 1, 1, 1]
    preference = [1, 1, 1, 1, 0, 1, 0.5, 0.5]
    first, second = [9, 9, 9, 9, 9, 5, 9, 5], [1, 1, 1, 1, 1, 5, 1, 5]
    result = length_controlled_accuracy(margins, preference, first, second)
    assert result.value == pytest.approx(0.375)
    assert (result.longer.value, result.longer.count) == (0.75, 4)
    assert (result.shorter.value, result.shorter.count) == (0.0, 1)
    assert (result.equal_lengths, result.ties, result.reason) == (1, 2, None)


def test_length_control_gives_half_to_the_longer_one_wins():
    rng = np.random.default_rng(0)
    first, second = rng.integers(1, 100, 400), rng.integers(101, 200, 400)
    preference = (rng.random(400) < 0.2).astype(float)
    assert longer_wins(preference, first, second).value > 0.7
    assert length_controlled_accuracy(first - second, preference, first, second).value == 0.5


def test_length_control_says_why_it_is_nan():
    result = length_controlled_accuracy([1.0, 1.0], [1.0, 1.0], [2, 3], [1, 1])
    assert math.isnan(result.value)
    assert result.longer.value == 1.0
    assert result.reason == "no pair whose preferred completion is the shorter"
    both = length_controlled_accuracy([1.0], [1.0], [2], [2])
    assert both.reason == "no pair whose preferred completion is the longer or the shorter"


def test_longer_wins_counts_equal_lengths_half():
    accuracy = longer_wins([1.0, 0.0, 1.0, 0.5], [5, 5, 3, 9], [1, 1, 3, 1])
    assert (accuracy.value, accuracy.count, accuracy.ties) == (0.5, 3, 1)


def test_negative_lengths_are_an_error():
    with pytest.raises(DataError, match=r"'lengths_second' must hold lengths, at least 0, got -1.0 at row 1"):
        longer_wins([1.0, 0.0], [5, 5], [1, -1])
