"""One temperature for all margins: the smallest repair of probabilities that are too sure or not sure enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vrm.metrics._arrays import Array, probabilities, same_length, vector

RANGE = 1e6
"""Temperatures are searched within this factor of the mean absolute margin, either way."""

_MAX_STEPS = 200


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """The temperature that makes sigma(margin / T) fit best.

    Attributes:
        temperature: T > 0; above 1 where the margins were too sure.
        nll: mean negative log-likelihood at T, in nats.
        nll_before: the same at T = 1.
        at_bound: no optimum was found within `RANGE`: the margins order all pairs rightly (T would be 0), or no better
            than chance (T would be infinite), or are all 0 (any T does, 1 is given).
    """

    temperature: float
    nll: float
    nll_before: float
    at_bound: bool


def fit_temperature(margin_logits: ArrayLike, preference: ArrayLike) -> TemperatureFit:
    """Temperature that minimizes the negative log-likelihood of sigma(margin / T) (Guo et al. 2017).

    The loss is convex in 1 / T; its derivative's root is found by Newton steps kept inside a shrinking bracket.

    Args:
        margin_logits: (n,) margins on the scale of log-odds.
        preference: (n,) in [0, 1], soft labels.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    margin, wanted = vector("margin_logits", margin_logits), probabilities("preference", preference)
    same_length(margin_logits=margin, preference=wanted)
    before = _nll(margin, wanted)
    scale = float(abs(margin).max())
    if scale == 0.0:
        return TemperatureFit(1.0, before, before, at_bound=True)
    unit = margin / scale
    spread = float(abs(unit).mean())
    inverse, at_bound = _optimal_inverse(unit, wanted, 1.0 / (spread * RANGE), RANGE / spread)
    # Margins next to nothing would need a temperature that no number stands for.
    temperature = max(scale / inverse, float(np.finfo(np.float64).tiny))
    return TemperatureFit(temperature, _nll(unit * inverse, wanted), before, at_bound)


def _optimal_inverse(margin: Array, preference: Array, low: float, high: float) -> tuple[float, bool]:
    """The root in [low, high] of the loss's derivative by 1 / T, or the bound beyond which it lies."""
    if _derivatives(margin, preference, low)[0] >= 0.0:
        return low, True
    if _derivatives(margin, preference, high)[0] <= 0.0:
        return high, True
    point = float(np.sqrt(low * high))
    for _ in range(_MAX_STEPS):
        slope, curvature = _derivatives(margin, preference, point)
        if slope == 0.0:
            break
        low, high = (point, high) if slope < 0.0 else (low, point)
        step = point - slope / curvature if curvature > 0.0 else low
        # The geometric middle, since the bracket spans many orders of magnitude.
        following = step if low < step < high else float(np.sqrt(low * high))
        converged = abs(following - point) <= 1e-13 * point
        point = following
        if converged:
            break
    return point, False


def _derivatives(margin: Array, preference: Array, inverse: float) -> tuple[float, float]:
    probability = 0.5 * (1.0 + np.tanh(0.5 * inverse * margin))
    slope = np.mean(margin * (probability - preference))
    return float(slope), float(np.mean(margin**2 * probability * (1.0 - probability)))


def _nll(logits: Array, preference: Array) -> float:
    # log(1 + e^u) - p u in the form that neither overflows nor cancels.
    first, second = np.logaddexp(0.0, -logits), np.logaddexp(0.0, logits)
    return float(np.mean(preference * first + (1.0 - preference) * second))
