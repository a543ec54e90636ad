"""Nuisance offsets, equation (14): what sways raters but should not be rewarded, measured on the text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vrm.core.likelihoods.comparison import comparison_log_likelihood
from vrm.errors import ConfigError, DataError


def spline_knots(nuisance: Tensor, num_knots: int = 5) -> Tensor:
    """Quantile knots of each nuisance: (rows, num_nuisances) to (num_nuisances, num_knots), strictly increasing."""
    # numpy's, because torch.quantile refuses more than 2^24 numbers.
    quantiles = np.quantile(nuisance.detach().cpu().numpy(), np.linspace(0.02, 0.98, num_knots), axis=0)
    knots = torch.from_numpy(quantiles).to(nuisance).T.contiguous()
    # Discrete nuisances repeat quantiles; a tiny ramp keeps the basis finite and the ridge does the rest.
    spread = (nuisance.amax(0) - nuisance.amin(0)).unsqueeze(-1)
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    return torch.cummax(knots, -1).values + spread * 1e-3 * torch.arange(num_knots).to(nuisance)


def spline_basis(nuisance: Tensor, knots: Tensor) -> Tensor:
    """Natural cubic spline basis of Harrell (2001), linear beyond the outer knots, free of the nuisance's unit.

    Args:
        nuisance: (..., num_nuisances).
        knots: (num_nuisances, num_knots).

    Returns:
        (..., num_nuisances * (num_knots - 1)): for each nuisance a linear and num_knots - 2 cubic columns.
    """
    span = knots[:, -1:] - knots[:, :1]
    place = (knots - knots[:, :1]) / span
    value = (nuisance.unsqueeze(-1) - knots[:, :1]) / span
    before, inner = place[:, -2:-1], place[:, :-2]

    def cube(knot: Tensor) -> Tensor:
        return (value - knot).clamp_min(0.0).pow(3)

    cubic = (
        cube(inner) - cube(before) * (1 - inner) / (1 - before) + cube(place[:, -1:]) * (before - inner) / (1 - before)
    )
    return torch.cat([value, cubic], -1).flatten(-2)


@dataclass(frozen=True)
class NuisanceOffset:
    """The fitted h, as coefficients of a spline basis.

    Attributes:
        knots: (num_nuisances, num_knots).
        coefficients: (num_nuisances * (num_knots - 1),).
        reward_scale: slope of the out-of-fold margin it was fitted beside; near 1 when that reward is calibrated.
    """

    knots: Tensor
    coefficients: Tensor
    reward_scale: float

    def __call__(self, nuisance: Tensor) -> Tensor:
        """h(nu), (...,), of nuisances (..., num_nuisances), in units of u; known up to a constant."""
        return spline_basis(nuisance, self.knots) @ self.coefficients


def fit_nuisance_offset(
    first: Tensor,
    second: Tensor,
    preference: Tensor,
    out_of_fold_margin: Tensor,
    num_knots: int = 5,
    ridge: float = 1.0,
    target_margin: Tensor | None = None,
) -> NuisanceOffset:
    """Fit h jointly with a scale of an out-of-fold reward margin, by penalized logistic regression.

    Fitted alone, h takes over the part of quality that correlates with the nuisance and over-corrects.

    Args:
        first: nuisances of completion a, (batch, num_nuisances).
        second: nuisances of completion b.
        preference: (batch,) p that a is preferred.
        out_of_fold_margin: (batch,) r_a - r_b of a reward that was not trained on these judgments.
        num_knots: knots of each nuisance, at least 3.
        ridge: penalty in nats on half the variance of each nuisance's h over the texts; 1 is a prior of one logit.
        target_margin: (batch,) t of (4); None for 0.

    Raises:
        ConfigError: for fewer than 3 knots; DataError: for values that are not finite.
    """
    if not bool(torch.isfinite(out_of_fold_margin).all()):
        raise DataError("out-of-fold margins must be finite; remove or mend the rows that are not")
    knots, whitening, basis = _pair_basis(first, second, num_knots)
    design = torch.cat([out_of_fold_margin.double().unsqueeze(-1), basis], -1)
    penalty = torch.full((design.shape[1],), ridge, dtype=torch.float64)
    penalty[0] = 1e-6
    coefficients = _penalized_logistic(design, preference.double(), penalty, target_margin)
    return NuisanceOffset(knots, whitening @ coefficients[1:], float(coefficients[0]))


def _pair_basis(first: Tensor, second: Tensor, num_knots: int) -> tuple[Tensor, Tensor, Tensor]:
    """Knots, whitening W, and the whitened basis of a minus that of b, (batch, columns)."""
    if num_knots < 3:
        raise ConfigError(f"num_knots must be at least 3, got {num_knots}")
    texts = torch.cat([first, second]).double()
    if not bool(torch.isfinite(texts).all()):
        raise DataError("nuisances must be finite; remove or mend the rows that are not")
    knots = spline_knots(texts, num_knots)
    basis = spline_basis(texts, knots)
    whitening = _whitening(basis, num_knots - 1)
    basis_first, basis_second = basis.split(len(first))
    return knots, whitening, (basis_first - basis_second) @ whitening


REWARD_SPREADS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Prior standard deviations of a linear reward's margins, in logits, that `out_of_fold_reward` chooses from."""


@dataclass(frozen=True)
class OutOfFoldReward:
    """A linear reward that judged only rows it had not seen.

    Attributes:
        margin: (batch,) r_a - r_b, without the offset that was fitted beside it.
        spread: the prior standard deviation of its margins, in logits.
        negative_log_likelihood: of reward and offset together on the rows left out, in nats, mean.
    """

    margin: Tensor
    spread: float
    negative_log_likelihood: float


def out_of_fold_reward(
    features: Tensor,
    first: Tensor,
    second: Tensor,
    preference: Tensor,
    folds: Tensor,
    num_knots: int = 5,
    ridge: float = 1.0,
    target_margin: Tensor | None = None,
) -> OutOfFoldReward:
    """Margins of a linear reward, cross-fitted: each fold is judged by a reward fitted on the others.

    Beside every one of these rewards an h of its own is fitted and left out of the margin. A reward fitted without it
    would take up what it can see of the nuisance, and hide it from `fit_nuisance_offset`. The prior spread of the
    reward is the one of `REWARD_SPREADS` under which the folds left out are likeliest.

    Args:
        features: (batch, width) features of completion a minus those of b.
        first: nuisances of completion a, (batch, num_nuisances).
        second: nuisances of completion b.
        preference: (batch,) p that a is preferred.
        folds: (batch,) whole numbers; judgments of one prompt belong into one fold.
        num_knots: knots of each nuisance, at least 3.
        ridge: as for `fit_nuisance_offset`.
        target_margin: (batch,) t; None for 0.

    Raises:
        ConfigError: for fewer than 3 knots; DataError: for values that are not finite, or fewer than two folds.
    """
    if not bool(torch.isfinite(features).all()):
        raise DataError("features must be finite; remove or mend the rows that are not")
    numbers = folds.unique()
    if len(numbers) < 2:
        raise DataError(
            f"a reward is cross-fitted over at least two folds, got {len(numbers)}; more prompts are needed"
        )
    basis = _pair_basis(first, second, num_knots)[2].to(features)
    design, preference = torch.cat([features, basis], -1), preference.to(features)
    starts: dict[int, Tensor] = {}
    best: OutOfFoldReward | None = None
    for spread in REWARD_SPREADS:
        penalty = design.new_full((design.shape[1],), ridge)
        penalty[: features.shape[1]] = reward_penalty(features, spread)
        margins, utility = torch.zeros_like(preference), torch.zeros_like(preference)
        for number in numbers.tolist():
            seen, held = folds != number, folds == number
            target = None if target_margin is None else target_margin[seen]
            starts[number] = _penalized_logistic(design[seen], preference[seen], penalty, target, starts.get(number))
            margins[held] = features[held] @ starts[number][: features.shape[1]]
            utility[held] = design[held] @ starts[number]
        utility = utility if target_margin is None else utility - target_margin.to(utility)
        loss = -float(comparison_log_likelihood(utility, preference).mean())
        if best is not None and loss >= best.negative_log_likelihood:
            break
        best = OutOfFoldReward(margins, spread, loss)
    assert best is not None
    return best


def reward_penalty(features: Tensor, spread: float) -> float:
    """Ridge of a linear reward whose margins on `features` (batch, width) have this prior standard deviation."""
    return max(float(features.square().sum(-1).mean()), 1e-12) / spread**2


def fit_linear_reward(
    features: Tensor, preference: Tensor, spread: float, target_margin: Tensor | None = None
) -> Tensor:
    """Coefficients (width,) of a linear reward by penalized logistic regression.

    Args:
        features: (batch, width) features of completion a minus those of b.
        preference: (batch,) p that a is preferred.
        spread: prior standard deviation of the margins, in logits.
        target_margin: (batch,) t of (4), from which `offset_margin` has subtracted an offset of (14); None for 0.
    """
    penalty = features.new_full((features.shape[1],), reward_penalty(features, spread))
    return _penalized_logistic(features, preference.to(features), penalty, target_margin)


def _whitening(basis: Tensor, columns: int) -> Tensor:
    """Block-diagonal W that gives each nuisance's columns unit covariance; directions without spread go to zero.

    The truncated cubes are nearly collinear: a ridge on their own coefficients would flatten any curve.
    """
    blocks = []
    for block in basis.split(columns, dim=-1):
        values, vectors = torch.linalg.eigh(torch.cov(block.T))
        spread = values > 1e-10 * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
        scale = torch.where(spread, values, torch.ones_like(values)).rsqrt() * spread
        blocks.append(vectors * scale)
    return torch.block_diag(*blocks)


def _penalized_logistic(
    design: Tensor,
    preference: Tensor,
    penalty: Tensor,
    target_margin: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    coefficients = (torch.zeros_like(penalty) if start is None else start.clone()).requires_grad_()
    exact = design.dtype == torch.float64
    optimizer = torch.optim.LBFGS(
        [coefficients],
        max_iter=500 if exact else 100,
        tolerance_grad=1e-9 if exact else 1e-3 * math.sqrt(len(design)),
        line_search_fn="strong_wolfe",
    )
    target = None if target_margin is None else target_margin.to(design)

    def penalized() -> Tensor:
        optimizer.zero_grad()
        utility = design @ coefficients
        likelihood = comparison_log_likelihood(utility if target is None else utility - target, preference).sum()
        loss = 0.5 * (penalty * coefficients.square()).sum() - likelihood
        loss.backward()
        return loss

    optimizer.step(penalized)
    return coefficients.detach()
