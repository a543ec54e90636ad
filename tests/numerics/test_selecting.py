"""Choosing labels, docs/evidence.md: its formulas against quadrature, an optimizer and brute force, and a toy run."""

from __future__ import annotations

import json
import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from studies.evidence import selecting
from studies.evidence.acquisition import METHODS, State, core_set, informative, spread_rows, targeted
from studies.evidence.logistic import fit_logistic, information
from studies.evidence.pools import pool_of, toy_source
from studies.evidence.savings import labels_needed, saved


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    labels = (inputs @ torch.tensor([2.0, -1.0, 0.5, 0.0, 1.0]).double() > 0).double()
    labels[:6] = 0.5
    return inputs, labels


@pytest.fixture
def state(data):
    inputs, labels = data
    chosen = np.arange(12)
    posterior = fit_logistic(inputs[chosen], labels[chosen], (5,))
    return State(inputs, np.arange(60) % 20, chosen, labels[chosen], posterior, np.random.default_rng(0))


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 4.0), (1.5, 0.3), (-3.0, 9.0)])
def test_information_against_quadrature(mean, variance):
    margin = stats.norm(mean, variance**0.5)

    def average(function):
        return integrate.quad(lambda u: margin.pdf(u) * function(u), *margin.interval(1 - 1e-12), limit=300)[0]

    def p(u):
        return 1 / (1 + np.exp(-u))

    expected = stats.entropy([average(p), 1 - average(p)]) - average(lambda u: stats.entropy([p(u), 1 - p(u)]))
    found = information(torch.tensor([mean]).double(), torch.tensor([variance]).double())
    assert float(found) == pytest.approx(expected, abs=2e-4)


def test_no_doubt_about_parameters_is_nothing_to_learn():
    assert float(information(torch.zeros(1).double(), torch.zeros(1).double())) == pytest.approx(0.0, abs=1e-12)


def test_greedy_batch_has_the_gains_of_the_log_determinant(state):
    rows = state.open_rows
    mean, variance = state.posterior.moments(state.inputs[rows])
    precision = (torch.expm1(2 * information(mean, variance)) / variance).numpy()
    covariance = state.posterior.theta.factor @ state.posterior.theta.factor.T
    kernel = (state.inputs[rows] @ covariance @ state.inputs[rows].T).numpy()

    def value(batch):
        root = np.sqrt(precision[batch])
        return 0.5 * np.linalg.slogdet(np.eye(len(batch)) + root[:, None] * kernel[np.ix_(batch, batch)] * root)[1]

    picked: list[int] = []
    for _ in range(4):
        used = {state.prompts[rows[index]] for index in picked}
        free = [index for index in range(len(rows)) if state.prompts[rows[index]] not in used]
        picked.append(max(free, key=lambda index: value([*picked, index])))
    np.testing.assert_array_equal(informative(state, 4), rows[picked])
    gains = information(mean, variance).numpy()
    assert value([3]) == pytest.approx(gains[3])
    # Two pairs tell at most what they tell apart.
    assert all(value(list(two)) <= gains[list(two)].sum() + 1e-9 for two in combinations(range(5), 2))


def test_targeted_lowers_expected_loss_as_if_refitted(state):
    rows = state.open_rows
    mean, variance = state.posterior.moments(state.inputs[rows])
    p = torch.sigmoid(mean / (1 + np.pi / 8 * variance).sqrt())
    weights = p * (1 - p)
    hessian = torch.linalg.inv(state.posterior.theta.factor @ state.posterior.theta.factor.T)

    def cost(batch):
        added = state.inputs[rows[batch]]
        kept = hessian + added.T @ (added * weights[batch].unsqueeze(-1))
        left = (state.inputs[rows] @ torch.linalg.inv(kept) * state.inputs[rows]).sum(-1)
        return float((weights * left).sum())

    picked: list[int] = []
    for _ in range(4):
        used = {state.prompts[rows[index]] for index in picked}
        free = [index for index in range(len(rows)) if state.prompts[rows[index]] not in used]
        picked.append(min(free, key=lambda index: cost([*picked, index])))
    np.testing.assert_array_equal(targeted(state, 4), rows[picked])


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_new_and_does_not_depend_on_which_side_was_chosen(method, state):
    flipped = state.inputs.clone()
    flipped[20:40] *= -1
    mirrored = State(flipped, state.prompts, state.chosen, state.labels, state.posterior, np.random.default_rng(0))
    picked = METHODS[method](state, 7)
    assert len(set(picked) - set(state.chosen)) == 7
    np.testing.assert_array_equal(METHODS[method](mirrored, 7), picked)


@pytest.mark.parametrize(("count", "most"), [(10, 1), (30, 2), (48, 3)])
def test_quota_is_as_small_as_fills_the_batch(count, most, state):
    for method in (spread_rows, informative, targeted):
        picked = method(state, count)
        assert len(picked) == count
        assert np.bincount(state.prompts[picked]).max() == most


def test_core_set_takes_the_furthest(state):
    (picked,) = core_set(state, 1)
    inputs = state.inputs.numpy()

    def distance(row):
        return min(np.linalg.norm(inputs[row] - sign * inputs[other]) for other in state.chosen for sign in (-1, 1))

    assert picked == max(state.open_rows, key=distance)


def test_labels_saved_at_equal_loss():
    budgets = np.array([50, 100, 200, 400, 800])
    random = np.array([0.7, 0.6, 0.5, 0.4, 0.3])
    assert labels_needed(budgets, random, 0.5) == pytest.approx(200)
    assert labels_needed(budgets, random, 0.45) == pytest.approx(200 * 2**0.5)
    assert labels_needed(budgets, random, 0.1) == pytest.approx(800)
    # A curve that is everywhere half as many labels ahead saves half.
    assert saved(budgets, random, np.array([0.6, 0.5, 0.4, 0.3, 0.2]), 200) == pytest.approx(0.5)
    assert saved(budgets, random, random, 200) == pytest.approx(0.0)
    assert saved(budgets, random, np.array([0.8, 0.7, 0.6, 0.5, 0.4]), 200) == pytest.approx(-1.0)


def test_what_is_bought_and_held_out_share_no_prompt():
    source = toy_source("toy", 0)
    for pilot in (False, True):
        pool = pool_of(source, 3, pilot)
        sets = [set(fold.groups) for fold in (pool.rows, pool.held, pool.test)]
        assert all(not first & second for first, second in combinations(sets, 2))
        assert all(row.judgments is None and row.preference in (0.0, 0.5, 1.0) for row in pool.rows.judgments)


def test_toy_run_is_resumed_and_tabled(monkeypatch, tmp_path, capsys):
    def run(*options: str) -> str:
        shared = ["--output", str(tmp_path / "out"), "--quick", "--seeds", "0", "1"]
        methods = ["--methods", "random", "information"]
        monkeypatch.setattr(sys, "argv", ["selecting", str(tmp_path), *shared, *methods, *options])
        selecting.main()
        return capsys.readouterr().out

    assert len(run("--stage", "choose").splitlines()) == 8
    assert run("--stage", "choose") == ""
    out = run("--stage", "tables", "--json", str(tmp_path / "figures.json"))
    assert "| information |" in out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["toy, bayes"]["information"]["seeds"] == 2
    assert figures["toy, bayes"]["random"]["savings"] == {"150": 0.0}
    assert figures["toy, gated, again"]["each-2"]["budgets"] == [200]
