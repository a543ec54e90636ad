from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from vrm.errors import ConfigError, DataError
from vrm.metrics import (
    brier_score,
    cross_entropy_rows,
    expected_calibration_error,
    negative_log_likelihood,
)


@pytest.fixture
def sample():
    rng = np.random.default_rng(3)
    probability = rng.random(600)
    return probability, (rng.random(600) < probability).astype(float)


def test_nll_and_brier_agree_with_scikit_learn(sample):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference here")
    probability, label = sample
    assert negative_log_likelihood(probability, label) == pytest.approx(metrics.log_loss(label, probability))
    assert brier_score(probability, label) == pytest.approx(metrics.brier_score_loss(label, probability))


def test_nll_of_soft_labels_is_the_cross_entropy():
    expected = -(0.3 * math.log(0.6) + 0.7 * math.log(0.4))
    assert negative_log_likelihood([0.6], [0.3]) == pytest.approx(expected)
    assert negative_log_likelihood([0.5, 0.5], [0.5, 1.0]) == pytest.approx(math.log(2))


def test_nll_is_infinite_for_a_sure_miss_and_zero_for_a_sure_hit():
    assert negative_log_likelihood([1.0, 0.5], [0.0, 1.0]) == math.inf
    assert negative_log_likelihood([1.0, 0.0], [1.0, 0.0]) == 0.0


@pytest.mark.parametrize("margin", [0.0, 1e-9, -0.3, 2.0, 30.0, -40.0, 700.0])
def test_nll_from_logs_is_exact_where_probabilities_saturate(margin):
    log_probability = [-np.logaddexp(0.0, -margin)]
    complement = [-np.logaddexp(0.0, margin)]
    first, second = (cross_entropy_rows(log_probability, [p], complement).item() for p in (1.0, 0.0))
    assert (first, second) == pytest.approx((-log_probability[0], -complement[0]), rel=1e-12)
    both = cross_entropy_rows(log_probability, [0.25], complement).item()
    assert both == pytest.approx(-(0.25 * log_probability[0] + 0.75 * complement[0]), rel=1e-12)


def test_nll_from_float32_logs_takes_the_complement_at_large_margins():
    assert cross_entropy_rows(np.float32([-0.0]), [0.0], np.float32([-200.0])) == pytest.approx(200.0)


def test_nll_from_logs_refuses_what_is_no_log_probability():
    with pytest.raises(DataError, match=r"must hold log-probabilities, at most 0, got 0.4"):
        cross_entropy_rows([0.4], [1.0], [-1.0])
    with pytest.raises(DataError, match=r"add up to 0\.8"):
        cross_entropy_rows([math.log(0.4)], [1.0], [math.log(0.4)])
    with pytest.raises(DataError, match="must be finite, got nan"):
        cross_entropy_rows([math.nan], [1.0], [-1.0])
    with pytest.raises(DataError, match="'probability' 2, 'preference' 1"):
        cross_entropy_rows([math.log(0.5)] * 2, [1.0], [math.log(0.5)] * 2)


def test_float32_rounding_above_one_counts_as_one():
    assert cross_entropy_rows([3e-7], [1.0], [-math.inf]) == 0.0
    assert brier_score([1.0000001], [1.0]) == 0.0
    with pytest.raises(DataError, match=r"got 1\.001 at row 0"):
        brier_score([1.001], [1.0])


@pytest.mark.parametrize("metric", [negative_log_likelihood, brier_score, expected_calibration_error])
def test_wrong_input_is_named(metric):
    with pytest.raises(DataError, match="'probability' is empty"):
        metric([], [])
    with pytest.raises(DataError, match="'probability' 1, 'preference' 2"):
        metric([0.5], [1.0, 0.0])
    with pytest.raises(DataError, match="'probability' must be finite, got nan at row 0"):
        metric([math.nan], [1.0])


def _reference_error(probability, label, edges):
    confidence = np.where(probability > 0.5, probability, 1 - probability)
    right = np.where(probability > 0.5, label, 1 - label)
    total = 0.0
    for index, (low, high) in enumerate(itertools.pairwise(edges)):
        last = index == len(edges) - 2
        inside = (confidence >= low) & ((confidence <= high) if last else (confidence < high))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("binning", ["equal_mass", "equal_width"])
@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_error_follows_from_its_table_and_its_edges(sample, binning, bins):
    result = expected_calibration_error(*sample, bins, binning)
    assert len(result.edges) == bins + 1
    assert sum(result.count) == 600
    assert result.value == pytest.approx(_reference_error(*sample, np.array(result.edges)))
    table = zip(result.count, result.accuracy, result.confidence)
    assert result.value == pytest.approx(sum(n * abs(a - c) for n, a, c in table if n) / 600)


def test_equal_mass_bins_hold_equally_many_and_equal_width_ones_are_equally_wide(sample):
    mass = expected_calibration_error(*sample, bins=15)
    assert set(mass.count) == {40}
    width = expected_calibration_error(*sample, bins=5, binning="equal_width")
    np.testing.assert_allclose(np.diff(width.edges), 0.1)


def test_equal_confidences_share_a_bin():
    result = expected_calibration_error([0.7] * 30 + [0.9] * 10, [1.0] * 40, bins=10)
    assert result.count == (30, 10)
    constant = expected_calibration_error([0.7] * 5, [1.0, 1.0, 0.0, 1.0, 1.0], bins=3)
    assert constant.count == (5,)
    assert constant.value == pytest.approx(0.1)


def test_empty_bins_are_nan_and_cost_nothing():
    result = expected_calibration_error([0.96, 0.98], [1.0, 1.0], bins=5, binning="equal_width")
    assert result.count == (0, 0, 0, 0, 2)
    assert math.isnan(result.accuracy[0])
    assert result.value == pytest.approx(0.03)


def test_probabilities_of_one_half_and_ties_are_right_half_the_time():
    assert expected_calibration_error([0.5, 0.5], [1.0, 1.0]).value == 0.0
    assert expected_calibration_error([0.9], [0.5]).value == pytest.approx(0.4)
    assert expected_calibration_error([0.1], [0.0]).value == pytest.approx(0.1)


def test_wrong_bins_are_an_error():
    with pytest.raises(ConfigError, match="'bins' must be a whole number, at least 1, got 0"):
        expected_calibration_error([0.5], [1.0], bins=0)
    with pytest.raises(ConfigError, match="binning must be one of equal_mass, equal_width; got 'quantile'"):
        expected_calibration_error([0.5], [1.0], binning="quantile")
