"""Pieces of the study of docs/evidence.md that are formulas: checked against quadrature and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from studies.evidence.bnrm import FactorHead, factor_terms, weibull_gamma_kl, weibull_moments
from studies.evidence.regimes import with_shortcut

from vrm.core.likelihoods.base import Judgments
from vrm.model.configuration_vrm import VRMConfig


@pytest.mark.parametrize(
    ("shape", "scale", "prior"), [(1.3, 0.7, (0.5, 1.0)), (3.0, 2.0, (2.0, 0.4)), (0.8, 1.0, (1.0, 1.0))]
)
def test_kl_of_weibull_to_gamma_against_quadrature(shape, scale, prior):
    posterior, target = stats.weibull_min(shape, scale=scale), stats.gamma(prior[0], scale=1 / prior[1])
    expected, _ = integrate.quad(
        lambda z: posterior.pdf(z) * (posterior.logpdf(z) - target.logpdf(z)), 0, posterior.ppf(1 - 1e-13), limit=500
    )
    found = weibull_gamma_kl(torch.tensor(shape).double(), torch.tensor(scale).double(), *prior)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_weibull_moments_against_scipy():
    mean, variance = weibull_moments(torch.tensor([0.9, 2.0]), torch.tensor([0.5, 3.0]))
    reference = stats.weibull_min([0.9, 2.0], scale=[0.5, 3.0])
    np.testing.assert_allclose(mean, reference.mean(), rtol=1e-5)
    np.testing.assert_allclose(variance, reference.var(), rtol=1e-4)


def test_factor_head_learns_a_comparison():
    torch.manual_seed(0)
    config = VRMConfig(
        backbone_config={"model_type": "bert", "hidden_size": 8}, head="bottleneck", backbone_kind="encoder"
    )
    head = FactorHead(config, num_factors=4)
    head.reset_parameters()
    completions = torch.randn(64, 2, config.feature_size)
    prompts = torch.zeros(64, config.feature_size)
    preference = (completions[:, 0, 0] > completions[:, 1, 0]).float()
    judgments = Judgments(torch.ones(64, 2, dtype=torch.bool), preference=preference)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        terms = factor_terms(head, head(prompts, completions), judgments)
        loss = (1e-3 * terms.kl_features - terms.comparison).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert bool((head.loading >= 0).all())
    assert bool((head(prompts, completions).features.loc >= 0).all())
    assert np.mean(losses[-10:]) < 0.6 * losses[0]


class _Pairs:
    """Stands for a fold: log lengths of two completions a row."""

    def __init__(self, difference):
        self.longer_first = np.asarray(difference, dtype=float)

    def take(self, rows):
        return _Pairs(self.longer_first[rows])


def test_the_shortcut_keeps_every_pair_the_longer_won():
    generator = np.random.default_rng(0)
    fold = _Pairs(generator.normal(0.3, 1.0, 4000))
    kept = with_shortcut(fold, 0.9, generator)
    assert (kept.longer_first > 0).sum() == (fold.longer_first > 0).sum()
    assert (kept.longer_first > 0).mean() == pytest.approx(0.9, abs=0.002)
