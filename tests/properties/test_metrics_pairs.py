"""Properties of the metrics on pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrm import metrics
from vrm.metrics import ResampleOptions, pair_predictions, preference_summary

# Multiples of 1/64, so that one minus a probability is exact and swapping the sides loses no bit.
PROBABILITY = st.integers(0, 64).map(lambda value: value / 64)
MARGIN = st.floats(-1e6, 1e6)
LENGTH = st.integers(0, 5)


@st.composite
def pairs(draw, min_size=1):
    row = st.tuples(MARGIN, PROBABILITY, PROBABILITY, LENGTH, LENGTH, st.integers(0, 4))
    columns = zip(*draw(st.lists(row, min_size=min_size, max_size=30)))
    return tuple(np.array(column) for column in columns)


def _summary(margins, preference, probability, first, second, groups):
    with np.errstate(divide="ignore"):
        logs = np.log(probability), np.log(1 - probability)
    predictions = pair_predictions(margins, preference, (first, second), *logs, groups)
    return metrics.json_ready(preference_summary(predictions, ResampleOptions(resamples=50), bins=5))


def _assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for key in found:
            _assert_same(found[key], expected[key])
    elif isinstance(found, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected):
            _assert_same(one, other)
    elif isinstance(found, float):
        assert found == pytest.approx(expected, abs=1e-12)
    else:
        assert found == expected


@given(pairs())
def test_swapping_the_sides_of_every_pair_changes_nothing(data):
    margins, preference, probability, first, second, groups = data
    swapped = _summary(-margins, 1 - preference, 1 - probability, second, first, groups)
    _assert_same(swapped, _summary(*data))


@given(pairs(), st.data())
def test_swapping_some_pairs_changes_nothing_either(data, choice):
    margins, preference, probability, first, second, groups = data
    swap = np.array(choice.draw(st.lists(st.booleans(), min_size=len(margins), max_size=len(margins))))
    swapped = _summary(
        np.where(swap, -margins, margins),
        np.where(swap, 1 - preference, preference),
        np.where(swap, 1 - probability, probability),
        np.where(swap, second, first),
        np.where(swap, first, second),
        groups,
    )
    _assert_same(swapped, _summary(*data))


@given(pairs())
def test_log_probabilities_swap_to_the_last_bit(data):
    margins, preference, probability, first, second, _ = data
    logs = -np.logaddexp(0, 9 * (0.5 - probability)), -np.logaddexp(0, 9 * (probability - 0.5))
    one = pair_predictions(margins, preference, (first, second), log_probability=logs[0], log_complement=logs[1])
    other = pair_predictions(-margins, 1 - preference, (second, first), log_probability=logs[1], log_complement=logs[0])
    _assert_same(
        metrics.json_ready(preference_summary(one, ResampleOptions(resamples=20))),
        metrics.json_ready(preference_summary(other, ResampleOptions(resamples=20))),
    )


@pytest.mark.parametrize("transform", [np.cbrt, np.arctan, lambda u: u * 1e-3, lambda u: np.sign(u) * u**2 + 7 * u])
@given(data=pairs())
def test_accuracy_is_invariant_to_monotone_odd_transforms(transform, data):
    # A margin below 1e-100 would be squared or scaled to 0, which is another margin, not a transform of it.
    margins = np.where(abs(data[0]) < 1e-100, 0.0, data[0])
    before, after = (metrics.pairwise_hits(values, data[1]) for values in (margins, transform(margins)))
    np.testing.assert_array_equal(after, before)
    sides = data[3], data[4]
    _assert_same(
        metrics.json_ready(metrics.length_controlled_accuracy(transform(margins), data[1], *sides)),
        metrics.json_ready(metrics.length_controlled_accuracy(margins, data[1], *sides)),
    )


@given(pairs(), st.integers(1, 40), st.sampled_from(["equal_mass", "equal_width"]))
def test_calibration_error_lies_in_the_unit_interval_whatever_the_order(data, bins, binning):
    result = metrics.expected_calibration_error(data[2], data[1], bins, binning)
    assert 0.0 <= result.value <= 1.0
    assert sum(result.count) == len(data[1])
    assert result.edges[0] == 0.5
    assert result.edges[-1] == 1.0
    assert all(low < high or high == 1.0 for low, high in itertools.pairwise(result.edges))
    reversed_rows = metrics.expected_calibration_error(data[2][::-1], data[1][::-1], bins, binning)
    assert reversed_rows.value == pytest.approx(result.value, abs=1e-12)


@given(pairs())
def test_log_loss_is_at_least_the_entropy_of_the_labels_and_brier_at_most_one(data):
    _, preference, probability, *_ = data
    entropy = metrics.negative_log_likelihood(preference, preference)
    assert metrics.negative_log_likelihood(probability, preference) >= entropy - 1e-12
    assert 0.0 <= metrics.brier_score(probability, preference) <= 1.0


@given(pairs())
def test_full_coverage_is_the_plain_accuracy(data):
    margins, preference, probability, *_ = data
    full = metrics.selective_accuracy(margins, preference, probability).at(1.0)
    assert full == pytest.approx(metrics.pairwise_accuracy(margins, preference).value, nan_ok=True)
