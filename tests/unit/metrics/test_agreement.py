from __future__ import annotations

import math

import pytest
from scipy import stats

from vrm.errors import DataError
from vrm.metrics import reward_agreement


def test_figures_by_hand():
    first, second = [1.0, 2.0, 3.0, 5.0, 5.0, 0.0], [1.5, 1.0, 3.0, 4.0, 9.0, 0.0]
    found = reward_agreement(first, second, ["a", "a", "a", "b", "b", "c"])
    # a: (1,2) is wrong, (1,3) and (2,3) are right; b is a tie of the first; c stands alone.
    assert (found.count, found.pairs) == (6, 3)
    assert found.pairwise == pytest.approx(2 / 3)
    assert found.mean_difference == pytest.approx((0.5 + 1 + 0 + 1 + 4 + 0) / 6)
    assert found.max_difference == 4.0
    assert found.pearson == pytest.approx(stats.pearsonr(first, second).statistic)
    assert found.spearman == pytest.approx(stats.spearmanr(first, second).statistic)


def test_equal_rewards_of_the_second_count_half():
    assert reward_agreement([0.0, 1.0], [2.0, 2.0], [0, 0]).pairwise == 0.5


def test_without_pairs_the_share_is_not_defined():
    found = reward_agreement([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0, 1, 2])
    assert found.pairs == 0
    assert math.isnan(found.pairwise)
    assert found.pearson == pytest.approx(1.0)


@pytest.mark.parametrize(("second", "groups"), [([0.0], [0, 0]), ([0.0, 1.0], [0]), ([0.0, math.inf], [0, 0])])
def test_what_does_not_fit_is_refused(second, groups):
    with pytest.raises(DataError):
        reward_agreement([0.0, 1.0], second, groups)
