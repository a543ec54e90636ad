"""When a second stage that has a temperature alone should keep it: rules, fitted on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit

STRICT = "gain above its standard error"
RULES = {STRICT: 1.0, "gain above zero": 1.0, "always": 1.0, "always, prior of .3": 0.3}
"""Prior standard deviation of log T of each; the second stage has 1."""


def nll(log_odds: np.ndarray, preference: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(n,) nats."""
    odds = log_odds / temperature
    return -(preference * log_expit(odds) + (1.0 - preference) * log_expit(-odds))


def fitted(log_odds: np.ndarray, preference: np.ndarray, prior: float) -> float:
    """The temperature of the highest posterior density."""

    def loss(log_scale: float) -> float:
        return float(nll(log_odds, preference, float(np.exp(log_scale))).sum()) + 0.5 * (log_scale / prior) ** 2

    found: Any = minimize_scalar(loss, bounds=(-3.0, 4.0), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def by_rule(
    arrays: Mapping[str, np.ndarray], preference: Mapping[str, np.ndarray], trial: Mapping[str, float], test: str
) -> dict[str, dict[str, float]]:
    """Temperature, and mean NLL on the calibration part and on the test fold, of every rule.

    Args:
        arrays: predictions of the means, with those of `held` and `calibration`.
        preference: labels of the same folds.
        trial: of the temperature by the second stage, on the held-out rows.
        test: name of the test fold.
    """
    odds = {fold: np.diff(arrays[f"{fold}:logs"].astype(float))[:, 0] * -1.0 for fold in preference}
    keeps = {STRICT: trial["gain"] > max(trial["standard_error"], 0.0), "gain above zero": trial["gain"] > 0}
    result = {}
    for rule, prior in RULES.items():
        chosen = fitted(odds["held"], preference["held"], prior) if keeps.get(rule, True) else 1.0
        losses = {
            name: float(nll(odds[fold], preference[fold], chosen).mean())
            for name, fold in (("calibration", "calibration"), ("dev", test))
        }
        result[rule] = {"temperature": chosen, **losses}
    return result
