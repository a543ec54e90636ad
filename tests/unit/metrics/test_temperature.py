from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from vrm.errors import DataError
from vrm.metrics import fit_temperature


def _loss(temperature, margins, preference):
    logits = margins / temperature
    return np.mean(np.logaddexp(0.0, logits) - preference * logits)


@pytest.mark.parametrize("scale", [1e-8, 0.05, 1.0, 40.0, 1e7])
@pytest.mark.parametrize("soft", [False, True])
def test_temperature_agrees_with_scipy_at_any_scale(scale, soft):
    rng = np.random.default_rng(5)
    margins = rng.standard_t(3, 500) * 2
    preference = 1 / (1 + np.exp(-margins)) if soft else (rng.random(500) < 1 / (1 + np.exp(-margins))).astype(float)
    reference = minimize_scalar(
        lambda log: _loss(math.exp(log), margins, preference), bounds=(-5, 5), options={"xatol": 1e-10}
    )
    fit = fit_temperature(margins * scale, preference)
    assert fit.temperature == pytest.approx(math.exp(reference.x) * scale, rel=1e-6)
    assert fit.nll == pytest.approx(reference.fun, rel=1e-12)
    assert fit.nll_before == pytest.approx(_loss(1.0, margins * scale, preference))
    assert not fit.at_bound


def test_soft_labels_of_the_model_give_its_own_temperature():
    margins = np.linspace(-4, 6, 101)
    fit = fit_temperature(margins, 1 / (1 + np.exp(-margins / 2.5)))
    assert fit.temperature == pytest.approx(2.5, rel=1e-9)


def test_one_huge_margin_does_not_stop_the_search():
    rng = np.random.default_rng(6)
    margins = rng.normal(size=300)
    preference = (rng.random(300) < 1 / (1 + np.exp(-margins))).astype(float)
    margins[0], preference[0] = 1e4, 1.0
    rest = fit_temperature(margins[1:], preference[1:])
    fit = fit_temperature(margins, preference)
    assert fit.temperature == pytest.approx(rest.temperature, rel=1e-6)


def test_margins_that_order_all_rightly_or_none_end_at_a_bound():
    right = fit_temperature([1.0, -2.0], [1.0, 0.0])
    assert right.at_bound
    assert right.temperature < 1e-5
    assert right.nll == pytest.approx(0.0, abs=1e-12)
    wrong = fit_temperature([1.0, -2.0], [0.0, 1.0])
    assert wrong.at_bound
    assert wrong.temperature > 1e5
    assert wrong.nll == pytest.approx(math.log(2), rel=1e-5)


def test_bounds_are_a_million_times_the_mean_absolute_margin_either_way():
    margins = np.array([1.0, -2.0, 3.0, -94.0])
    assert fit_temperature(margins, margins > 0).temperature == pytest.approx(25e-6)
    assert fit_temperature(margins, margins < 0).temperature == pytest.approx(25e6)


def test_zero_margins_fit_any_temperature():
    fit = fit_temperature([0.0, 0.0], [1.0, 0.0])
    assert (fit.temperature, fit.at_bound) == (1.0, True)
    assert fit.nll == fit.nll_before == pytest.approx(math.log(2))


def test_wrong_input_is_named():
    with pytest.raises(DataError, match="'margin_logits' is empty"):
        fit_temperature([], [])
    with pytest.raises(DataError, match="'margin_logits' 2, 'preference' 1"):
        fit_temperature([1.0, 2.0], [1.0])


def test_margins_next_to_nothing_have_a_temperature_above_zero():
    fit = fit_temperature([1e-320, -1e-320, 1e-320], [1.0, 0.0, 1.0])
    assert 0 < fit.temperature < 1e-300
