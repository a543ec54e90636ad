"""Accuracy that style alone cannot raise: style-controlled accuracy, and what style explains beside the reward.

LMArena's style control (Li, Angelopoulos and Chiang 2024) adds differences of style measures as regressors to a
Bradley-Terry model. The same regression, without a reward, says here how probable it is from style alone that a pair's
first completion is preferred. Pairs are then weighted so that style tells nothing about the label any more: with
overlap weights (Li, Morgan and Zaslavsky 2018), the probability that style gives to the side that was not preferred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy.special import expit

from vrm.errors import DataError
from vrm.metrics._arrays import Array, Groups, group_codes, matrix, probabilities, same_length, vector
from vrm.metrics.accuracy import Accuracy, pairwise_accuracy, pairwise_hits, preferred_sign
from vrm.metrics.intervals import DEFAULT_RESAMPLING, Interval, ResampleOptions, bootstrap_totals
from vrm.metrics.shares import widened

RIDGE = 1.0
"""Penalty of `fit_logistic`."""


@dataclass(frozen=True, slots=True)
class WeightedAccuracy:
    """A weighted mean of hits.

    Attributes:
        value: in [0, 1]; NaN without a pair of positive weight.
        count: pairs.
        weight: sum of their weights, at most `count`.
    """

    value: float
    count: int
    weight: float


@dataclass(frozen=True, slots=True)
class StyleControlledAccuracy:
    """Accuracy that knowing both completions' style cannot raise; see `style_controlled_accuracy`.

    Attributes:
        accuracy: the mean of `style_right.value` and `style_wrong.value` with its interval; NaN if one has no pairs.
        style_right: weighted accuracy where the preferred completion is the one that style alone prefers.
        style_wrong: weighted accuracy where it is the other one.
        style_wins: plain accuracy of the style-only model, cross-fitted; equal styles count 1/2.
        equal_style: pairs left out because style prefers neither side.
        ties: pairs left out because their preference is 0.5.
        reason: why `accuracy` is NaN; None if it is not.
    """

    accuracy: Interval
    style_right: WeightedAccuracy
    style_wrong: WeightedAccuracy
    style_wins: Accuracy
    equal_style: int
    ties: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StyleEffect:
    """What a typical difference (root mean square) in one style measure adds to the log-odds of being preferred.

    Attributes:
        name: of the measure.
        alone: in a model of style alone: what judges seem to like.
        alone_error: its standard error, by groups.
        beside_margin: beside the reward margin: above 0, judges like it more than the reward does; below 0, the reward
            likes it more than judges do.
        beside_margin_error: its standard error, by groups.
    """

    name: str
    alone: float
    alone_error: float
    beside_margin: float
    beside_margin_error: float


@dataclass(frozen=True, slots=True)
class StyleRegression:
    """Logistic regression of the label on the margin and on style differences.

    Attributes:
        margin: coefficient of the margin: log-odds of the label for one unit of reward, at equal style.
        margin_error: its standard error, by groups.
        effects: of the measures that differ in some pair.
        count: pairs, ties left out.
    """

    margin: float
    margin_error: float
    effects: tuple[StyleEffect, ...]
    count: int


def style_log_odds(differences: ArrayLike, preference: ArrayLike, groups: Groups = None, *, seed: int = 0) -> Array:
    """Log-odds from style alone that the first completion is preferred, (n,), each pair judged by a model of others.

    Cross-fitted: prompts are dealt into five folds, or fewer if there are fewer groups. A fold's pairs are judged by
    the logistic regression (`fit_logistic`) of the other folds' decided pairs. Swapping the sides of a pair changes its
    sign and nothing else. All are 0 where there is nothing to learn from, as with a single prompt.

    Args:
        differences: (n, M) style measures of the first completion minus those of the second.
        preference: (n,) in [0, 1]; ties (0.5) are not learned from but judged.
        groups: n labels, such as prompts, each in one fold; None takes each pair as a group.
        seed: deals groups into folds.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    given, wanted = matrix("differences", differences), probabilities("preference", preference)
    same_length(differences=given, preference=wanted)
    codes = group_codes(groups, len(given))
    size = int(codes.max()) + 1
    count = min(5, size)
    fold = (np.random.default_rng(seed).permutation(size) % count)[codes]
    decided = wanted != 0.5
    log_odds = np.zeros(len(given))
    for index in range(count):
        learned, judged = decided & (fold != index), fold == index
        if learned.any() and judged.any():
            log_odds[judged] = fit_logistic(given[learned], (wanted[learned] > 0.5) * 1.0).log_odds(given[judged])
    return log_odds


def overlap_weights(log_odds: ArrayLike, preference: ArrayLike) -> Array:
    """Probability that style gives to the side that was not preferred, (n,) in [0, 1]; 1/2 at ties.

    Where style has the probability p for the first side, pairs whose first side is preferred weigh 1 - p and the others
    p: altogether p (1 - p) each. So no rule that reads nothing but style is right more often than wrong, and what style
    leaves open counts most.

    Args:
        log_odds: (n,) from `style_log_odds`.
        preference: (n,) in [0, 1].

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    odds, wanted = vector("log_odds", log_odds), probabilities("preference", preference)
    same_length(log_odds=odds, preference=wanted)
    return np.asarray(expit(-np.sign(wanted - 0.5) * odds))


def style_controlled_accuracy(
    margins: ArrayLike,
    preference: ArrayLike,
    log_odds: ArrayLike,
    groups: Groups = None,
    options: ResampleOptions = DEFAULT_RESAMPLING,
) -> StyleControlledAccuracy:
    """Mean of the weighted accuracies where style alone is right and where it is wrong.

    Within both, pairs have `overlap_weights`; then both have the same say, however well the style-only model is
    calibrated. So the style-only model itself scores exactly 1/2, and any other rule that reads style alone 1/2 on
    average. It generalizes `length_controlled_accuracy`, which knows one measure and has no weights within the sides.

    Args:
        margins: (n,) reward of the first completion minus that of the second.
        preference: (n,) in [0, 1]; ties (0.5) are left out and counted.
        log_odds: (n,) from `style_log_odds`; pairs with 0, which style cannot tell apart, are left out and counted.
        groups: n labels, such as prompts, for the interval; None takes each pair as a group.
        options: of the bootstrap; weights are not fitted anew.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    hits, wanted = pairwise_hits(margins, preference), probabilities("preference", preference)
    weights = overlap_weights(log_odds, wanted)
    same_length(margins=hits, log_odds=weights)
    sides = preferred_sign(wanted, vector("log_odds", log_odds))
    ties = np.isnan(hits)
    right, wrong = (_weighted(hits[sides == side], weights[sides == side]) for side in (1.0, -1.0))
    missing = [name for name, part in (("right", right), ("wrong", wrong)) if math.isnan(part.value)]
    interval = balanced_mean_interval(np.where(ties, 0.0, hits), sides, weights, groups, options)
    sizes = right.count, wrong.count
    return StyleControlledAccuracy(
        # Of as many rows as the mean of two shares is worth.
        widened(interval, 4.0 * sizes[0] * sizes[1] / max(sum(sizes), 1)),
        style_right=right,
        style_wrong=wrong,
        style_wins=pairwise_accuracy(log_odds, wanted),
        equal_style=int((~ties & (sides == 0.0)).sum()),
        ties=int(ties.sum()),
        reason=f"no pair where style alone is {' or '.join(missing)}" if missing else None,
    )


def balanced_mean_interval(
    values: ArrayLike,
    sides: ArrayLike,
    weights: ArrayLike | None = None,
    groups: Groups = None,
    options: ResampleOptions = DEFAULT_RESAMPLING,
) -> Interval:
    """Mean of the weighted means on both sides with its bootstrap interval; NaN if a side has no weight.

    Args:
        values: (n,) such as hits, or differences of two models' hits.
        sides: (n,) above 0 on one side, below 0 on the other; rows with 0 are left out.
        weights: (n,) at least 0; None for 1.
        groups: n labels, such as prompts; None takes each row as a group.
        options: of the bootstrap.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite.
    """
    value, side = vector("values", values), vector("sides", sides)
    weight = np.ones(len(value)) if weights is None else vector("weights", weights)
    same_length(values=value, sides=side, weights=weight)
    on_one, on_other = weight * (side > 0), weight * (side < 0)
    return bootstrap_totals(
        np.stack([on_one * value, on_one, on_other * value, on_other], axis=1),
        lambda totals: (totals[:, :1] / totals[:, 1:2] + totals[:, 2:3] / totals[:, 3:]) / 2.0,
        groups,
        options,
    )[0]


def style_regression(
    margins: ArrayLike,
    preference: ArrayLike,
    differences: ArrayLike,
    names: Sequence[str],
    groups: Groups = None,
) -> StyleRegression | None:
    """Logistic regression of which side is preferred on the margin and style differences, and on style alone.

    Args:
        margins: (n,) reward of the first completion minus that of the second.
        preference: (n,) in [0, 1]; ties (0.5) are left out.
        differences: (n, M) style measures of the first completion minus those of the second.
        names: of the M measures.
        groups: n labels, such as prompts, for standard errors; None takes each pair as a group.

    Returns:
        None if there is no decided pair.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    margin, wanted = vector("margins", margins), probabilities("preference", preference)
    given = matrix("differences", differences)
    same_length(margins=margin, preference=wanted, differences=given)
    if len(names) != given.shape[1]:
        raise DataError(f"'names' must name the {given.shape[1]} columns of 'differences', got {len(names)} names.")
    decided, used = wanted != 0.5, (given != 0.0).any(axis=0)
    if not decided.any():
        return None
    codes = group_codes(groups, len(given))[decided]
    style, label = given[decided][:, used], (wanted[decided] > 0.5) * 1.0
    alone = fit_logistic(style, label, codes) if used.any() else None
    beside = fit_logistic(np.column_stack([margin[decided], style]), label, codes)
    listed = [name for name, seen in zip(names, used, strict=True) if seen]
    effects = () if alone is None else tuple(_effect(name, k, alone, beside) for k, name in enumerate(listed))
    return StyleRegression(beside.coefficients[0], beside.standard_errors[0], effects, beside.count)


def _effect(name: str, column: int, alone: LogisticFit, beside: LogisticFit) -> StyleEffect:
    scale = alone.scale[column]
    places = (alone, column), (beside, column + 1)
    values = [scale * of[place] for fit, place in places for of in (fit.coefficients, fit.standard_errors)]
    return StyleEffect(name, *values)


def _weighted(hits: Array, weights: Array) -> WeightedAccuracy:
    total = float(weights.sum())
    return WeightedAccuracy(float(hits @ weights) / total if total else math.nan, len(hits), total)


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A fitted regression: log-odds that the first side is preferred = differences . coefficients.

    Attributes:
        coefficients: (M,) per unit of each regressor.
        standard_errors: (M,) robust to rows of one group depending on each other; NaN with fewer than two groups.
        scale: (M,) root mean square of each regressor; a coefficient times it is the effect of a typical difference.
        count: rows.
    """

    coefficients: tuple[float, ...]
    standard_errors: tuple[float, ...]
    scale: tuple[float, ...]
    count: int

    def log_odds(self, differences: ArrayLike) -> Array:
        """(n,) predicted log-odds that the first side is preferred, for differences (n, M)."""
        return matrix("differences", differences) @ np.asarray(self.coefficients)


def fit_logistic(differences: ArrayLike, preference: ArrayLike, groups: Groups = None) -> LogisticFit:
    """Logistic regression without intercept: swapping the sides of a row changes nothing.

    Which completion comes first is arbitrary, so there is no intercept, and regressors are scaled but not centred. The
    penalty `RIDGE` / 2 times the sum of squared effects per root mean square keeps separable data finite; it is worth
    one observation or so. Standard errors are the sandwich estimator summed over groups (Liang and Zeger 1986).

    Args:
        differences: (n, M) first side minus second.
        preference: (n,) in [0, 1].
        groups: n labels, such as prompts; None takes each row as a group.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    given, wanted = matrix("differences", differences), probabilities("preference", preference)
    same_length(differences=given, preference=wanted)
    scale = np.sqrt(np.mean(given**2, axis=0))
    scale[scale == 0.0] = 1.0
    rows = given / scale
    beta = _minimum(rows, wanted)
    fitted = expit(rows @ beta)
    information = _information(rows, fitted)
    codes = group_codes(groups, len(rows))
    residuals = rows * (wanted - fitted)[:, None]
    by_group = np.stack([np.bincount(codes, weights=column) for column in residuals.T], axis=1)
    inverse = np.linalg.inv(information)
    variance = np.diag(inverse @ (by_group.T @ by_group) @ inverse)
    errors = np.sqrt(variance) / scale if len(by_group) > 1 else np.full(len(scale), np.nan)
    return LogisticFit(tuple((beta / scale).tolist()), tuple(errors.tolist()), tuple(scale.tolist()), len(rows))


def _information(rows: Array, fitted: Array) -> Array:
    weights = fitted * (1.0 - fitted)
    return (rows * weights[:, None]).T @ rows + RIDGE * np.eye(rows.shape[1])


def _minimum(rows: Array, wanted: Array) -> Array:
    """The coefficients (M,) of least penalized log loss: the root of its gradient, one since it is strictly convex."""

    def gradient(beta: Array) -> Array:
        return rows.T @ (expit(rows @ beta) - wanted) + RIDGE * beta

    def curvature(beta: Array) -> Array:
        return _information(rows, expit(rows @ beta))

    # The gradient still tells coefficients apart where the loss itself is flat to the last digit.
    root = scipy.optimize.root(gradient, np.zeros(rows.shape[1]), jac=curvature, tol=1e-12)
    return np.asarray(root.x, dtype=np.float64)
