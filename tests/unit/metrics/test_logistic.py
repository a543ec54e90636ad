from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from vrm.errors import DataError
from vrm.metrics import fit_logistic, style_control


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    differences = rng.normal(size=(400, 3)) * [1.0, 20.0, 0.05]
    log_odds = differences @ [0.8, -0.03, 9.0]
    return differences, (rng.random(400) < 1 / (1 + np.exp(-log_odds))) * 1.0


def test_coefficients_are_those_of_scikit_learn(rows):
    differences, preferred = rows
    fit = fit_logistic(differences, preferred)
    scale = np.sqrt((differences**2).mean(0))
    other = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10).fit(differences / scale, preferred)
    np.testing.assert_allclose(fit.coefficients, other.coef_[0] / scale, rtol=1e-4)
    np.testing.assert_allclose(fit.scale, scale)
    np.testing.assert_allclose(fit.log_odds(differences), other.decision_function(differences / scale), rtol=1e-3)


def test_soft_labels_count_as_shares_of_both(rows, monkeypatch):
    differences, preferred = rows
    soft = fit_logistic(differences, np.where(preferred == 1.0, 0.75, 0.25))
    monkeypatch.setattr(style_control, "RIDGE", 4.0)
    doubled = fit_logistic(
        np.tile(differences, (4, 1)), np.concatenate([preferred, preferred, preferred, 1 - preferred])
    )
    np.testing.assert_allclose(soft.coefficients, doubled.coefficients, rtol=1e-6)


def test_swapping_sides_changes_nothing(rows):
    differences, preferred = rows
    sign = np.where(np.arange(400) % 3 == 0, -1.0, 1.0)
    swapped = fit_logistic(differences * sign[:, None], np.where(sign > 0, preferred, 1 - preferred))
    np.testing.assert_allclose(swapped.coefficients, fit_logistic(differences, preferred).coefficients, rtol=1e-9)
    np.testing.assert_allclose(swapped.standard_errors, fit_logistic(differences, preferred).standard_errors)


def test_standard_errors_are_the_spread_of_estimates():
    rng = np.random.default_rng(5)
    estimates, errors, naive = [], [], []
    for _ in range(150):
        # Pairs come four of a prompt, with the same regressor and, mostly, the same label.
        x = np.repeat(rng.normal(size=80), 4)
        label = np.repeat(rng.random(80) < 1 / (1 + np.exp(-x[::4])), 4) * 1.0
        fit = fit_logistic(x[:, None], label, np.repeat(np.arange(80), 4))
        estimates.append(fit.coefficients[0])
        errors.append(fit.standard_errors[0])
        naive.append(fit_logistic(x[:, None], label).standard_errors[0])
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.15)
    assert np.mean(naive) < 0.6 * np.std(estimates)


def test_separable_data_stay_finite():
    fit = fit_logistic([[1.0], [2.0], [-3.0]], [1.0, 1.0, 0.0])
    assert 0 < fit.coefficients[0] < 10
    assert math.isnan(fit_logistic([[1.0], [2.0]], [1.0, 0.0], ["p", "p"]).standard_errors[0])


def test_a_regressor_that_is_always_zero_has_no_effect():
    fit = fit_logistic([[1.0, 0.0], [-2.0, 0.0], [0.5, 0.0]], [1.0, 0.0, 0.0])
    assert fit.coefficients[1] == 0.0
    assert fit.scale[1] == 1.0


def test_what_is_not_allowed():
    with pytest.raises(DataError, match="same number of rows"):
        fit_logistic([[1.0], [2.0]], [1.0])
