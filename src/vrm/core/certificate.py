"""The certificate (18): how often at most a decoder drawn from Q ranks the pairs of a new prompt wrongly.

A PAC-Bayes-kl bound (Seeger 2002) with Maurer's (2004) constant. Everything but A is fixed, and so is the prior P, by
other prompts than those of the bound. Once w and z are drawn the margin is linear in A, so that with a Gaussian Q the
chance of the wrong sign has a closed form. All in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures, TensorRecord
from vrm.core.predictive import NUM_DRAWS, fixed_weight_draws, objective_scores, reward

PRIOR_SCALES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""sigma_P in units of the root mean square of A_1's entries; delta is divided by their number."""

FIT_DRAWS = 8
"""Draws of z, mirror images included, that Q is fitted with; the bound has all of them, and holds for every Q."""

FIT_STEPS = 60
"""L-BFGS iterations of Q, for each prior."""

_BISECTIONS = 60
_LEAST = 1e-12


@dataclass(frozen=True)
class RankedPairs(TensorRecord):
    """Pairs whose better completion is known, with w and z drawn: u = w . A (z_chosen - z_rejected).

    Attributes:
        weights: w, (num_draws, pairs, num_objectives).
        differences: z_chosen - z_rejected, (num_draws, pairs, num_features).
        shares: of each pair in the mean over prompts of the mean over a prompt's pairs, (pairs,); they add up to 1.
        num_prompts: n, the independent units.
    """

    weights: Tensor
    differences: Tensor
    shares: Tensor
    num_prompts: int

    @cached_property
    def squares(self) -> tuple[Tensor, Tensor]:
        """Squared weights and differences, which the margin's variance under Q is linear in."""
        return self.weights.square(), self.differences.square()

    def first_draws(self, number: int) -> RankedPairs:
        """The same pairs with fewer draws."""
        if len(self.weights) <= number:
            return self
        return RankedPairs(self.weights[:number], self.differences[:number], self.shares, self.num_prompts)


@dataclass(frozen=True)
class GaussianDecoder(TensorRecord):
    """A Gaussian over A with independent entries, Q or P of (18).

    Attributes:
        loc: M, (num_objectives, num_features).
        scale: standard deviations, the same shape; zeros for a decoder that is not drawn.
    """

    loc: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Certificate:
    """What (18) says of one head; all rates are of wrongly ranked pairs, in [0, 1].

    Attributes:
        test_error: of the decoder A_1 as it is.
        test_bound: of its true error, from the same prompts (`held_out_bound`).
        gibbs_error: of a decoder drawn from Q.
        kl_divergence: KL(Q || P) in nats.
        prior_scale: sigma_P in units of the root mean square of A_1's entries.
        bound: of the true error of a decoder drawn from Q.
    """

    test_error: float
    test_bound: float
    gibbs_error: float
    kl_divergence: float
    prior_scale: float
    bound: float


def mean_pairs(weights: ObjectiveWeights, difference: SemanticFeatures, prompts: Tensor) -> RankedPairs:
    """Pairs with w and z at their means, so that u is E[u | A]: what ranks by the mean reward.

    Args:
        weights: (pairs, num_objectives).
        difference: features of the chosen completion minus those of the rejected, `loc` (pairs, num_features).
        prompts: (pairs,) a number for each prompt.
    """
    return _ranked(weights.mean.unsqueeze(0), difference.loc.unsqueeze(0), prompts)


def drawn_pairs(
    weights: ObjectiveWeights, difference: SemanticFeatures, prompts: Tensor, num_draws: int = NUM_DRAWS, seed: int = 0
) -> RankedPairs:
    """Pairs with fixed draws of w and z, the same for a pair whatever its batch.

    z is drawn as well as w. By (8) it could be integrated out given A, but under Q its noise multiplies that of A, and
    what comes out is no Gaussian. With both drawn the error of Q below is exact, as a bound needs. Every draw of z
    comes with its mirror image, so that who draws cannot know which completion was chosen: with the sides exchanged the
    error is exactly 1 less this one.

    Args:
        weights: (pairs, num_objectives); a point mass is drawn at its mean.
        difference: with diagonal variance.
        prompts: (pairs,).
        num_draws: of w; each has one of z and its mirror image.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_draws, 1, difference.loc.shape[-1], generator=generator, dtype=torch.float64)
    mirrored = torch.stack([noise, -noise], 1).flatten(0, 1)
    differences = difference.loc.double() + difference.variance.double().sqrt() * mirrored
    draws = fixed_weight_draws(weights, num_draws, seed).expand(num_draws, -1, -1)
    return _ranked(draws.repeat_interleave(2, 0), differences, prompts)


def _ranked(weights: Tensor, differences: Tensor, prompts: Tensor) -> RankedPairs:
    _, places, counts = prompts.unique(return_inverse=True, return_counts=True)
    shares = 1.0 / (len(counts) * counts[places].double())
    return RankedPairs(weights.detach().double(), differences.detach().double(), shares, len(counts))


def gibbs_error(pairs: RankedPairs, decoder: GaussianDecoder) -> Tensor:
    """E[1(u has the wrong sign)] over A ~ Q and the draws of w and z, a scalar; u = 0 is half wrong.

    Given w and z, u ~ N(w . M zeta, sum_kj w_k^2 Sigma_kj zeta_j^2), so the error is Phi of minus their ratio.
    """
    mean = reward(pairs.weights, objective_scores(pairs.differences, decoder.loc))
    squared_weights, squared_differences = pairs.squares
    variance = reward(squared_weights, objective_scores(squared_differences, decoder.scale.square()))
    spread = variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()
    return torch.special.ndtr(-mean / spread).mean(0) @ pairs.shares


def decoder_kl(posterior: GaussianDecoder, prior: GaussianDecoder) -> Tensor:
    """KL(Q || P) of two Gaussians over A in nats, a scalar."""
    return kl_divergence(Normal(posterior.loc, posterior.scale), Normal(prior.loc, prior.scale)).sum()


def bernoulli_kl(first: Tensor, second: Tensor) -> Tensor:
    """kl(q || p) of two coins in nats, (...,), for q in [0, 1] and p in (0, 1)."""
    return torch.xlogy(first, first / second) + torch.xlogy(1.0 - first, (1.0 - first) / (1.0 - second))


def kl_upper_inverse(rate: Tensor, room: Tensor) -> Tensor:
    """kl^-1(q | c): the largest p with kl(q || p) <= c, (...,), in [q, 1].

    By bisection, then a Newton step from there, through which the gradients of q and c flow.

    Args:
        rate: q in [0, 1].
        room: c > 0 in nats.
    """
    rate = rate.clamp(_LEAST, 1.0 - _LEAST)
    with torch.no_grad():
        low, high = rate.clone(), torch.full_like(rate, 1.0)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            inside = bernoulli_kl(rate, middle) <= room
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        start = high.clamp_max(1.0 - _LEAST)
        slope = (start - rate) / (start * (1.0 - start))
    return (start - (bernoulli_kl(rate, start) - room) / slope).clamp_max(1.0)


def pac_bayes_bound(error: Tensor, divergence: Tensor, num_prompts: int, delta: float) -> Tensor:
    """L(Q) <= kl^-1(Lhat(Q) | (KL(Q || P) + log(2 sqrt(n) / delta)) / n), equation (18), a scalar.

    With probability 1 - delta over the prompts it holds for all Q at once.

    Args:
        error: Lhat(Q), the mean over prompts of a loss in [0, 1].
        divergence: KL(Q || P) in nats, of a P that these prompts did not choose.
        num_prompts: n >= 1.
        delta: in (0, 1).
    """
    return kl_upper_inverse(error, (divergence + math.log(2.0 * math.sqrt(num_prompts) / delta)) / num_prompts)


def held_out_bound(error: Tensor, num_prompts: int, delta: float) -> Tensor:
    """L <= kl^-1(Lhat | log(1 / delta) / n), a scalar: Chernoff's bound for one predictor that these prompts chose not.

    Arguments as in `pac_bayes_bound`.
    """
    return kl_upper_inverse(error, torch.full_like(error, math.log(1.0 / delta) / num_prompts))


Progress = Callable[[int, int], object]
"""Called with (priors tried, priors in all)."""


def certify(
    pairs: RankedPairs, decoder: Tensor, delta: float, progress: Progress = lambda done, total: None
) -> Certificate:
    """The bound (18) with the best of `PRIOR_SCALES` and a fitted Q, beside the bound of a plain test set.

    Args:
        pairs: of prompts that neither `decoder` nor anything before it was fitted to.
        decoder: A_1, (num_objectives, num_features).
        delta: probability, in (0, 1), that either bound fails.
        progress: told after each prior.
    """
    center = decoder.detach().double()
    test = gibbs_error(pairs, GaussianDecoder(center, torch.zeros_like(center)))
    rates = float(test), float(held_out_bound(test, pairs.num_prompts, delta))
    unit = float(center.square().mean().sqrt()) or 1.0
    candidates = []
    for scale, prior, posterior in decoder_posteriors(pairs, center, unit, delta, progress):
        error, divergence = gibbs_error(pairs, posterior), decoder_kl(posterior, prior)
        bound = pac_bayes_bound(error, divergence, pairs.num_prompts, delta / len(PRIOR_SCALES))
        candidates.append(Certificate(*rates, float(error), float(divergence), scale, float(bound)))
    return min(candidates, key=lambda candidate: candidate.bound)


def decoder_posteriors(
    pairs: RankedPairs, center: Tensor, unit: float, delta: float, progress: Progress = lambda done, total: None
) -> Iterator[tuple[float, GaussianDecoder, GaussianDecoder]]:
    """(sigma_P in units, P, Q) for each of `PRIOR_SCALES`, with P itself as Q and with a fitted one.

    Args:
        pairs: that the bound is for.
        center: mean of every P, which these pairs did not choose, (num_objectives, num_features).
        unit: of sigma_P, alike.
        delta: of the bound that is the best of all.
        progress: told after each prior.
    """
    few = pairs.first_draws(FIT_DRAWS)
    for number, scale in enumerate(PRIOR_SCALES):
        prior = GaussianDecoder(center, torch.full_like(center, scale * unit))
        # P itself is a Q, of no divergence.
        yield scale, prior, prior
        yield scale, prior, fit_posterior(few, prior, delta / len(PRIOR_SCALES))
        progress(number + 1, len(PRIOR_SCALES))


def fit_posterior(pairs: RankedPairs, prior: GaussianDecoder, delta: float, steps: int = FIT_STEPS) -> GaussianDecoder:
    """Q = N(M, diag Sigma) that makes the bound small, by L-BFGS from P; deterministic.

    Args:
        pairs: that the bound is for.
        prior: P = N(A_1, sigma_P^2 I).
        delta: of the bound.
        steps: L-BFGS iterations.
    """
    shift = torch.zeros_like(prior.loc, requires_grad=True)
    log_ratio = torch.zeros_like(prior.loc, requires_grad=True)
    optimizer = torch.optim.LBFGS([shift, log_ratio], max_iter=steps, line_search_fn="strong_wolfe")

    def posterior() -> GaussianDecoder:
        return GaussianDecoder(prior.loc + prior.scale * shift, prior.scale * log_ratio.exp())

    def bound() -> Tensor:
        optimizer.zero_grad()
        candidate = posterior()
        loss = pac_bayes_bound(gibbs_error(pairs, candidate), decoder_kl(candidate, prior), pairs.num_prompts, delta)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(bound)
    return posterior().map(Tensor.detach)
