from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from vrm.errors import ConfigError, DataError
from vrm.metrics import expected_calibration_error, reliability_bins, wilson_interval


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (3, 10), (50, 50), (412, 1000)])
def test_wilson_against_scipy(hits, count):
    expected = binomtest(hits, count).proportion_ci(0.9, method="wilson")
    found = wilson_interval(hits / count, count, 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.low <= found.estimate <= found.high


def test_what_is_not_allowed():
    with pytest.raises(DataError, match="at least one trial"):
        wilson_interval(0.5, 0)
    with pytest.raises(DataError, match="mean in"):
        wilson_interval(1.5, 3)
    with pytest.raises(ConfigError, match="confidence"):
        wilson_interval(0.5, 3, 1.0)


def test_bins_are_the_pairs_between_their_edges():
    rng = np.random.default_rng(0)
    probability = rng.random(500) ** 2
    preference = (rng.random(500) < probability) * 1.0
    confidence = np.maximum(probability, 1 - probability)
    agrees = np.where(probability > 0.5, preference, 1 - preference)
    bins = reliability_bins(expected_calibration_error(probability, preference, 8))
    assert sum(part.count for part in bins) == 500
    assert [part.high for part in bins[:-1]] == [part.low for part in bins[1:]]
    for part in bins:
        inside = (confidence >= part.low) & ((confidence < part.high) | (part.high == 1.0))
        assert part.count == inside.sum()
        assert part.predicted == pytest.approx(confidence[inside].mean())
        assert part.observed == wilson_interval(part.observed.estimate, part.count)
        assert part.observed.estimate == pytest.approx(agrees[inside].mean())


def test_empty_bins_are_left_out():
    table = expected_calibration_error([0.9, 0.95, 0.1], [1, 1, 0], 10, "equal_width")
    assert len(reliability_bins(table)) == 2
    assert sum(part.count for part in reliability_bins(table)) == 3
