from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vrm.errors import DataError
from vrm.metrics import ResampleOptions, bootstrap_mean, holm, mcnemar, rows_to_tell, sign_flip_p_value


def test_one_row_a_group_is_mcnemar():
    rng = np.random.default_rng(0)
    first, second = (rng.random(200) < 0.75) * 1.0, (rng.random(200) < 0.65) * 1.0
    exact = mcnemar(first, second).p_value
    assert sign_flip_p_value(first - second, draws=50_000) == pytest.approx(exact, abs=0.01)


def test_groups_are_flipped_together_as_scipy_does():
    values = np.array([1, 1, 0, -1, 1, 1, 1, 0, 1, -1, 1, 1.0])
    groups = np.repeat(np.arange(6), 2)
    exact = stats.permutation_test(
        (values.reshape(6, 2).sum(1),), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p_value(values, groups, draws=100_000) == pytest.approx(exact.pvalue, abs=0.01)
    assert sign_flip_p_value(values, groups) != pytest.approx(sign_flip_p_value(values), abs=0.01)


def test_repeated_rows_do_not_make_a_test_surer():
    rng = np.random.default_rng(1)
    values = rng.choice([-1.0, 0.0, 1.0], 30, p=[0.2, 0.4, 0.4])
    once = sign_flip_p_value(values)
    assert sign_flip_p_value(np.repeat(values, 10), np.repeat(np.arange(30), 10)) == pytest.approx(once, abs=1e-3)
    assert sign_flip_p_value(np.repeat(values, 10)) < once / 10


def test_edges_of_the_sign_flip_test():
    assert sign_flip_p_value([0.0, 0.0]) == 1.0
    assert sign_flip_p_value(np.ones(60), draws=99) == 0.01
    assert sign_flip_p_value([1.0, -1.0, 1.0], seed=3) == sign_flip_p_value([1.0, -1.0, 1.0], seed=3)


def test_holm_by_hand():
    # Sorted .01, .02, .03, .5: times 4, 3, 2, 1 is .04, .06, .06, .5.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    # .02 times 1 would fall below .03 times 2.
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(DataError, match="p_values"):
        holm([0.5, math.nan])


def test_with_the_rows_it_asks_for_the_difference_is_found():
    rng = np.random.default_rng(2)

    def differences(rows):
        return rng.choice([-1.0, 0.0, 1.0], rows, p=[0.12, 0.7, 0.18])

    needed = rows_to_tell(differences(20_000), 0.06)
    found = [
        bootstrap_mean(differences(round(needed)), options=ResampleOptions(resamples=300)).low > 0 for _ in range(300)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


def test_rows_that_share_a_prompt_tell_less():
    values = np.repeat(np.random.default_rng(3).normal(size=50), 4)
    single = rows_to_tell(values[::4], 0.1)
    assert rows_to_tell(values, 0.1, np.repeat(np.arange(50), 4)) == pytest.approx(4 * single)
    assert rows_to_tell(values, 0.0) == math.inf
    assert rows_to_tell([1.0, 1.0], 0.5) == 0.0
