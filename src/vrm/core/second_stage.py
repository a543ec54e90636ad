"""The second stage of (19): how sure a head of means may be, in some twenty numbers fitted on held-out pairs by (15).

Stage 1 gives m(x), mu(x, y), A and c. They stay, and beside them come
    A / T                                                      a temperature
    log s2_i(x, y) = log Var[mu_i] + v_0 + v . phi(x, y)       the variance of feature i
    log alpha_+(x) = a_0 + a . phi(x)                          the total concentration of w ~ Dir(alpha_+ m)
    c                                                          the tie threshold, anew
with phi a few z-scored principal components of the head's inputs. A part is kept only where it makes pairs of prompts
that it was not fitted on likelier.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vrm.choices import StagePart
from vrm.core.disagreement import PairVotes, pair_votes
from vrm.core.distributions import LOG_TOTAL_RANGE, BatchRecord, ObjectiveWeights, SemanticFeatures, TensorRecord

LOG_VARIANCE_RANGE = (-12.0, 6.0)
"""Of log s2 relative to the spread of the feature's means."""

SMALLEST_CONCENTRATION = 1e-6
"""Of one objective, which a mean weight of zero would not have."""

NEEDS: dict[StagePart, tuple[StagePart, ...]] = {
    StagePart.TEMPERATURE: (),
    StagePart.TIES: (),
    StagePart.VARIANCE: (StagePart.TEMPERATURE, StagePart.TIES),
    StagePart.VARIANCE_BY_TEXT: (StagePart.TEMPERATURE, StagePart.TIES, StagePart.VARIANCE),
    StagePart.CONCENTRATION: (StagePart.TEMPERATURE, StagePart.TIES),
    StagePart.CONCENTRATION_BY_PROMPT: (StagePart.TEMPERATURE, StagePart.TIES, StagePart.CONCENTRATION),
}
"""Every part in the order of trial, and what comes with it: the scale makes up for what a variance does to margins."""

OF_SEVERAL = (
    StagePart.VARIANCE,
    StagePart.VARIANCE_BY_TEXT,
    StagePart.CONCENTRATION,
    StagePart.CONCENTRATION_BY_PROMPT,
)
"""Parts that one judgment a pair cannot show: a head without them predicts it as well (theory, 5b)."""


def linear(axes: Tensor, coefficients: Tensor) -> Tensor:
    """b_0 + b . phi, (...,), for axes (..., num_axes) and coefficients (1 + num_axes,)."""
    return coefficients[0] + axes @ coefficients[1:]


def spread_weights(weights: ObjectiveWeights, axes: Tensor, coefficients: Tensor) -> ObjectiveWeights:
    """Dir(alpha_+(x) m(x)): the same means with the total concentration of (19).

    Args:
        weights: (batch, num_objectives); their mean is read.
        axes: phi(x), (batch, num_axes).
        coefficients: a, (1 + num_axes,).
    """
    total = linear(axes, coefficients).clamp(*LOG_TOTAL_RANGE).exp()
    concentration = (total.unsqueeze(-1) * weights.mean).clamp_min(SMALLEST_CONCENTRATION)
    return ObjectiveWeights(weights.mean, concentration)


def spread_features(features: SemanticFeatures, axes: Tensor, coefficients: Tensor, scale: Tensor) -> SemanticFeatures:
    """N(mu, diag s2) with the variance of (19).

    Args:
        features: (..., num_features); their means are read.
        axes: phi(x, y), (..., num_axes).
        coefficients: v, (1 + num_axes,).
        scale: Var[mu_i] over the texts that it was fitted on, (num_features,).
    """
    relative = linear(axes, coefficients).clamp(*LOG_VARIANCE_RANGE).exp()
    return SemanticFeatures(features.loc, relative.unsqueeze(-1) * scale)


@dataclass(frozen=True)
class StageNumbers(TensorRecord):
    """The numbers of the second stage; None for what is left out.

    Attributes:
        log_scale: log(1 / T), ().
        tie_threshold: c > 0, (); None for heads that know no ties.
        variance: v, (1 + num_axes,).
        log_total: a, (1 + num_axes,).
    """

    log_scale: Tensor
    tie_threshold: Tensor | None = None
    variance: Tensor | None = None
    log_total: Tensor | None = None


@dataclass(frozen=True)
class HeldOutPairs(BatchRecord):
    """What stage 1 says of pairs of held-out prompts, and what raters said.

    Attributes:
        weights: m, (pairs, num_objectives).
        first: mu of the first completions, (pairs, num_features).
        second: mu of the second ones.
        prompt_axes: phi(x), (pairs, num_axes).
        first_axes: phi(x, y) of the first completions, (pairs, num_axes).
        second_axes: the same of the second ones.
        counts: (pairs, 3) votes for the first, for the second, ties; zeros where there is one soft label instead.
        preference: (pairs,) that label, in [0, 1]; not read where there are votes.
        target_margin: t, (pairs,).
        prompts: (pairs,) number of the prompt.
    """

    weights: Tensor
    first: Tensor
    second: Tensor
    prompt_axes: Tensor
    first_axes: Tensor
    second_axes: Tensor
    counts: Tensor
    preference: Tensor
    target_margin: Tensor
    prompts: Tensor

    @property
    def judgments(self) -> Tensor:
        """(pairs,) how many each pair has."""
        return self.counts.sum(-1).clamp_min(1.0)


@dataclass(frozen=True)
class StageMeans(TensorRecord):
    """What stage 1 has for all pairs: A, (num_objectives, num_features), Var[mu_i], (num_features,), and c."""

    decoder: Tensor
    feature_scale: Tensor
    tie_threshold: Tensor | None


def pair_log_likelihood(pairs: HeldOutPairs, means: StageMeans, numbers: StageNumbers) -> Tensor:
    """log p of what the raters of each pair said, by (15) under the numbers, (pairs,) in nats."""
    several = pairs.counts.sum(-1) > 0
    result = torch.zeros_like(pairs.preference)
    if bool(several.any()):
        votes = _votes(pairs[several], means, numbers, numbers.tie_threshold)
        result = result.masked_scatter(several, votes.log_likelihood(pairs.counts[several]))
    if not bool(several.all()):
        single = pairs[~several]
        votes, (first, second) = _votes(single, means, numbers, None), torch.eye(3).to(single.counts)[:2]
        label = single.preference
        logs = label * votes.log_likelihood(first.expand_as(single.counts))
        logs = logs + (1.0 - label) * votes.log_likelihood(second.expand_as(single.counts))
        result = result.masked_scatter(~several, logs)
    return result


def _votes(pairs: HeldOutPairs, means: StageMeans, numbers: StageNumbers, tie_threshold: Tensor | None) -> PairVotes:
    weights = ObjectiveWeights(pairs.weights)
    if numbers.log_total is not None:
        weights = spread_weights(weights, pairs.prompt_axes, numbers.log_total)
    sides = []
    for loc, axes in ((pairs.first, pairs.first_axes), (pairs.second, pairs.second_axes)):
        side = SemanticFeatures(loc, torch.zeros_like(loc))
        if numbers.variance is not None:
            side = spread_features(side, axes, numbers.variance, means.feature_scale)
        sides.append(side)
    decoder = means.decoder * numbers.log_scale.exp()
    return pair_votes(weights, sides[0], sides[1], decoder, tie_threshold, pairs.target_margin)


@dataclass(frozen=True)
class StageTrial:
    """One part, tried beside those kept before it.

    Attributes:
        part: which.
        gain: in the log-likelihood of pairs left out, in nats a judgment.
        standard_error: of the gain, over prompts.
    """

    part: StagePart
    gain: float
    standard_error: float

    @property
    def kept(self) -> bool:
        """Whether the gain is above zero, and above its standard error too unless the part is the temperature."""
        # A temperature claims no doubt, so nothing has to guard it beyond the cross-validation.
        least = 0.0 if self.part == StagePart.TEMPERATURE else max(self.standard_error, 0.0)
        return self.gain > least


@dataclass(frozen=True)
class StageFit:
    """What the second stage found: its numbers, the parts kept, and every trial in order."""

    numbers: StageNumbers
    parts: tuple[StagePart, ...] = ()
    trials: tuple[StageTrial, ...] = ()


def fit_second_stage(
    pairs: HeldOutPairs, means: StageMeans, folds: Tensor, parts: Iterable[StagePart] = tuple(NEEDS)
) -> StageFit:
    """Try each part beside those kept, and keep it only if pairs of prompts left out become likelier.

    A part that rests on others is tried with them. The temperature is kept for any rise. For the others the rise must
    be above its standard error over prompts: of parts that add nothing, one in six would rise by chance, and less than
    one in a hundred by that much.

    Args:
        pairs: of held-out prompts, in float64.
        means: of stage 1, in float64.
        folds: (pairs,) whole numbers; pairs of one prompt are in one.
        parts: to be tried.

    Returns:
        The fit of all kept parts on all pairs.
    """
    wanted = set(parts) - ({StagePart.TIES} if means.tie_threshold is None else set())
    chosen = [part for part in NEEDS if part in wanted]
    kept: frozenset[StagePart] = frozenset()
    current = pair_log_likelihood(pairs, means, _numbers(_start(pairs), kept, means)).detach()
    trials = []
    for part in chosen:
        if part in kept:
            continue
        tried = kept | {part, *(need for need in NEEDS[part] if need in chosen)}
        likelihood = _left_out(pairs, means, folds, tried)
        trial = _trial(part, likelihood - current, pairs)
        trials.append(trial)
        if trial.kept:
            kept, current = tried, likelihood
    theta = _fit(pairs, means, kept) if kept else _start(pairs)
    return StageFit(_numbers(theta, kept, means), tuple(part for part in NEEDS if part in kept), tuple(trials))


def _left_out(pairs: HeldOutPairs, means: StageMeans, folds: Tensor, parts: Collection[StagePart]) -> Tensor:
    """Log-likelihood of each pair under the numbers of the other folds, (pairs,)."""
    result = torch.zeros_like(pairs.preference)
    for fold in folds.unique():
        held = folds == fold
        numbers = _numbers(_fit(pairs[~held], means, parts), parts, means)
        result[held] = pair_log_likelihood(pairs[held], means, numbers)
    return result


def _trial(part: StagePart, difference: Tensor, pairs: HeldOutPairs) -> StageTrial:
    """Gain a judgment, with the standard error that whole prompts give it."""
    totals = torch.zeros(int(pairs.prompts.max()) + 1, dtype=difference.dtype).index_add(0, pairs.prompts, difference)
    totals, judgments = totals[pairs.prompts.unique()], float(pairs.judgments.sum())
    error = float(totals.std()) * len(totals) ** 0.5 / judgments if len(totals) > 1 else float("inf")
    return StageTrial(part, float(difference.sum()) / judgments, error)


PRIOR_MEAN = {"scale": 0.0, "ties": 0.0, "variance": -2.0, "total": 2.0}
"""Of log(1 / T), of the log of how much c changes, of v_0 and of a_0."""

PRIOR_SD = {"scale": 1.0, "ties": 1.0, "variance": 2.0, "total": 2.0}
"""Their prior standard deviations: weak, so that nothing runs away where the likelihood is flat."""

SLOPE_SD = 0.5
"""Prior standard deviation of the slopes v and a, in logs a standard deviation of an axis."""


def _start(pairs: HeldOutPairs) -> Tensor:
    """All numbers at their prior mean: scale, change of c, v, a; (4 + 2 num_axes,)."""
    return _by_group(PRIOR_MEAN, 0.0, pairs.prompt_axes.shape[-1]).to(pairs.weights)


def _by_group(values: dict[str, float], slope: float, num_axes: int) -> Tensor:
    slopes = [slope] * num_axes
    return torch.tensor([values["scale"], values["ties"], values["variance"], *slopes, values["total"], *slopes])


def _free(parts: Collection[StagePart], num_axes: int) -> Tensor:
    """Which of the numbers the parts set free."""
    return torch.tensor(
        [
            StagePart.TEMPERATURE in parts,
            StagePart.TIES in parts,
            StagePart.VARIANCE in parts,
            *[StagePart.VARIANCE_BY_TEXT in parts] * num_axes,
            StagePart.CONCENTRATION in parts,
            *[StagePart.CONCENTRATION_BY_PROMPT in parts] * num_axes,
        ]
    )


def _numbers(theta: Tensor, parts: Collection[StagePart], means: StageMeans) -> StageNumbers:
    variance, log_total = theta[2:].chunk(2)
    threshold = means.tie_threshold
    return StageNumbers(
        theta[0],
        None if threshold is None else threshold * theta[1].exp(),
        variance if StagePart.VARIANCE in parts else None,
        log_total if StagePart.CONCENTRATION in parts else None,
    )


def _fit(pairs: HeldOutPairs, means: StageMeans, parts: Collection[StagePart]) -> Tensor:
    """Maximum a posteriori of the numbers that the parts set free; the others stay where they start."""
    num_axes, start = pairs.prompt_axes.shape[-1], _start(pairs)
    free = _free(parts, num_axes)
    precision = _by_group(PRIOR_SD, SLOPE_SD, num_axes).to(start)[free].reciprocal().square()
    values = start[free].clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [values], max_iter=60, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def theta() -> Tensor:
        return start.masked_scatter(free, values)

    def penalized() -> Tensor:
        optimizer.zero_grad()
        away = values - start[free]
        likelihood = pair_log_likelihood(pairs, means, _numbers(theta(), parts, means)).sum()
        loss = (0.5 * (precision * away.square()).sum() - likelihood) / len(pairs.preference)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(penalized)
    return theta().detach()
