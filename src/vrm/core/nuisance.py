"""Nuisance offsets, equation (14): what sways raters but should not be rewarded, measured on the text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vrm.core.preference import comparison_log_likelihood
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

    Raises:
        ConfigError: for fewer than 3 knots; DataError: for values that are not finite.
    """
    if num_knots < 3:
        raise ConfigError(f"num_knots must be at least 3, got {num_knots}")
    first, second = first.double(), second.double()
    if not bool(torch.isfinite(torch.cat([first, second])).all() and torch.isfinite(out_of_fold_margin).all()):
        raise DataError("nuisances and out-of-fold margins must be finite; remove or mend the rows that are not")
    knots = spline_knots(torch.cat([first, second]), num_knots)
    basis_first, basis_second = spline_basis(first, knots), spline_basis(second, knots)
    whitening = _whitening(torch.cat([basis_first, basis_second]), num_knots - 1)
    basis = (basis_first - basis_second) @ whitening
    design = torch.cat([out_of_fold_margin.double().unsqueeze(-1), basis], -1)
    penalty = torch.full((design.shape[1],), ridge, dtype=torch.float64)
    penalty[0] = 1e-6
    coefficients = _penalized_logistic(design, preference.double(), penalty)
    return NuisanceOffset(knots, whitening @ coefficients[1:], float(coefficients[0]))


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


def _penalized_logistic(design: Tensor, preference: Tensor, penalty: Tensor) -> Tensor:
    coefficients = torch.zeros(design.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([coefficients], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        likelihood = comparison_log_likelihood(design @ coefficients, preference).sum()
        loss = 0.5 * (penalty * coefficients.square()).sum() - likelihood
        loss.backward()
        return loss

    optimizer.step(objective)
    return coefficients.detach()


def offset_margin(margin: Tensor, first: Tensor, second: Tensor, factor: float = 1.0) -> Tensor:
    """Target margin t - factor (h_a - h_b): so that u of (4) gains the nuisance offset of (14).

    Args:
        margin: t, (batch,).
        first: h(nu_a), (batch,).
        second: h(nu_b), (batch,).
        factor: in [0, 1], chosen on a dev fold.

    Raises:
        ConfigError: for a factor outside [0, 1].
    """
    if not 0.0 <= factor <= 1.0:
        raise ConfigError(f"factor must be in [0, 1], got {factor}")
    return margin - factor * (first - second)
