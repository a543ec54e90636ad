from __future__ import annotations

import math

import numpy as np
import pytest

from vrm.errors import ConfigError, DataError
from vrm.metrics import best_of_n_curve, policy_kl
from vrm.metrics.best_of_n import top_probabilities


@pytest.mark.parametrize(("total", "n"), [(1, 1), (5, 2), (12, 12), (300, 17), (1000, 500)])
def test_rank_probabilities_are_ratios_of_binomials(total, n):
    expected = [math.comb(i - 1, n - 1) / math.comb(total, n) for i in range(1, total + 1)]
    np.testing.assert_allclose(top_probabilities(total, n), expected, rtol=1e-10)
    assert top_probabilities(total, n).sum() == pytest.approx(1.0)


def test_best_of_two_by_hand():
    # Subsets {1,2}, {1,3}, {2,3} pick completions 2, 3, 3.
    assert best_of_n_curve([0.1, 0.2, 0.3], [5.0, 7.0, 1.0], 2)[-1] == pytest.approx((7 + 1 + 1) / 3)


def test_equal_top_rewards_share_the_credit():
    assert best_of_n_curve([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], 4)[-1] == 0.5


def test_mean_over_draws_agrees_with_simulation():
    rng = np.random.default_rng(0)
    reward, gold = rng.normal(size=20), rng.normal(size=20)
    draws = [rng.choice(20, 6, replace=False) for _ in range(4000)]
    picked = np.array([gold[draw[reward[draw].argmax()]] for draw in draws])
    error = picked.std() / math.sqrt(len(picked))
    assert abs(picked.mean() - best_of_n_curve(reward, gold, 6)[-1]) < 4 * error


def test_policy_kl():
    assert policy_kl(1) == 0.0
    assert policy_kl(2) == pytest.approx(math.log(2) - 0.5)
    # The KL itself, for a uniform policy on [0, 1]: the best of n has density n x^(n - 1).
    x = (np.arange(200_000) + 0.5) / 200_000
    density = 16 * x**15
    assert policy_kl(16) == pytest.approx(np.mean(density * np.log(density + 1e-300)), rel=1e-5)


def test_wrong_input_is_named():
    with pytest.raises(ConfigError, match="'max_n' must be a whole number, from 1 to 2, got 3"):
        best_of_n_curve([1.0, 2.0], [1.0, 2.0], 3)[-1]
    with pytest.raises(DataError, match="'rewards' 2, 'gold' 1"):
        best_of_n_curve([1.0, 2.0], [1.0], 1)[-1]
    with pytest.raises(DataError, match="'rewards' is empty"):
        best_of_n_curve([], [], 1)[-1]
    with pytest.raises(ConfigError, match="'n' must be a whole number, at least 1, got 0"):
        policy_kl(0)
