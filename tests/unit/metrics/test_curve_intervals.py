from __future__ import annotations

import numpy as np
import pytest

from vrm.errors import ConfigError, DataError
from vrm.metrics import bootstrap_curve, bootstrap_interval


@pytest.mark.parametrize("groups", [None, [0, 0, 1, 2, 2, 2, 3, 4, 5, 5]])
def test_each_column_has_the_interval_it_would_have_alone(groups):
    values = np.random.default_rng(1).normal(size=(10, 4)) * [1.0, 10.0, 0.1, 0.0]
    together = bootstrap_curve(values, groups, 0.9, resamples=300, seed=5)
    assert len(together) == 4
    for column, interval in zip(values.T, together, strict=True):
        alone = bootstrap_interval(column, groups, None, 0.9, 300, 5)
        assert interval.confidence == 0.9
        assert (interval.low, interval.estimate, interval.high) == pytest.approx(
            (alone.low, alone.estimate, alone.high)
        )


def test_one_group_has_no_interval():
    (interval,) = bootstrap_curve([[1.0], [3.0]], ["same", "same"])
    assert interval.estimate == 2.0
    assert np.isnan([interval.low, interval.high]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], r"must have shape \(rows, columns\), none of them 0, got \(2,\)"),
        (np.zeros((0, 3)), r"got \(0, 3\)"),
        ([[1.0, np.inf]], "must be finite"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(DataError, match=message):
        bootstrap_curve(values)


def test_wrong_resamples_are_named():
    with pytest.raises(ConfigError, match="'resamples' must be a whole number, at least 1, got 0"):
        bootstrap_curve([[1.0]], resamples=0)
