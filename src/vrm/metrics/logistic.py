"""Logistic regression of which side is preferred on antisymmetric regressors, with errors by cluster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy.special import expit

from vrm.errors import ConfigError
from vrm.metrics._arrays import Array, Groups, group_codes, matrix, probabilities, same_length


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


def fit_logistic(
    differences: ArrayLike,
    preference: ArrayLike,
    groups: Groups = None,
    ridge: float = 1.0,
) -> LogisticFit:
    """Logistic regression without intercept: swapping the sides of a row changes nothing.

    Which completion comes first is arbitrary, so there is no intercept, and regressors are scaled but not centred. The
    penalty ridge / 2 times the sum of squared effects per root mean square keeps separable data finite; it is worth one
    observation or so. Standard errors are the sandwich estimator summed over groups (Liang and Zeger 1986).

    Args:
        differences: (n, M) first side minus second.
        preference: (n,) in [0, 1].
        groups: n labels, such as prompts; None takes each row as a group.
        ridge: above 0.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
        ConfigError: `ridge` is not above 0.
    """
    given, wanted = matrix("differences", differences), probabilities("preference", preference)
    same_length(differences=given, preference=wanted)
    scale = np.sqrt(np.mean(given**2, axis=0))
    scale[scale == 0.0] = 1.0
    rows = given / scale
    beta = _minimum(rows, wanted, ridge)
    fitted = expit(rows @ beta)
    information = _information(rows, fitted, ridge)
    codes = group_codes(groups, len(rows))
    residuals = rows * (wanted - fitted)[:, None]
    by_group = np.stack([np.bincount(codes, weights=column) for column in residuals.T], axis=1)
    inverse = np.linalg.inv(information)
    variance = np.diag(inverse @ (by_group.T @ by_group) @ inverse)
    errors = np.sqrt(variance) / scale if len(by_group) > 1 else np.full(len(scale), np.nan)
    return LogisticFit(tuple((beta / scale).tolist()), tuple(errors.tolist()), tuple(scale.tolist()), len(rows))


def _information(rows: Array, fitted: Array, ridge: float) -> Array:
    weights = fitted * (1.0 - fitted)
    return (rows * weights[:, None]).T @ rows + ridge * np.eye(rows.shape[1])


def _minimum(rows: Array, wanted: Array, ridge: float) -> Array:
    """The coefficients (M,) of least penalized log loss: the root of its gradient, one since it is strictly convex."""
    if not ridge > 0.0:
        raise ConfigError(f"'ridge' must be above 0, got {ridge!r}.")

    def gradient(beta: Array) -> Array:
        return rows.T @ (expit(rows @ beta) - wanted) + ridge * beta

    def curvature(beta: Array) -> Array:
        return _information(rows, expit(rows @ beta), ridge)

    # The gradient still tells coefficients apart where the loss itself is flat to the last digit.
    root = scipy.optimize.root(gradient, np.zeros(rows.shape[1]), jac=curvature, tol=1e-12)
    return np.asarray(root.x, dtype=np.float64)
