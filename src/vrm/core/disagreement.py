"""Several judgments of one pair, equation (15): what raters share, what each brings, and ties as a third outcome.

The text is what it is, so z is shared by the raters of a pair, and so is what the model doubts of itself (20); each
brings an own w. Given the shared part g ~ N(0, 1) the votes are independent, each with probabilities pi_v(g).
Everything here is a sum over Gauss-Hermite nodes g_j.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.predictive import NUM_NODES, margin_moments, objective_scores
from vrm.core.quadrature import DEFAULT_NODES, VARIANCE_JITTER, gauss_hermite, log_mean_exp, margin_given_weights

OWN_NODES = 8
"""Gauss-Hermite nodes over what each rater brings; `DEFAULT_NODES` are those over what the raters share."""

MAX_START_VARIANCE = 10.0
"""Largest V_z that training starts at; quadrature is coarse beyond."""

REPORTED_NODES = (NUM_NODES, 16)
"""Nodes over either part behind every reported number: more than in training."""

FIRST, SECOND, TIE = range(3)
"""Positions of the outcomes of a vote in every tensor of votes."""


def log_vote_probabilities(utility: Tensor, tie_threshold: Tensor | None) -> Tensor:
    """log T_a(u), log T_b(u) and log T_tie(u) of (15), (..., 3) in nats for utilities (...,).

    T_tie = sigma(u + c) sigma(c - u) (1 - exp(-2 c)), which is 1 - T_a - T_b without its cancellation.

    Args:
        utility: u.
        tie_threshold: c >= 0, a number as a tensor; None for 0, which leaves the first two outcomes, (..., 2).
    """
    if tie_threshold is None:
        return torch.stack([logsigmoid(utility), logsigmoid(-utility)], -1)
    above, below = utility - tie_threshold, -utility - tie_threshold
    room = (-torch.expm1(-2.0 * tie_threshold)).clamp_min(torch.finfo(utility.dtype).tiny).log()
    tie = logsigmoid(-below) + logsigmoid(-above) + room
    return torch.stack([logsigmoid(above), logsigmoid(below), tie], -1)


def preference_of(counts: Tensor) -> Tensor:
    """Share of the votes for the first, ties half: (..., 3) counts to (...,), NaN without a vote."""
    return (counts[..., FIRST] + 0.5 * counts[..., TIE]) / counts.sum(-1)


@dataclass(frozen=True)
class PairVotes:
    """How raters vote on pairs, equation (15).

    Attributes:
        log_given_shared: log pi_v(g_j), (batch, num_shared, 3), or 2 outcomes where the tie threshold is 0.
        log_shared: log q_j, (num_shared,).
    """

    log_given_shared: Tensor
    log_shared: Tensor

    def log_likelihood(self, counts: Tensor) -> Tensor:
        """log p(v_1, ..., v_R) = log sum_j q_j prod_r pi_{v_r}(g_j), (batch,) in nats; zero without a vote.

        Args:
            counts: (batch, 3) votes for the first, for the second, and ties. With a tie threshold of 0, a tie counts
                as half a vote for either side.
        """
        return (self.log_shared + self._log_of_counts(counts)).logsumexp(-1)

    def share(self) -> Tensor:
        """Probabilities of one rater's vote, sum_j q_j pi_v(g_j), (batch, 3): first, second, tie; they sum to 1."""
        return self._mixed(self.log_shared)

    def mean_log_share(self, counts: Tensor) -> Tensor:
        """Log-probability of a vote by `share`, mean over the votes given, (batch,): minus the NLL of the vote share.

        Args:
            counts: (batch, 3), as in `log_likelihood`, at least one vote a row.
        """
        outcomes = self.log_given_shared.shape[-1]
        return (self._folded(counts) * self.share()[..., :outcomes].log()).sum(-1) / counts.sum(-1)

    def disagreement(self) -> Tensor:
        """D = sum_j q_j (1 - sum_v pi_v(g_j)^2), (batch,): the probability that two raters of the pair differ."""
        agreement = self.log_given_shared.mul(2.0).exp().sum(-1)
        return (self.log_shared.exp() * (1.0 - agreement)).sum(-1)

    def next_vote(self, counts: Tensor) -> Tensor:
        """Probabilities of a further rater's vote given those seen, (batch, 3); without a vote those of `share`.

        The nodes are weighted anew, q_j' proportional to q_j prod_r pi_{v_r}(g_j).

        Args:
            counts: (batch, 3), as in `log_likelihood`.
        """
        return self._mixed((self.log_shared + self._log_of_counts(counts)).log_softmax(-1))

    def majority(self, num_raters: int) -> Tensor:
        """Probabilities of what most of `num_raters` raters say, (batch, 3): first, second, equally many for both.

        A rater who ties counts for neither side.
        """
        outcomes = self.log_given_shared.shape[-1]
        total = self.log_given_shared.new_zeros(*self.log_given_shared.shape[:-2], 3)
        parts: list[list[Tensor]] = [[], [], []]
        for pattern in vote_patterns(num_raters, outcomes):
            counts = self.log_given_shared.new_tensor([*pattern, 0][:3]).expand_as(total)
            ways = torch.lgamma(counts[0] + 1).sum() - torch.lgamma(counts[0].sum() + 1)
            side = FIRST if pattern[0] > pattern[1] else SECOND if pattern[0] < pattern[1] else TIE
            parts[side].append((self.log_likelihood(counts) - ways).exp())
        return torch.stack([torch.stack(part).sum(0) if part else total[..., 0] for part in parts], -1)

    def _mixed(self, log_nodes: Tensor) -> Tensor:
        share = (log_nodes.unsqueeze(-1) + self.log_given_shared).logsumexp(-2).exp()
        return share if share.shape[-1] == 3 else torch.cat([share, torch.zeros_like(share[..., :1])], -1)

    def _log_of_counts(self, counts: Tensor) -> Tensor:
        """log prod_r pi_{v_r}(g_j), (batch, num_shared)."""
        return (self._folded(counts).unsqueeze(-2) * self.log_given_shared).sum(-1)

    def _folded(self, counts: Tensor) -> Tensor:
        """Counts by outcome, (batch, 3 or 2)."""
        if self.log_given_shared.shape[-1] == 3:
            return counts
        return counts[..., :TIE] + 0.5 * counts[..., TIE:]


def votes_without_texts(counts: Tensor) -> tuple[float, float | None]:
    """c and V_z that make the votes likeliest where E[u] = 0 and V_w = 0: what they tell before a text is read.

    On a grid. All agreement between raters is then taken for shared.

    Args:
        counts: (batch, 3) votes, at least one a row.

    Returns:
        c, at least 0.01, and V_z; None where no row has two votes, which share nothing that can be seen.
    """
    several = bool((counts.sum(-1) > 1).any())
    patterns, times = counts.double().unique(dim=0, return_counts=True)
    nodes, log_weights = gauss_hermite(DEFAULT_NODES, patterns)
    variances = torch.logspace(-2, math.log10(MAX_START_VARIANCE), 40 if several else 1, dtype=torch.float64)
    thresholds = torch.linspace(0.01, 4.0, 100, dtype=torch.float64)
    utility = variances.sqrt()[:, None, None] * nodes
    logs = log_vote_probabilities(utility, thresholds[:, None])
    likelihood = ((logs @ patterns.T) + log_weights[:, None]).logsumexp(-2) @ times.double()
    variance, threshold = divmod(int(likelihood.argmax()), len(thresholds))
    return float(thresholds[threshold]), float(variances[variance]) if several else None


def vote_patterns(num_raters: int, num_outcomes: int = 3) -> Iterator[tuple[int, ...]]:
    """Every way to count the votes of `num_raters` raters: one number an outcome, which sum to `num_raters`."""
    if num_outcomes == 1:
        yield (num_raters,)
        return
    for count in range(num_raters + 1):
        for rest in vote_patterns(num_raters - count, num_outcomes - 1):
            yield count, *rest


def pair_votes(
    weights: ObjectiveWeights,
    first: SemanticFeatures,
    second: SemanticFeatures,
    decoder: Tensor,
    tie_threshold: Tensor | None = None,
    target_margin: Tensor | float = 0.0,
    num_shared: int = DEFAULT_NODES,
    num_own: int = OWN_NODES,
) -> PairVotes:
    """Equation (15) with a Gaussian in V_w for the Dirichlet, which training and every prediction use.

    V_z = m^T (S_a + S_b) m and V_e are shared, V_w = delta^T C delta + tr(C (S_a + S_b)) is drawn anew by each rater. A
    tilt's variance (16) enters V_w: that of a known rater, or the raters' spread B.

    Args:
        weights: (batch, num_objectives).
        first: features of completion a, `loc` (batch, num_features).
        second: features of completion b.
        decoder: A, (num_objectives, num_features).
        tie_threshold: c >= 0, a number as a tensor; None for 0: nobody ties.
        target_margin: t, (batch,) or a number, as in (8).
        num_shared: nodes over the shared part.
        num_own: nodes over what each rater brings.
    """
    moments = margin_moments(weights, first, second, decoder)
    shared = moments.feature_variance + moments.parameter_variance
    own = moments.weight_variance + moments.interaction_variance
    return votes_by_moments(moments.mean - target_margin, shared, own, tie_threshold, num_shared, num_own)


def votes_by_moments(
    mean: Tensor,
    shared_variance: Tensor,
    own_variance: Tensor,
    tie_threshold: Tensor | None = None,
    num_shared: int = DEFAULT_NODES,
    num_own: int = OWN_NODES,
) -> PairVotes:
    """Equation (15) of margins whose moments are known.

    Args:
        mean: E[u], (batch,).
        shared_variance: V_z, (batch,), V_e included.
        own_variance: V_w, (batch,).
        tie_threshold: c >= 0, a number as a tensor; None for 0: nobody ties.
        num_shared: nodes over the shared part.
        num_own: nodes over what each rater brings.
    """
    shared_nodes, log_shared = gauss_hermite(num_shared, mean)
    own_nodes, log_own = gauss_hermite(num_own, mean)
    given_shared = mean.unsqueeze(-1) + _root(shared_variance) * shared_nodes
    utility = given_shared.unsqueeze(-1) + _root(own_variance).unsqueeze(-1) * own_nodes
    logs = log_vote_probabilities(utility, tie_threshold) + log_own.unsqueeze(-1)
    return PairVotes(logs.logsumexp(-2), log_shared)


def reported_votes(
    weights: ObjectiveWeights,
    first: SemanticFeatures,
    second: SemanticFeatures,
    decoder: Tensor,
    tie_threshold: Tensor | None,
) -> PairVotes:
    """Equation (15) with the nodes of reported numbers; arguments as in `pair_votes`, in float32 or better."""
    return pair_votes(weights, first, second, decoder, tie_threshold, 0.0, *REPORTED_NODES)


def pair_votes_over_draws(
    draws: Tensor,
    weights: ObjectiveWeights,
    first: SemanticFeatures,
    second: SemanticFeatures,
    decoder: Tensor,
    tie_threshold: Tensor | None = None,
    num_nodes: int = DEFAULT_NODES,
) -> PairVotes:
    """Equation (15) with the mean of pi over draws of w in place of the Gaussian in V_w; the reference of tests.

    A rater with weights w has the margin w . delta + (w^T S m / sqrt(V_z)) g + rest, S = S_a + S_b. The variance of the
    rest, w^T S w - (w^T S m)^2 / V_z, is drawn anew. For one judgment this is (8) averaged over the draws, exactly.

    Args:
        draws: of w, (num_draws, batch, num_objectives).
        weights: their distribution, (batch, num_objectives); its mean m is read.
        first: features of completion a, `loc` (batch, num_features).
        second: features of completion b.
        decoder: A, (num_objectives, num_features).
        tie_threshold: c >= 0, a number as a tensor; None for 0.
        num_nodes: nodes over the shared part, and over the rest.
    """
    margins = margin_given_weights(draws, first, second, decoder)
    if weights.tilt is not None:
        margins = margins.tilted(weights.tilt, objective_scores(first.loc - second.loc, decoder))
    mean = weights.mean @ decoder
    doubted = first.doubt_variance(second)
    shared = sum((side.covariance_along(draws @ decoder, mean) for side in (first, second)), doubted)
    variance = first.variance_along(mean) + second.variance_along(mean) + doubted
    loading = shared / (variance + VARIANCE_JITTER).sqrt()
    nodes, log_weights = gauss_hermite(num_nodes, margins.mean)
    given_shared = margins.mean.unsqueeze(-1) + loading.unsqueeze(-1) * nodes
    rest = _root((margins.variance - loading.square()).clamp_min(0.0)).unsqueeze(-1)
    logs = log_vote_probabilities(given_shared.unsqueeze(-1) + rest * nodes, tie_threshold)
    return PairVotes(log_mean_exp((logs + log_weights.unsqueeze(-1)).logsumexp(-2)), log_weights)


def _root(variance: Tensor) -> Tensor:
    """Standard deviation, (..., 1), whose gradient is finite at zero variance."""
    return (variance + VARIANCE_JITTER).sqrt().unsqueeze(-1)
