"""The certificate (18): its inverse against a root finder, its error against sampling, and whether the bound holds."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.optimize import brentq
from scipy.special import gammaln, xlogy
from scipy.stats import binom, multivariate_normal
from torch import Tensor

from vrm.core.certificate import (
    PRIOR_SCALES,
    GaussianDecoder,
    RankedPairs,
    bernoulli_kl,
    certify,
    decoder_kl,
    drawn_pairs,
    fit_posterior,
    gibbs_error,
    held_out_bound,
    kl_upper_inverse,
    mean_pairs,
    pac_bayes_bound,
)
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors
from vrm.core.predictive import fixed_weight_draws, margin_moments

RATES = [0.0, 1e-6, 0.03, 0.3, 0.5, 0.9, 1.0]
ROOMS = [1e-5, 1e-3, 0.05, 0.7, 5.0]


def coins(q: float, p: float) -> float:
    return float(xlogy(q, q / p) + xlogy(1 - q, (1 - q) / (1 - p)))


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("room", ROOMS)
def test_the_inverse_is_a_root(rate: float, room: float) -> None:
    end = 1 - 1e-15
    inside = rate == 1.0 or coins(rate, end) < room
    largest = 1.0 if inside else brentq(lambda p: coins(rate, p) - room, max(rate, 1e-300), end, xtol=1e-15)
    assert float(kl_upper_inverse(number(rate), number(room))) == pytest.approx(largest, abs=1e-9)


def test_the_kl_of_coins_is_scipys() -> None:
    q, p = torch.meshgrid(torch.tensor(RATES).double(), torch.tensor([1e-9, 0.2, 0.7]).double(), indexing="ij")
    expected = [[coins(a, b) for b in p[0].tolist()] for a in q[:, 0].tolist()]
    torch.testing.assert_close(bernoulli_kl(q, p), torch.tensor(expected).double())


def test_gradients_flow_through_the_inverse() -> None:
    inputs = number(0.3).requires_grad_(), number(0.02).requires_grad_()
    assert torch.autograd.gradcheck(kl_upper_inverse, inputs)


@pytest.mark.parametrize("count", [*range(1, 12), 100, 2_000])
def test_maurers_constant_is_an_upper_bound_for_every_number_of_prompts(count: int) -> None:
    """E exp(n kl) of n coins is sum_k C(n, k) (k / n)^k (1 - k / n)^(n - k), whatever their mean."""
    heads = torch.arange(count + 1).double().numpy()
    share = heads / count
    logs = gammaln(count + 1) - gammaln(heads + 1) - gammaln(count - heads + 1)
    moment = sum(map(math.exp, logs + xlogy(heads, share) + xlogy(count - heads, 1 - share)))
    assert math.sqrt(count) <= moment <= 2 * math.sqrt(count)


def test_chernoff_is_never_below_the_exact_binomial_bound() -> None:
    """Of the number of wrong prompts: Clopper and Pearson's bound is exact for coins, and Chernoff's close to it."""
    for wrong, count in ((0, 50), (20, 60), (300, 800)):
        exact = brentq(lambda p, k=wrong, n=count: binom.cdf(k, n, p) - 0.05, 1e-9, 1 - 1e-9)
        bound = float(held_out_bound(number(wrong / count), count, 0.05))
        assert exact <= bound <= exact + 0.05


def random_pairs(num_draws: int = 3, pairs: int = 5, seed: int = 1) -> RankedPairs:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(num_draws, pairs, 4, generator=generator).double().softmax(-1)
    differences = torch.randn(num_draws, pairs, 3, generator=generator, dtype=torch.float64)
    return RankedPairs(weights, differences, torch.tensor([0.5, 0.125, 0.125, 0.125, 0.125]).double(), 2)


def random_decoder(seed: int = 2) -> GaussianDecoder:
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    return GaussianDecoder(loc, torch.rand(4, 3, generator=generator, dtype=torch.float64) + 0.2)


def test_the_error_is_that_of_sampled_decoders(within_standard_errors) -> None:
    pairs, decoder = random_pairs(), random_decoder()
    sampled = decoder.loc + decoder.scale * torch.randn(100_000, 4, 3, dtype=torch.float64)
    margins = torch.einsum("spk,nkd,spd->nsp", pairs.weights, sampled, pairs.differences)
    wrong = (margins < 0).double().mean(1) @ pairs.shares
    within_standard_errors(wrong, gibbs_error(pairs, decoder))


def test_a_decoder_that_is_not_drawn_errs_by_its_signs() -> None:
    pairs, decoder = random_pairs(), random_decoder()
    pairs = replace(pairs, differences=pairs.differences * torch.tensor([1.0, 0, 1, 1, 1]).unsqueeze(-1))
    margins = torch.einsum("spk,kd,spd->sp", pairs.weights, decoder.loc, pairs.differences)
    wrong = (margins < 0).double() + 0.5 * (margins == 0).double()
    fixed = replace(decoder, scale=torch.zeros_like(decoder.scale))
    torch.testing.assert_close(gibbs_error(pairs, fixed), wrong.mean(0) @ pairs.shares)
    assert 0 < float(gibbs_error(pairs, fixed)) < 1


def test_the_divergence_is_that_of_gaussians(within_standard_errors) -> None:
    posterior, prior = random_decoder(2), random_decoder(3)
    points = posterior.loc + posterior.scale * torch.randn(50_000, 4, 3, dtype=torch.float64)
    density = [
        multivariate_normal(one.loc.flatten().numpy(), one.scale.flatten().square().numpy()).logpdf(
            points.flatten(1).numpy()
        )
        for one in (posterior, prior)
    ]
    within_standard_errors(torch.tensor(density[0] - density[1]), decoder_kl(posterior, prior))


def pair_of(posteriors: Posteriors) -> tuple[ObjectiveWeights, SemanticFeatures]:
    first, second = (posteriors.features.completion(side) for side in (0, 1))
    return posteriors.weights, SemanticFeatures(first.loc - second.loc, first.variance + second.variance)


def test_pairs_at_their_means_have_the_mean_margin(posteriors: Posteriors) -> None:
    weights, difference = pair_of(posteriors)
    pairs = mean_pairs(weights, difference, torch.tensor([7, 7, 2]))
    margins = torch.einsum("spk,kd,spd->sp", pairs.weights, posteriors.decoder, pairs.differences)[0]
    expected = margin_moments(weights, *map(posteriors.features.completion, (0, 1)), posteriors.decoder)
    torch.testing.assert_close(margins, expected.mean)
    assert pairs.shares.tolist() == [0.25, 0.25, 0.5]
    assert pairs.num_prompts == 2


def test_drawn_pairs_have_the_moments_of_the_margin(posteriors: Posteriors, within_standard_errors) -> None:
    weights, difference = pair_of(posteriors)
    pairs = drawn_pairs(weights, difference, torch.tensor([0, 1, 2]), num_draws=50_000)
    margins = torch.einsum("spk,kd,spd->sp", pairs.weights, posteriors.decoder, pairs.differences)
    expected = margin_moments(weights, *map(posteriors.features.completion, (0, 1)), posteriors.decoder)
    within_standard_errors(margins, expected.mean)
    within_standard_errors((margins - expected.mean).square(), expected.variance)


def test_draws_of_a_pair_do_not_depend_on_its_batch(posteriors: Posteriors) -> None:
    weights, difference = pair_of(posteriors)
    all_of_them = drawn_pairs(weights, difference, torch.tensor([0, 1, 2]))
    alone = drawn_pairs(weights[1:2], difference[1:2], torch.tensor([1]))
    torch.testing.assert_close(alone.differences, all_of_them.differences[:, 1:2])
    torch.testing.assert_close(alone.weights, fixed_weight_draws(weights)[:, 1:2].repeat_interleave(2, 0))
    point = drawn_pairs(ObjectiveWeights(weights.mean), difference, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(point.weights, weights.mean.expand_as(point.weights))


def test_who_draws_does_not_know_which_completion_was_chosen(posteriors: Posteriors) -> None:
    """With common noise and no mirror images, margins of mere noise would all be right more often than not, or less."""
    weights, difference = pair_of(posteriors)
    noisy = replace(difference, loc=0.1 * difference.loc)
    decoder = GaussianDecoder(posteriors.decoder, torch.full_like(posteriors.decoder, 0.01))
    prompts = torch.tensor([0, 1, 2])
    error = gibbs_error(drawn_pairs(weights, noisy, prompts), decoder)
    exchanged = gibbs_error(drawn_pairs(weights, replace(noisy, loc=-noisy.loc), prompts), decoder)
    torch.testing.assert_close(error + exchanged, number(1.0))
    assert float(error) != pytest.approx(0.5, abs=1e-3)
    without = gibbs_error(drawn_pairs(weights, replace(noisy, loc=0 * noisy.loc), prompts), decoder)
    torch.testing.assert_close(without, number(0.5))


TRUTH = torch.tensor([[1.0, -0.5], [0.2, 0.8]]).double()
START = TRUTH + torch.tensor([[-0.6, 0.7], [0.5, -0.3]]).double()
"""A_1 of a first half that was too small."""


def simulated(prompts: int, seed: int) -> RankedPairs:
    """Prompts with one to three pairs each, labelled by the true decoder and a noisy judge."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.arange(prompts).repeat_interleave(torch.randint(1, 4, (prompts,), generator=generator))
    weights = torch.rand(prompts, 2, generator=generator).double().softmax(-1)[numbers]
    differences = 2 * torch.randn(len(numbers), 2, generator=generator, dtype=torch.float64)
    margin = torch.einsum("pk,kd,pd->p", weights, TRUTH, differences)
    noise = torch.rand(len(numbers), generator=generator, dtype=torch.float64).logit()
    sign = torch.where(margin + 0.3 * noise > 0, 1.0, -1.0).unsqueeze(-1)
    return mean_pairs(ObjectiveWeights(weights), SemanticFeatures(sign * differences, differences * 0), numbers)


def test_the_bounds_hold_in_simulated_data() -> None:
    """True errors by 20,000 further prompts; what the bounds add to the errors is what makes them hold."""
    fresh = simulated(20_000, seed=12345)
    fixed = float(gibbs_error(fresh, GaussianDecoder(START, torch.zeros_like(START))))
    prior = GaussianDecoder(START, torch.full_like(START, 0.3))
    held = {"bound": 0, "without its terms": 0, "test set": 0, "test error": 0}
    for seed in range(200):
        pairs = simulated(60, seed)
        posterior = fit_posterior(pairs, prior, 0.05, steps=4)
        error = gibbs_error(pairs, posterior)
        bound = pac_bayes_bound(error, decoder_kl(posterior, prior), pairs.num_prompts, 0.05)
        true = float(gibbs_error(fresh, posterior))
        test = gibbs_error(pairs, GaussianDecoder(START, torch.zeros_like(START)))
        held["bound"] += true <= float(bound)
        held["without its terms"] += true <= float(error)
        held["test set"] += fixed <= float(held_out_bound(test, pairs.num_prompts, 0.05))
        held["test error"] += fixed <= float(test)
    assert held["bound"] >= 190
    assert held["test set"] >= 190
    assert held["without its terms"] < 150
    assert held["test error"] < 150


def test_fitting_lowers_the_bound_and_the_best_prior_is_taken() -> None:
    pairs = simulated(2_000, seed=0)
    certificate = certify(pairs, START, 0.05)
    assert certificate.prior_scale in PRIOR_SCALES
    assert certificate.kl_divergence > 0.5, "Q has moved from P"
    assert certificate.gibbs_error < certificate.test_error - 0.02, "towards the truth"
    assert certificate.gibbs_error < certificate.bound < certificate.test_bound
    bounds = []
    for scale in PRIOR_SCALES:
        spread = torch.full_like(START, scale * float(START.square().mean().sqrt()))
        prior = GaussianDecoder(START, spread)
        bounds.append(float(pac_bayes_bound(gibbs_error(pairs, prior), number(0.0), 2_000, 0.05 / len(PRIOR_SCALES))))
    assert certificate.bound < min(bounds) - 0.01


def test_a_smaller_delta_and_fewer_prompts_loosen_the_bounds() -> None:
    many, few = simulated(400, seed=0), simulated(50, seed=0)
    sure, less = certify(many, START, 0.001), certify(many, START, 0.2)
    assert sure.bound > less.bound
    assert sure.test_bound > less.test_bound
    loose = certify(few, START, 0.05)
    assert loose.bound - loose.gibbs_error > less.bound - less.gibbs_error
