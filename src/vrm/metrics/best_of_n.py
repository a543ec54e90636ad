"""Best-of-n: what picking the completion of the highest reward among n gains, and how far it moves the policy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from vrm.metrics._arrays import Array, same_length, tied_groups, tied_means, vector, whole_number


def expected_best_of_n(rewards: ArrayLike, gold: ArrayLike, n: int) -> float:
    """Mean gold value of the completion of highest reward, over all subsets of n of one prompt's N completions.

    Unbiased for best-of-n with n fresh samples, and of less variance than one draw (Nakano et al. 2021):
    the i-th of the rewards in ascending order is the highest in C(i - 1, n - 1) of the C(N, n) subsets. Among equal
    highest rewards the mean of their gold values counts. n = N gives the gold value of the top reward, n = 1 the mean.

    Args:
        rewards: (N,) rewards of the completions of one prompt.
        gold: (N,) what they are worth by the measure that counts.
        n: 1 to N.

    Raises:
        DataError: shapes differ, there are no completions, or a value is not finite.
        ConfigError: `n` is out of range.
    """
    reward, value = vector("rewards", rewards), vector("gold", gold)
    same_length(rewards=reward, gold=value)
    weights = _top_probabilities(len(reward), whole_number("n", n, 1, len(reward)))
    codes = tied_groups(reward)
    ascending = np.argsort(codes, kind="stable")
    return float(weights @ tied_means(codes, value)[ascending])


def policy_kl(n: int) -> float:
    """KL divergence of best-of-n sampling from the policy it samples, log n - (n - 1)/n, in nats.

    Exact for distinct completions and rewards without ties, an upper bound otherwise (Stiennon et al. 2020; Beirami
    et al. 2024).

    Raises:
        ConfigError: `n` is not a whole number of at least 1.
    """
    size = whole_number("n", n, 1)
    return math.log(size) - (size - 1) / size


def _top_probabilities(total: int, n: int) -> Array:
    """C(i - 1, n - 1) / C(total, n) for i = 1, ..., total, by the ratio of neighbours: no large number occurs."""
    i = np.arange(total, 1, -1, dtype=np.float64)
    ratios = np.maximum(i - n, 0.0) / (i - 1.0)
    return np.cumprod(np.concatenate([[n / total], ratios]))[::-1]
