"""Best-of-n: what picking the completion of the highest reward among n gains, and how far it moves the policy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vrm.errors import ConfigError, DataError
from vrm.metrics._arrays import Array, Groups, same_length, tied_groups, tied_means, vector, whole_number
from vrm.metrics.intervals import DEFAULT_RESAMPLING, Interval, ResampleOptions, bootstrap_means

ORACLE, RANDOM = "oracle", "random"
"""The lines that every comparison has: picking by the gold value itself, and picking blindly."""

_SAME = 1e-9
"""Gold values closer than this share of their size are one height when the peak of a curve is looked for."""


@dataclass(frozen=True, slots=True)
class BestOfNCurve:
    """One way of picking a completion, for n = 1, ..., N.

    Attributes:
        gold: (N,) expected gold value of the pick, mean over prompts.
        difference: (N,) that minus the baseline's on the same prompts, paired; empty for the baseline itself and
            where there is none.
        proxy: (N,) expected value of the pick by what it is picked by, above the prompt's mean, in standard deviations
            within prompts: it can only rise with n. NaN where nothing tells the completions of any prompt apart.
        regret: the oracle's gold value at N minus this one's, paired, at least 0.
        peak: the smallest n at which `gold` is highest; below N, more optimization does harm.
        fall: gold value at the peak minus that at N, at least 0. The interval takes the peak as given, although it was
            found on the same prompts: small falls are found where there are none.
        all_completions: gold value of the pick from all completions of a prompt, however many it has.
    """

    gold: tuple[Interval, ...]
    difference: tuple[Interval, ...]
    proxy: tuple[float, ...]
    regret: Interval
    peak: int
    fall: Interval
    all_completions: Interval


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Ways of picking a completion compared on the same prompts, the same for every n.

    Attributes:
        rows: lists of completions behind every point of the curves.
        left_out: lists with fewer than N completions, where N was asked for.
        sizes: {number of completions: lists that have so many}, of the lists used.
        n: 1, ..., N.
        policy_kl: (N,) KL divergence from the policy that the completions are samples of, in nats.
        gold_spread: standard deviation of the gold values within prompts, pooled.
        baseline: name of the curve that `difference` refers to, or None.
        curves: by name, `oracle` and `random` included.
    """

    rows: int
    left_out: int
    sizes: dict[int, int]
    n: tuple[int, ...]
    policy_kl: tuple[float, ...]
    gold_spread: float
    baseline: str | None
    curves: dict[str, BestOfNCurve]


def best_of_n_curve(rewards: ArrayLike, gold: ArrayLike, max_n: int | None = None) -> Array:
    """Mean gold value of the completion of highest reward over all subsets of n completions, for n = 1, ..., max_n.

    Unbiased for best-of-n with n fresh samples, and of less variance than one draw (Nakano et al. 2021):
    the i-th of the rewards in ascending order is the highest in C(i - 1, n - 1) of the C(N, n) subsets. Among equal
    highest rewards the mean of their gold values counts. n = N gives the gold value of the top reward, n = 1 the mean.

    Args:
        rewards: (N,) rewards of the completions of one prompt.
        gold: (N,) what they are worth by the measure that counts.
        max_n: 1 to N; None takes N.

    Returns:
        (max_n,) one value for each n.

    Raises:
        DataError: shapes differ, there are no completions, or a value is not finite.
        ConfigError: `max_n` is out of range.
    """
    ascending = gold_by_reward(rewards, gold)
    size = len(ascending)
    curve: Array = _top_table(size, whole_number("max_n", size if max_n is None else max_n, 1, size)) @ ascending
    return curve


def compare_best_of_n(
    rewards: Mapping[str, Sequence[ArrayLike]],
    gold: Sequence[ArrayLike],
    *,
    baseline: str | None = None,
    max_n: int | None = None,
    groups: Iterable[Hashable] | None = None,
    options: ResampleOptions = DEFAULT_RESAMPLING,
) -> BestOfN:
    """Expected gold value of the best of n by several rewards, with the oracle and a random pick beside them.

    The prompts are the same along a curve: by default it ends at the fewest completions that a prompt has; with
    `max_n` it ends there, and prompts with fewer completions are left out of everything and counted. Intervals are
    pointwise, by bootstrap over prompts; the completions of a prompt are taken as given.

    Args:
        rewards: {name: one array of rewards a prompt}, each as long as the prompt's array in `gold`.
        gold: one array of gold values a prompt, any real numbers.
        baseline: name in `rewards` with which the others are compared, pairwise; None compares with nothing.
        max_n: at least 1; None takes the fewest completions of any prompt.
        groups: one label an array of `gold`, equal where the prompt is the same; None takes each as its own prompt.
        options: of the bootstrap.

    Raises:
        DataError: there is no prompt, or none with `max_n` completions; shapes differ or a value is not finite.
        ConfigError: a name is taken or unknown, or a number is out of range.
    """
    values, picks = _checked(rewards, gold, baseline)
    sizes = [len(value) for value in values]
    size = min(sizes) if max_n is None else whole_number("max_n", max_n, 1)
    used = [row for row, count in enumerate(sizes) if count >= size]
    if not used:
        raise DataError(f"No prompt has the {size} completions that 'max_n' asks for; the most is {max(sizes)}.")
    labels = list(range(len(values))) if groups is None else list(groups)
    if len(labels) != len(values):
        raise DataError(f"'groups' must hold one label a prompt, got {len(labels)} labels for {len(values)} prompts.")
    values, labels = [values[row] for row in used], [labels[row] for row in used]
    means = {name: _expected([pick[row] for row in used], values, size) for name, pick in picks.items()}
    against = None if baseline is None else means[baseline]
    return BestOfN(
        rows=len(used),
        left_out=len(sizes) - len(used),
        sizes=dict(sorted(Counter(sizes[row] for row in used).items())),
        n=tuple(range(1, size + 1)),
        policy_kl=tuple(policy_kl(n) for n in range(1, size + 1)),
        gold_spread=_spread(values),
        baseline=baseline,
        curves={
            name: _curve(expected, means[ORACLE], None if name == baseline else against, labels, options)
            for name, expected in means.items()
        },
    )


def policy_kl(n: int) -> float:
    """KL divergence of best-of-n sampling from the policy it samples, log n - (n - 1)/n, in nats.

    Exact for distinct completions and rewards without ties, an upper bound otherwise (Stiennon et al. 2020; Beirami
    et al. 2024).

    Raises:
        ConfigError: `n` is not a whole number of at least 1.
    """
    size = whole_number("n", n, 1)
    return math.log(size) - (size - 1) / size


@dataclass(frozen=True, slots=True)
class _Expected:
    """What one way of picking gives on each row: gold for each n (rows, N), gold from all (rows,), proxy (N,)."""

    gold: Array
    all_completions: Array
    proxy: Array


def _checked(
    rewards: Mapping[str, Sequence[ArrayLike]], gold: Sequence[ArrayLike], baseline: str | None
) -> tuple[list[Array], dict[str, list[Array]]]:
    """Gold values and everything to pick by as arrays, one a prompt; the oracle and the random pick come last."""
    values = [vector(f"gold[{row}]", value) for row, value in enumerate(gold)]
    if not values:
        raise DataError("'gold' is empty; at least one prompt is needed.")
    if baseline is not None and baseline not in rewards:
        raise ConfigError(f"'baseline' must be one of {', '.join(map(repr, rewards)) or 'no rewards'}: {baseline!r}.")
    picks = {}
    for name, given in rewards.items():
        if name in (ORACLE, RANDOM):
            raise ConfigError(f"'rewards' may not be named {name!r}: that line is always there.")
        if len(given) != len(values):
            raise DataError(f"'rewards[{name}]' has {len(given)} prompts, 'gold' has {len(values)}.")
        picks[name] = [vector(f"rewards[{name}][{row}]", reward) for row, reward in enumerate(given)]
        for row, (reward, value) in enumerate(zip(picks[name], values, strict=True)):
            same_length(**{f"rewards[{name}][{row}]": reward, f"gold[{row}]": value})
    return values, picks | {ORACLE: values, RANDOM: [np.zeros(len(value)) for value in values]}


def _expected(rewards: Sequence[Array], gold: Sequence[Array], size: int) -> _Expected:
    """The expectations of one way of picking; the tables of rank probabilities are made once for each size."""
    tables = {count: _top_table(count, size) for count in {len(value) for value in gold}}
    ordered = [gold_by_reward(reward, value) for reward, value in zip(rewards, gold, strict=True)]
    own = [gold_by_reward(reward, reward) - reward.mean() for reward in rewards]
    spread = _spread(rewards)
    proxy = np.mean([tables[len(values)] @ values for values in own], axis=0)
    return _Expected(
        gold=np.stack([tables[len(values)] @ values for values in ordered]),
        all_completions=np.asarray([values[-1] for values in ordered]),
        proxy=proxy / spread if spread > 0.0 else np.full(size, math.nan),
    )


def _curve(
    expected: _Expected, oracle: _Expected, baseline: _Expected | None, labels: Groups, options: ResampleOptions
) -> BestOfNCurve:
    """One curve; everything that gets an interval is resampled side by side."""
    gold, size, peak = expected.gold, expected.gold.shape[1], _peak(expected.gold)
    last = gold[:, -1]
    columns = [expected.all_completions, oracle.gold[:, -1] - last, gold[:, peak - 1] - last, gold]
    if baseline is not None:
        columns.append(gold - baseline.gold)
    everything, regret, fall, *points = bootstrap_means(np.column_stack(columns), labels, options)
    return BestOfNCurve(
        gold=tuple(points[:size]),
        difference=tuple(points[size:]),
        proxy=tuple(expected.proxy.tolist()),
        regret=regret,
        peak=peak,
        fall=fall,
        all_completions=everything,
    )


def _peak(gold: Array) -> int:
    """The smallest n whose mean gold is the highest, what rounding does to it apart."""
    means = gold.mean(axis=0)
    return 1 + int(np.argmax(means >= means.max() - _SAME * abs(gold).max()))


def _spread(values: Sequence[Array]) -> float:
    """Standard deviation within prompts: the root of the mean over prompts of the variance among completions."""
    return math.sqrt(float(np.mean([value.var() for value in values])))


def gold_by_reward(rewards: ArrayLike, gold: ArrayLike) -> Array:
    """Gold values in ascending order of reward, each that of a completion picked at random among equal rewards."""
    reward, value = vector("rewards", rewards), vector("gold", gold)
    same_length(rewards=reward, gold=value)
    codes = tied_groups(reward)
    return tied_means(codes, value)[np.argsort(codes, kind="stable")]


def _top_table(total: int, max_n: int) -> Array:
    """`top_probabilities` for n = 1, ..., max_n as rows, (max_n, total)."""
    return np.stack([top_probabilities(total, n) for n in range(1, max_n + 1)])


def top_probabilities(total: int, n: int) -> Array:
    """(total,) C(i - 1, n - 1) / C(total, n) for i = 1, ..., total: the chance that the i-th smallest is the best of n.

    By the ratio of neighbours, so that no large number occurs.
    """
    i = np.arange(total, 1, -1, dtype=np.float64)
    ratios = np.maximum(i - n, 0.0) / (i - 1.0)
    return np.cumprod(np.concatenate([[n / total], ratios]))[::-1]
