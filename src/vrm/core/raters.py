"""Raters and groups, equation (16): tilts of the weights and tie thresholds of their own, partially pooled.

    u_r = u + b_r . delta,   b_r ~ N(0, B),   log c_r ~ N(log c, s_c^2),   delta = o(mu_a) - o(mu_b)

What all raters of a file share against the model's population is a shift of these means, fitted beside, so that it does
not pass for a difference between them. Votes are likely as in (15), u and its variances as the model gives them. All
raters are fitted in one batch of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vrm.core.disagreement import OWN_NODES, TIE, log_vote_probabilities
from vrm.core.distributions import BatchRecord, TensorRecord, Tilt
from vrm.core.quadrature import DEFAULT_NODES, gauss_hermite

START_MARGIN = 0.5
"""Standard deviation of b . delta, in logits, at which B starts."""

START_SPREAD = 0.5
"""Where s_c starts: a standard deviation of log c_r."""

PRIOR_RATERS = 1.0
"""Raters as at the start that the spread of all others is pooled with, so that one group alone has a spread too."""

MAX_ROUNDS, MAX_HALVINGS = 200, 8
TOLERANCE = 3e-3
"""Fits end where no log of a variance moves by more, and no tilt by more of its prior's standard deviation."""

MAX_LOG_THRESHOLD_CHANGE = 4.0
"""Bound of log c_r - log c."""

_CHUNK_VALUES = 2**22
"""Numbers of one intermediate tensor that are held at once."""


@dataclass(frozen=True)
class RaterVotes(BatchRecord):
    """What raters said of pairs: one item a rater and pair, in float64.

    Attributes:
        rater: (items,) long, each rater's number.
        mean: E[u], (items,); a nuisance offset or target margin enters here.
        shared_variance: V_z of (15), (items,).
        own_variance: V_w of (15), (items,).
        delta: (items, num_objectives), o(mu_a) - o(mu_b).
        counts: (items, 3) votes for the first, for the second, and ties; a soft label is a vote in parts.
    """

    rater: Tensor
    mean: Tensor
    shared_variance: Tensor
    own_variance: Tensor
    delta: Tensor
    counts: Tensor

    @property
    def single(self) -> RaterVotes:
        """With all variance drawn anew by each judgment: no difference where nobody has two votes on one pair."""
        nothing = torch.zeros_like(self.shared_variance)
        return replace(self, shared_variance=nothing, own_variance=self.shared_variance + self.own_variance)


@dataclass(frozen=True)
class RaterPrior(TensorRecord):
    """How raters differ.

    Attributes:
        tilt_variance: the diagonal of B, (num_objectives,).
        threshold_variance: s_c^2, a scalar.
        tie_threshold: c > 0, a scalar; None for 0, where nobody ties.
        shift: mean of every parameter over these raters, (num_parameters,); 0 where they are as the population.
    """

    tilt_variance: Tensor
    threshold_variance: Tensor
    tie_threshold: Tensor | None
    shift: Tensor

    @property
    def variances(self) -> Tensor:
        """Of every parameter of a rater, (num_objectives,), or one more where there are thresholds."""
        if self.tie_threshold is None:
            return self.tilt_variance
        return torch.cat([self.tilt_variance, self.threshold_variance.reshape(1)])

    @property
    def mean_tie_threshold(self) -> Tensor | None:
        """c with the shift that all share, a scalar: that of a further rater."""
        return None if self.tie_threshold is None else self.tie_threshold * self.shift[-1].exp()

    def moved(self, shift: Tensor, variances: Tensor) -> RaterPrior:
        """The same with this `shift` and these `variances`."""
        count = len(self.tilt_variance)
        own = self.threshold_variance if self.tie_threshold is None else variances[count]
        return replace(self, tilt_variance=variances[:count], threshold_variance=own, shift=shift)


@dataclass(frozen=True)
class FittedRaters(TensorRecord):
    """Raters by MAP and Laplace.

    Attributes:
        parameters: b_r, and where there are thresholds log c_r - log c, (raters, num_parameters).
        covariance: H_r^-1, (raters, num_parameters, num_parameters).
        prior: how raters differ.
    """

    parameters: Tensor
    covariance: Tensor
    prior: RaterPrior

    @property
    def _num_tilts(self) -> int:
        return len(self.prior.tilt_variance)

    @property
    def tilts(self) -> Tensor:
        """b_r, (raters, num_objectives)."""
        return self.parameters[:, : self._num_tilts]

    @property
    def tilt_covariance(self) -> Tensor:
        """Of b_r, (raters, num_objectives, num_objectives)."""
        return self.covariance[:, : self._num_tilts, : self._num_tilts]

    @property
    def tie_thresholds(self) -> Tensor | None:
        """c_r, (raters,)."""
        return _thresholds(self.parameters, self.prior)

    @property
    def log_threshold_std(self) -> Tensor | None:
        """Standard deviation of log c_r, (raters,)."""
        return None if self.prior.tie_threshold is None else self.covariance[:, -1, -1].sqrt()

    def tilt(self, rater: int) -> Tilt:
        """What a known rater adds to the weights."""
        return Tilt(self.tilts[rater], self.tilt_covariance[rater])

    def log_likelihood(self, votes: RaterVotes) -> Tensor:
        """Log-likelihood of further votes of these raters, (items,) in nats.

        delta^T H_r^-1 delta is added to Var[u].
        """
        shift = (self.tilts[votes.rater] * votes.delta).sum(-1)
        doubt = torch.einsum("ij,ijk,ik->i", votes.delta, self.tilt_covariance[votes.rater], votes.delta)
        thresholds = self.tie_thresholds
        own = None if thresholds is None else thresholds[votes.rater]
        tilted = replace(votes, mean=votes.mean + shift, own_variance=votes.own_variance + doubt)
        return vote_log_likelihood(tilted, own)


def unknown_rater_tilt(prior: RaterPrior) -> Tilt:
    """What a further rater adds to the weights who is not known: the shift that all share, with the spread B."""
    return Tilt(prior.shift[: len(prior.tilt_variance)], prior.tilt_variance.diag())


@dataclass(frozen=True)
class _Curve(BatchRecord):
    """A function of an offset of u and of a tie threshold.

    Attributes:
        value: (...,).
        slope: (..., 2).
        curvature: (..., 2, 2).
    """

    value: Tensor
    slope: Tensor
    curvature: Tensor


def vote_log_likelihood(votes: RaterVotes, thresholds: Tensor | None) -> Tensor:
    """Log-likelihood (15) of the votes of every item, (items,) in nats.

    Args:
        votes: their tilts are not added here.
        thresholds: c of every item, (items,); None for 0, where a tie counts as half a vote for either side.
    """
    return _curve(votes, torch.zeros_like(votes.mean), thresholds).value


def _curve(votes: RaterVotes, offset: Tensor, thresholds: Tensor | None) -> _Curve:
    """Log-likelihood (15) of every item, as a function of an offset of u and of the threshold."""
    alone = bool((votes.counts.sum(-1) <= 1.0).all())
    size = max(_CHUNK_VALUES // (DEFAULT_NODES * (1 if alone else OWN_NODES) * 12), 1)
    parts = [slice(start, start + size) for start in range(0, max(len(offset), 1), size)]
    return _Curve.concatenate(
        [
            _part_of_curve(
                votes[part].single if alone else votes[part],
                offset[part],
                None if thresholds is None else thresholds[part],
            )
            for part in parts
        ]
    )


def _part_of_curve(votes: RaterVotes, offset: Tensor, thresholds: Tensor | None) -> _Curve:
    shared, log_shared = _nodes(votes.shared_variance, DEFAULT_NODES)
    own, log_own = _nodes(votes.own_variance, OWN_NODES if shared.shape[-1] > 1 else DEFAULT_NODES)
    utility = (votes.mean + offset)[:, None, None] + shared[:, :, None] + own[:, None, :]
    outcomes = _outcomes(utility, None if thresholds is None else thresholds[:, None, None])
    each = _mixed(outcomes, log_own[:, None], dim=2)  # pi_v(g_j), (items, shared nodes, outcomes)
    counts = votes.counts if thresholds is not None else votes.counts[:, :TIE] + 0.5 * votes.counts[:, TIE:]
    weights = counts[:, None, :]
    joint = _Curve(
        (weights * each.value).sum(-1),
        (weights[..., None] * each.slope).sum(-2),
        (weights[..., None, None] * each.curvature).sum(-3),
    )
    return _mixed(joint, log_shared, dim=1)


def _nodes(variance: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Values of a Gaussian part of u, (items, nodes), and their log-weights; one node where there is no variance."""
    nodes, log_weights = gauss_hermite(most if bool((variance > 0).any()) else 1, variance)
    return variance.clamp_min(0.0).sqrt()[:, None] * nodes, log_weights


def _mixed(parts: _Curve, log_weights: Tensor, dim: int) -> _Curve:
    """log sum_j q_j exp(l_j) over one dimension of the parts, with its derivatives."""
    logs = parts.value + log_weights
    value = logs.logsumexp(dim)
    # Shares of sum 1, and slopes around their mean: far from every vote, rounding would else bend the curve upwards.
    share = logs.softmax(dim)
    slope = (share[..., None] * parts.slope).sum(dim)
    around = _outer(parts.slope - slope.unsqueeze(dim))
    return _Curve(value, slope, (share[..., None, None] * (parts.curvature + around)).sum(dim))


def _outer(vector: Tensor) -> Tensor:
    return vector.unsqueeze(-1) * vector.unsqueeze(-2)


def _outcomes(utility: Tensor, threshold: Tensor | None) -> _Curve:
    """log T_v(u) of every outcome, (..., outcomes), as a function of u and of c."""
    c = torch.zeros_like(utility) if threshold is None else threshold.expand_as(utility)
    below_first, above_second = torch.sigmoid(c - utility), torch.sigmoid(c + utility)
    p, q = below_first * (1.0 - below_first), above_second * (1.0 - above_second)
    slopes = [(below_first, -below_first), (-above_second, -above_second)]
    curvatures = [(-p, p, -p), (-q, -q, -q)]
    if threshold is not None:
        room = torch.expm1(2.0 * c).clamp_min(torch.finfo(c.dtype).tiny)
        slopes.append((below_first - above_second, 2.0 - above_second - below_first + 2.0 / room))
        curvatures.append((-p - q, p - q, -p - q - 4.0 * (1.0 + 1.0 / room) / room))
    slope = torch.stack([torch.stack(parts, -1) for parts in slopes], -2)
    curvature = torch.stack([torch.stack([uu, uc, uc, cc], -1) for uu, uc, cc in curvatures], -2)
    value = log_vote_probabilities(utility, None if threshold is None else c)
    return _Curve(value, slope, curvature.unflatten(-1, (2, 2)))


def _thresholds(parameters: Tensor, prior: RaterPrior) -> Tensor | None:
    return None if prior.tie_threshold is None else prior.tie_threshold * parameters[:, -1].exp()


@dataclass(frozen=True)
class _State(TensorRecord):
    """Parameters of all raters, (raters, num_parameters), and what was computed there for every item.

    `thresholds` are those of the items' raters.
    """

    parameters: Tensor
    curve: _Curve
    thresholds: Tensor | None


def _at(votes: RaterVotes, parameters: Tensor, prior: RaterPrior) -> _State:
    tilts = parameters[:, : votes.delta.shape[-1]]
    offset = (tilts[votes.rater] * votes.delta).sum(-1)
    thresholds = _thresholds(parameters, prior)
    own = None if thresholds is None else thresholds[votes.rater]
    return _State(parameters, _curve(votes, offset, own), own)


def _log_posterior(votes: RaterVotes, state: _State, prior: RaterPrior) -> Tensor:
    """Of every rater's parameters, (raters,), but for a constant."""
    penalty = 0.5 * ((state.parameters - prior.shift).square() / prior.variances).sum(-1)
    return (-penalty).index_add(0, votes.rater, state.curve.value)


def _derivatives(votes: RaterVotes, state: _State, prior: RaterPrior) -> tuple[Tensor, Tensor]:
    """Gradient of the log posterior (raters, D), and H_r, which is positive definite: (raters, D, D).

    The log-likelihood is jointly concave in u and c, and so is its integral over Gaussians (Prekopa). In log c there is
    the slope beside; where it is positive it is left out.
    """
    precision, parameters, own = 1.0 / prior.variances, state.parameters, state.thresholds
    gradient = torch.zeros_like(parameters)
    information = precision.diag().expand(len(parameters), -1, -1).clone()
    size = max(_CHUNK_VALUES // information.shape[-1] ** 2, 1)
    for start in range(0, len(votes.rater), size):
        part = slice(start, start + size)
        rater, slope, curvature = votes.rater[part], state.curve.slope[part], state.curve.curvature[part]
        directions = votes.delta[part].unsqueeze(-1) * slope.new_tensor([1.0, 0.0])  # (items, D, 2)
        if own is not None:
            of_threshold = own[part, None, None] * slope.new_tensor([[0.0, 1.0]])
            directions = torch.cat([directions, of_threshold], 1)
        gradient.index_add_(0, rater, (directions * slope[:, None, :]).sum(-1))
        information.index_add_(0, rater, -directions @ curvature @ directions.mT)
    if own is not None:
        information[:, -1, -1] -= gradient[:, -1].clamp_max(0.0)
    return gradient - (parameters - prior.shift) * precision, information


def _newton(votes: RaterVotes, state: _State, prior: RaterPrior) -> tuple[_State, Tensor]:
    """One Newton step of every rater, halved until the posterior does not fall; and H_r where it began."""
    value = _log_posterior(votes, state, prior)
    gradient, information = _derivatives(votes, state, prior)
    step = torch.cholesky_solve(gradient.unsqueeze(-1), torch.linalg.cholesky(information)).squeeze(-1)
    for _ in range(MAX_HALVINGS):
        places = state.parameters + step
        if prior.tie_threshold is not None:
            places[:, -1].clamp_(-MAX_LOG_THRESHOLD_CHANGE, MAX_LOG_THRESHOLD_CHANGE)
        moved = _at(votes, places, prior)
        worse = _log_posterior(votes, moved, prior) < value - 1e-9
        if not bool(worse.any()):
            return moved, information
        step = torch.where(worse[:, None], 0.5 * step, step)
    return _at(votes, torch.where(worse[:, None], state.parameters, places), prior), information


def start_prior(votes: RaterVotes, tie_threshold: Tensor | None) -> RaterPrior:
    """Where fits start: every objective moves margins as much, all of them together by `START_MARGIN`."""
    size = votes.delta.square().mean(0).clamp_min(1e-12)
    share = START_MARGIN**2 / max(votes.delta.shape[-1], 1)
    spread, nowhere = votes.mean.new_tensor(START_SPREAD**2), votes.mean.new_zeros(votes.delta.shape[-1])
    shift = nowhere if tie_threshold is None else torch.cat([nowhere, spread.new_zeros(1)])
    return RaterPrior((share / size).clamp_max(1.0), spread, tie_threshold, shift)


def fit_raters(
    votes: RaterVotes, num_raters: int, tie_threshold: Tensor | None, start: FittedRaters | None = None
) -> FittedRaters:
    """Tilts and tie thresholds by MAP and Laplace, B and s_c by EM (16).

    Each round takes one Newton step of all raters, then moves the shift and the variances nearer to those that EM
    leaves alone. With d the distance to the shift, such a variance is the mean of d_k^2 + (H_r^-1)_kk over the raters
    and one rater as at the start. It is solved for B in the form of MacKay (1992), sum d_k^2 / sum (1 - (H_r^-1)_kk /
    B_k), which gets there in fewer rounds than EM's own. The shift is the mean over the raters and one without any.

    Args:
        votes: of raters 0 to `num_raters` - 1, in float64; raters without votes have the prior.
        num_raters: how many there are.
        tie_threshold: c > 0 of the population, a scalar; None for 0: thresholds are not fitted, and a tie counts as
            half a vote for either side.
        start: an earlier fit of these raters, such as one with more votes, to start from.
    """
    first = start_prior(votes, tie_threshold)
    prior = first if start is None else start.prior
    parameters = votes.mean.new_zeros(num_raters, len(prior.variances)) if start is None else start.parameters
    state = _at(votes, parameters, prior)
    for _ in range(MAX_ROUNDS):
        before = state.parameters
        state, information = _newton(votes, state, prior)
        covariance = torch.cholesky_inverse(torch.linalg.cholesky(information))
        shift = state.parameters.sum(0) / (num_raters + PRIOR_RATERS)
        variances = _variances(state.parameters - shift, covariance, prior.variances, first.variances)
        step = ((state.parameters - before).abs() / prior.variances.sqrt()).amax()
        change = (variances / prior.variances).log().abs().amax()
        prior = prior.moved(shift, variances)
        if float(step) < TOLERANCE and float(change) < TOLERANCE:
            break
    return FittedRaters(state.parameters, covariance, prior)


def _variances(distances: Tensor, covariance: Tensor, variances: Tensor, first: Tensor) -> Tensor:
    """The next variances, at most ten times larger or smaller than the last."""
    told = (1.0 - covariance.diagonal(dim1=-2, dim2=-1) / variances).clamp_min(0.0).sum(0)
    updated = (distances.square().sum(0) + PRIOR_RATERS * first) / (told + PRIOR_RATERS)
    return updated.clamp(variances / 10.0, variances * 10.0)
