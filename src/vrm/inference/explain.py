"""From a judged row to an `Explanation`: intervals, contributions, probabilities, and the meaning of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist

import torch
from torch import Tensor

from vrm.choices import RewardScale
from vrm.core.disagreement import TIE, reported_votes
from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.predictive import (
    PredictiveMoments,
    fixed_weight_draws,
    log_probabilities,
    margin_moments,
    objective_scores,
    reward_moments,
)
from vrm.core.quadrature import margin_given_weights
from vrm.core.unfamiliarity import Unfamiliarity
from vrm.data.schema import Judgment, Text
from vrm.data.style import plain_text
from vrm.data.tokenized import TokenizedJudgment, why_identical
from vrm.inference.engine import RewardEngine
from vrm.inference.identifiability import identifiability
from vrm.inference.judged import JudgedBatch
from vrm.inference.known_raters import Rater
from vrm.inference.rewards import check_finite
from vrm.inference.steering import Steering
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.wire.explanation import (
    CompletionReport,
    CredibleInterval,
    Explanation,
    PairReport,
    RaterReport,
    UncertaintyReport,
    UnfamiliarityReport,
    WeightReport,
    rater_in_words,
    reasons_in_words,
)

LEVEL = 0.9
NUM_INTERVAL_DRAWS = 4096
"""Fixed draws of w behind intervals: their ends are then right to about one percent of their width."""

MAX_ALL_PAIRS = 4


def explain(engine: RewardEngine, judgment: Judgment) -> Explanation:
    """Explain a judgment of one or more completions.

    Raises:
        ValueError: if the row is dropped as overlong.
        OverlongError: if it is overlong and the engine's policy is `error`.

    Example:
        >>> from vrm import Judgment, RewardEngine, explain
        >>> engine = RewardEngine.from_pretrained("runs/mine/model")
        >>> explanation = explain(engine, Judgment("Name a tree.", ["Oak", "Granite"]))
        >>> explanation.pairs[0].probability >= 0.5  # that `first` is preferred to `second`
        True
    """
    return explain_row(engine.judge([judgment]), 0, engine.model)


def explain_row(batch: JudgedBatch, index: int, model: VRMForSequenceClassification) -> Explanation:
    """Explain one row of a batch that this model has judged; see `Explanation`.

    Raises:
        NumericsError: if a reward, its variance or a weight is not finite.
    """
    row = batch.row(index)
    judgment, config = row.judgments[0], model.config
    moments = row.moments
    unfamiliarity = row.posteriors.unfamiliarity
    far = [] if unfamiliarity is None else [unfamiliarity.distance]
    for values in (moments.mean, moments.variance, row.posteriors.weights.mean, *far):
        check_finite(values.flatten(), judgment)
    quantities = _Quantities.of(row)
    completions = [
        replace(
            _completion(quantities, position, text, config),
            unfamiliarity=_unfamiliarity(unfamiliarity, position, config.familiar_categories),
        )
        for position, text in enumerate(judgment.completions)
    ]
    steering = row.steering or Steering({})
    total = row.posteriors.weights.total_concentration
    return Explanation(
        prompt=last_message(judgment.prompt),
        head=config.head,
        level=LEVEL,
        weights=tuple(_weights(quantities, config)),
        total_concentration=None if total is None else float(total),
        emphasis=dict(steering.emphasis),
        without=tuple(steering.without),
        counts_meaning=_counts_meaning(config),
        completions=tuple(completions),
        pairs=tuple(
            _pair(quantities, *pair, config) for pair in _pairs([report.reward.mean for report in completions])
        ),
        identifiability=identifiability(model),
        notes=_notes(row.tokenized[0], config.max_input_tokens),
        judged_as=None if row.rater is None else _rater(row.rater, row),
    )


def rater_intervals(
    rater: Rater, objectives: Sequence[str]
) -> tuple[dict[str, CredibleInterval], CredibleInterval | None]:
    """Tilts of some objectives, the largest in size first, and the tie threshold of a rater, with `LEVEL` intervals."""
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2)
    tilt = rater.tilt_of(objectives)
    spread = tilt.covariance.diagonal().sqrt()
    numbers = zip(objectives, tilt.loc.tolist(), (reach * spread).tolist(), strict=True)
    tilts = {name: CredibleInterval(mean, mean - half, mean + half) for name, mean, half in numbers}
    threshold = None
    if rater.tie_threshold is not None and rater.log_threshold_std is not None:
        mean, factor = float(rater.tie_threshold), math.exp(reach * rater.log_threshold_std)
        threshold = CredibleInterval(mean, mean / factor, mean * factor)
    return dict(sorted(tilts.items(), key=lambda item: -abs(item[1].mean))), threshold


def _rater(rater: Rater, row: JudgedBatch) -> RaterReport:
    tilts, threshold = rater_intervals(rater, row.objectives)
    population = None if row.raters is None else row.raters.fitted.prior.tie_threshold
    return RaterReport(
        name=rater.name or "",
        comparisons=rater.comparisons,
        tilts=tilts,
        tie_threshold=threshold,
        population_tie_threshold=None if population is None else float(population),
        statement=rater_in_words(rater.name or "", tilts),
    )


def _notes(row: TokenizedJudgment, limit: int) -> tuple[str, ...]:
    parts = {"prompt": row.prompt_cut > 0, "completions": any(row.completions_cut)}
    cut = [part for part, is_cut in parts.items() if is_cut]
    notes = [f"Cut to fit into {limit} tokens: {' and '.join(cut)}."] if cut else []
    alike = row.identical
    if alike is not None:
        notes.append(f"Different completions are the same in tokens: {why_identical(row, *alike)}.")
    return (*notes, *(f"{cause[0].upper()}{cause[1:]}." for cause in row.lost))


@dataclass(frozen=True)
class _Quantities:
    """One judged row in float64, with many draws of its weights, (num_draws, 1, num_objectives).

    `voted` are the weights and the tie threshold of raters who are drawn anew, unless a known one judges.
    """

    names: tuple[str, ...]
    weights: ObjectiveWeights
    voted: tuple[ObjectiveWeights, Tensor | None]
    features: SemanticFeatures
    decoder: Tensor
    draws: Tensor

    @classmethod
    def of(cls, row: JudgedBatch) -> _Quantities:
        posteriors = row.posteriors.double()
        draws = fixed_weight_draws(posteriors.weights, NUM_INTERVAL_DRAWS)
        voted = row.as_voted.posteriors.double()
        weights = posteriors.weights, (voted.weights, voted.tie_threshold)
        return cls(row.objectives, *weights, posteriors.features, posteriors.decoder, draws)

    @property
    def judging(self) -> Tensor:
        """What objective scores are multiplied by: mean weights, with a rater's tilt."""
        mean, tilt = self.weights.mean[0], self.weights.tilt
        return mean if tilt is None else mean + tilt.loc.to(mean)

    def named(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self.names, values.tolist(), strict=True))

    def interval(self, first: SemanticFeatures, second: SemanticFeatures, mean: float) -> CredibleInterval:
        """Of r_first - r_second: given w it is Gaussian, so its distribution is a mixture over the draws of w."""
        given = margin_given_weights(self.draws, first, second, self.decoder)
        if self.weights.tilt is not None:
            given = given.tilted(self.weights.tilt, objective_scores(first.loc - second.loc, self.decoder))
        low, high = mixture_quantiles(given.mean[:, 0], given.variance[:, 0], LEVEL)
        return CredibleInterval(mean, low, high)


def mixture_quantiles(mean: Tensor, variance: Tensor, level: float) -> tuple[float, float]:
    """Central interval of an even mixture of Gaussians, `mean` and `variance` (num_components,), by bisection."""
    std = variance.sqrt()
    ends = []
    for probability in ((1 - level) / 2, (1 + level) / 2):
        low, high = float((mean - 10 * std).min()), float((mean + 10 * std).max())
        for _ in range(60):
            middle = (low + high) / 2
            # At zero variance the component is a step, the limit of this division.
            below = torch.special.ndtr((middle - mean) / std.clamp_min(1e-300)).mean()
            low, high = (middle, high) if float(below) < probability else (low, middle)
        ends.append((low + high) / 2)
    return ends[0], ends[1]


def _weights(quantities: _Quantities, config: VRMConfig) -> list[WeightReport]:
    weights = quantities.weights
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = torch.quantile(quantities.draws[:, 0], ends, dim=0)
    return [
        WeightReport(
            objective=name,
            named=name in config.objectives or not config.models_objectives,
            weight=CredibleInterval(float(weights.mean[0, k]), float(low[k]), float(high[k])),
            concentration=None if weights.concentration is None else float(weights.concentration[0, k]),
        )
        for k, name in enumerate(quantities.names)
    ]


def _completion(quantities: _Quantities, position: int, text: Text, config: VRMConfig) -> CompletionReport:
    features = quantities.features.completion(position)
    moments = reward_moments(quantities.weights, features, quantities.decoder)
    scores = objective_scores(features.loc, quantities.decoder)[0]
    nothing = features.map(torch.zeros_like)
    reward = quantities.interval(features, nothing, float(moments.mean))
    standardized = config.reward_units(RewardScale.STANDARDIZED)
    return CompletionReport(
        label=label(position),
        text=last_message(text),
        reward=reward,
        standardized_reward=CredibleInterval(*map(standardized.of, (reward.mean, reward.low, reward.high))),
        reward_std=float(moments.std),
        objective_scores=quantities.named(scores),
        contributions=quantities.named(quantities.judging * scores),
        uncertainty=_uncertainty(moments),
    )


def _pairs(rewards: Sequence[float]) -> list[tuple[int, int]]:
    """Positions of the completions to compare: all pairs of a few, else the best with every other, best first."""
    if len(rewards) <= MAX_ALL_PAIRS:
        return list(combinations(range(len(rewards)), 2))
    best, *others = sorted(range(len(rewards)), key=lambda position: -rewards[position])
    return [(best, other) for other in others]


def _pair(quantities: _Quantities, first: int, second: int, config: VRMConfig) -> PairReport:
    a, b = quantities.features.completion(first), quantities.features.completion(second)
    log_first, log_second = log_probabilities(quantities.weights, a, b, quantities.decoder)
    if float(log_second) > float(log_first):
        # Not computed anew: near a tie, rounding may favour the second in either order.
        first, second, a, b, log_first = second, first, b, a, log_second
    moments = margin_moments(quantities.weights, a, b, quantities.decoder)
    differences = quantities.judging * objective_scores(a.loc - b.loc, quantities.decoder)[0]
    raters, threshold = quantities.voted
    votes = reported_votes(raters, a, b, quantities.decoder, threshold)
    contributions = dict(sorted(quantities.named(differences).items(), key=lambda item: -abs(item[1])))
    return PairReport(
        first=label(first),
        second=label(second),
        probability=float(log_first.exp()),
        margin=quantities.interval(a, b, float(moments.mean)),
        contributions=contributions,
        uncertainty=_uncertainty(moments),
        reasons=reasons_in_words(contributions),
        p_tie=float(votes.share()[0, TIE]) if config.knows_ties else None,
        disagreement=float(votes.disagreement()) if config.learned_disagreement else None,
    )


def _uncertainty(moments: PredictiveMoments) -> UncertaintyReport | None:
    variance = float(moments.variance)
    if variance <= 0.0:
        return None
    parts = (moments.feature_variance, moments.weight_variance, moments.interaction_variance)
    return UncertaintyReport.of(*(float(part) for part in parts), variance, float(moments.parameter_variance))


def _unfamiliarity(
    found: Unfamiliarity | None, position: int, categories: dict[str, float]
) -> UnfamiliarityReport | None:
    if found is None:
        return None
    distance, by_category = float(found.distance[0, position]), found.by_category[0, position]
    if not categories:
        return UnfamiliarityReport(distance)
    nearest = int(by_category.argmin())
    name, typical = list(categories.items())[nearest]
    return UnfamiliarityReport(distance, name, float(by_category[nearest]) / typical)


def _counts_meaning(config: VRMConfig) -> str:
    if not config.has_weight_uncertainty:
        return ""
    if config.counts_are_observations:
        return "Counts are pseudo-observations: an emphasis of 1 weighs as much as one vote for that objective."
    return (
        "Trained with the variational loss, so the total concentration is not calibrated as a number of votes: "
        "an emphasis steers by its size against the total, and is not a count of observations."
    )


def label(position: int) -> str:
    """A, B, ..., Z, AA, AB, ... for positions 0, 1, ..."""
    letters = ""
    position += 1
    while position:
        position, remainder = divmod(position - 1, 26)
        letters = chr(ord("A") + remainder) + letters
    return letters


def last_message(text: Text) -> str:
    """A text itself, or the text of its last message."""
    return plain_text(text if isinstance(text, str) else text[-1:])
