from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vrm.errors import DataError
from vrm.metrics import ResampleOptions, auroc, auroc_interval


@pytest.fixture
def rows():
    rng = np.random.default_rng(6)
    positive = rng.random(300) < 0.3
    # Rounded, so that many signals are equal.
    return np.round(rng.normal(size=300) + 0.8 * positive, 1), positive, np.arange(300) // 3


def test_against_scikit_learn(rows):
    signal, positive, _ = rows
    assert auroc(signal, positive) == pytest.approx(roc_auc_score(positive, signal), abs=1e-12)
    assert auroc(-signal, positive) == pytest.approx(1 - auroc(signal, positive))


def test_against_all_pairs_by_hand():
    # Positives 3 and 1, negatives 1, 0 and 2: pairs won 1 + 1 + 1, tied 1/2, won 1, lost 0.
    assert auroc([3, 1, 1, 0, 2], [1, 1, 0, 0, 0]) == pytest.approx((3 + 0.5 + 1) / 6)
    assert auroc([-math.inf, math.inf], [0, 1]) == 1.0
    assert math.isnan(auroc([1.0, 2.0], [1, 1]))


def test_interval_is_that_of_resampled_groups(rows):
    signal, positive, groups = rows
    found = auroc_interval(signal, positive, groups, ResampleOptions(resamples=300, seed=2))
    rng = np.random.default_rng(2)
    drawn = rng.integers(100, size=(300, 100))
    samples = [np.concatenate([np.flatnonzero(groups == group) for group in draw]) for draw in drawn]
    values = [roc_auc_score(positive[sample], signal[sample]) for sample in samples]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    assert found.estimate == auroc(signal, positive)


def test_difference_is_paired(rows):
    signal, positive, groups = rows
    noisy = signal + np.random.default_rng(1).normal(size=300)
    found = auroc_interval(signal, positive, groups, ResampleOptions(resamples=200), noisy)
    assert found.estimate == pytest.approx(auroc(signal, positive) - auroc(noisy, positive))
    assert found.low < found.estimate < found.high
    same = auroc_interval(signal, positive, groups, ResampleOptions(resamples=50), 2 * signal)
    assert (same.low, same.estimate, same.high) == (0.0, 0.0, 0.0)


def test_what_is_not_allowed():
    with pytest.raises(DataError, match=r"0 and 1 only, got 0\.5 at row 1"):
        auroc([1, 2], [1, 0.5])
    with pytest.raises(DataError, match="same number of rows"):
        auroc([1, 2, 3], [1, 0])
