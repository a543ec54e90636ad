"""What both losses find on data drawn from the model; `studies/simulation.py` prints the full tables."""

import math

import pytest
import torch
from planted import Head, Recipe
from simulation import (
    BETA_ONE,
    MARGINAL,
    VARIATIONAL,
    calibration,
    compare_losses,
    fit,
    losses_problem,
    oracle,
    posterior_ranks,
    recover_weights,
    recovery_problem,
    uniformity,
)

from vrm.core.losses import PromptIgnoredWarning, warn_if_prompt_ignored

pytestmark = [pytest.mark.timeout(1200), pytest.mark.heavy]
PROBLEM_SEED = 1


@pytest.mark.parametrize("known", [False, True])
def test_variational_with_beta_one_collapses_and_the_warning_fires(known: bool) -> None:
    problem = losses_problem(PROBLEM_SEED)
    torch.manual_seed(0)
    head = Head("softmax", problem[0].decoder if known else None)
    run = fit("", head, problem, Recipe(VARIATIONAL, BETA_ONE, epochs=12, samples=4), 0)
    # With A known it cannot shrink to zero, and P stays near 1/2 rather than at it.
    assert run.fit.decisiveness < (0.05 if known else 1e-3)
    if not known:
        assert run.fit.nll == pytest.approx(math.log(2), abs=1e-3)
    with pytest.warns(PromptIgnoredWarning):
        assert warn_if_prompt_ignored(run.weight_kl)


def test_marginal_reaches_the_oracle_and_its_total_concentration() -> None:
    problem = losses_problem(PROBLEM_SEED)
    truth = oracle(problem, 0).fit
    torch.manual_seed(0)
    run = fit("", Head("softmax", problem[0].decoder), problem, Recipe(MARGINAL, epochs=12, samples=16), 0)
    assert run.fit.accuracy > truth.accuracy - 0.01
    assert run.fit.total == pytest.approx(truth.total, rel=0.2)
    assert not warn_if_prompt_ignored(run.weight_kl)


def test_ratings_fix_the_decoder_and_the_weights_are_recovered() -> None:
    problem = recovery_problem(PROBLEM_SEED)
    torch.manual_seed(0)
    run = fit("", Head("linear"), problem, Recipe(MARGINAL, epochs=6, samples=8, rate=0.05), 0)
    assert run.fit.distance < 0.05
    assert run.fit.accuracy > oracle(problem, 0).fit.accuracy - 0.01


@pytest.mark.parametrize("rated", [False, True])
def test_posterior_weights_are_calibrated(rated: bool) -> None:
    values = {name: uniformity(ranks) for name, ranks in posterior_ranks(0, rated).items()}
    assert min(values.values()) > 0.01 / len(values), values


def test_the_calibration_test_can_fail() -> None:
    wrong_total = posterior_ranks(0, rated=False, total_factor=2.0)
    assert max(uniformity(ranks) for name, ranks in wrong_total.items() if name.startswith("w_")) < 1e-6
    ignored = posterior_ranks(0, rated=False, ignore_judgment=True)
    assert uniformity(ignored["likelihood"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_losses_on_every_seed(seed: int) -> None:
    truth, collapsed, known, few, some, many = compare_losses(seed)
    assert collapsed.fit.decisiveness < 1e-3
    assert known.fit.decisiveness < 0.05
    for run in (few, some, many):
        assert run.fit.accuracy > truth.fit.accuracy - 0.01
    for run in (some, many):
        assert run.fit.total == pytest.approx(truth.fit.total, rel=0.2)
    # Four draws leave too much of the bias of a log of a mean: docs/theory.md.
    assert few.fit.total > many.fit.total


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_weights_on_every_seed(seed: int) -> None:
    truth, linear, mlp = recover_weights(seed)
    assert linear.fit.distance < 0.05
    assert mlp.fit.distance < 0.1
    assert linear.fit.accuracy > truth.fit.accuracy - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_calibration_on_more_seeds(seed: int) -> None:
    table = calibration(seed)
    for setting in ("label", "label and ratings"):
        assert min(table[setting].values()) > 0.01 / len(table[setting])
