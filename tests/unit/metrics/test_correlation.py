from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vrm.errors import DataError
from vrm.metrics import pearson, spearman


@pytest.mark.parametrize("levels", [None, 3])
def test_correlations_agree_with_scipy(levels):
    rng = np.random.default_rng(0)
    x = rng.normal(size=80) if levels is None else rng.integers(0, levels, 80)
    y = x + rng.normal(size=80)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)
    assert spearman(x, np.round(y)) == pytest.approx(stats.spearmanr(x, np.round(y)).statistic)


def test_a_nearly_constant_side_is_no_warning():
    assert pearson([1.0, 1.0 + 1e-15, 1.0 - 1e-15], [1.0, 2.0, 3.0]) == pytest.approx(-0.47, abs=0.01)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 4e307])
def test_scale_plays_no_role(scale):
    x = np.array([1.0, 2.0, 4.0])
    assert pearson(x * scale, -x * scale) == pytest.approx(-1.0)


def test_a_small_spread_around_a_large_mean_is_kept():
    x = np.array([0.0, 1.0, 2.0, 5.0])
    assert pearson(x + 1e9, x) == pytest.approx(1.0)


@pytest.mark.parametrize("correlation", [pearson, spearman])
def test_too_few_points_or_a_constant_give_nan(correlation):
    for x, y in (([], []), ([1, 2], [3, 4]), ([0.1] * 4, [1, 2, 3, 4]), ([1, 2, 3, 4], [0.1] * 4)):
        assert math.isnan(correlation(x, y))


@pytest.mark.parametrize("correlation", [pearson, spearman])
def test_wrong_input_is_named(correlation):
    with pytest.raises(DataError, match="'y' must be finite, got nan at row 2"):
        correlation([1, 2, 3], [1, 2, math.nan])
    with pytest.raises(DataError, match="'x' 3, 'y' 2"):
        correlation([1, 2, 3], [1, 2])
