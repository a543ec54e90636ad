"""What a model says about the judgments of a file, gathered into arrays for the metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vrm.core.likelihoods.ratings import condition_on_ratings, expected_rating_log_likelihood
from vrm.core.quadrature import offset_margin
from vrm.data.pairs import labelled_pairs
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.statistics import without_unknown
from vrm.data.style import style_measures, text_length
from vrm.inference.engine import RewardEngine
from vrm.inference.judged import JudgedBatch
from vrm.inference.rater import RaterOffset, rater_offset
from vrm.inference.reward_choice import RAW
from vrm.inference.rewards import RewardView
from vrm.inference.targets import target_encoder
from vrm.metrics import PairPredictions, pair_predictions

_Compared = tuple[int, int, int, float]
"""Row of the batch, positions of first and second completion, preference."""


@dataclass
class Collected:
    """Arrays of one evaluation, grown a window at a time.

    Attributes:
        margin: E[u] of each pair, raw units.
        log_first: log P(a > b) by (8), each pair.
        log_second: log P(b > a).
        rater_margin: `margin` with the nuisance offset (14) of models that were trained with one; else empty.
        rater_log_first: `log_first` with it.
        rater_log_second: `log_second` with it.
        preference: labels of the pairs.
        lengths_first: characters of the first completions.
        lengths_second: characters of the second.
        prompts: prompt keys of the pairs.
        sources: `source` of the pairs.
        categories: `category` of the pairs.
        rows: the pairs' judgments, with the positions of their first and second completion.
        variance: parts of Var[u] (11) of each pair: features, weights, interaction.
        style: style measures of the first completion minus those of the second, each pair.
        from_lists: pairs that come from ranked lists.
        rated: rows (predicted, observed) of standardized ratings, by objective.
        rating_log_likelihood: sum over rated completions, in nats, of standardized ratings.
        weights: expected weights of rows with votes, in the objectives' order.
        concentration: their concentrations; empty where the weights are points.
        votes: votes of these rows.
        unknown_objectives: labels on objectives the model does not have (ratings: was not trained on), by name.
        rewards: E[r] of every completion, raw units.
        reward_prompts: prompt keys of these.
        row_weights: expected weights of every row, in the objectives' order; empty for heads without objectives.
        row_prompts: prompt keys of these rows.
        row_sources: their `source`.
        row_categories: their `category`.
        judgments: rows judged.
    """

    margin: list[float] = field(default_factory=list)
    log_first: list[float] = field(default_factory=list)
    log_second: list[float] = field(default_factory=list)
    rater_margin: list[float] = field(default_factory=list)
    rater_log_first: list[float] = field(default_factory=list)
    rater_log_second: list[float] = field(default_factory=list)
    preference: list[float] = field(default_factory=list)
    lengths_first: list[int] = field(default_factory=list)
    lengths_second: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)
    categories: list[str | None] = field(default_factory=list)
    rows: list[tuple[Judgment, int, int]] = field(default_factory=list)
    variance: list[tuple[float, float, float]] = field(default_factory=list)
    style: list[list[float]] = field(default_factory=list)
    from_lists: int = 0
    rated: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    rating_log_likelihood: float = 0.0
    weights: list[list[float]] = field(default_factory=list)
    concentration: list[list[float]] = field(default_factory=list)
    votes: list[list[float]] = field(default_factory=list)
    unknown_objectives: dict[str, int] = field(default_factory=dict)
    rewards: list[float] = field(default_factory=list)
    reward_prompts: list[str] = field(default_factory=list)
    row_weights: list[list[float]] = field(default_factory=list)
    row_prompts: list[str] = field(default_factory=list)
    row_sources: list[str | None] = field(default_factory=list)
    row_categories: list[str | None] = field(default_factory=list)
    judgments: int = 0

    def predictions(self, rater: bool = False) -> PairPredictions | None:
        """The pairs as metrics take them, with the nuisance offset (14) for `rater`; None if there are none."""
        margin, log_first, log_second = self.margin, self.log_first, self.log_second
        if rater:
            margin, log_first, log_second = self.rater_margin, self.rater_log_first, self.rater_log_second
        if not margin:
            return None
        lengths = self.lengths_first, self.lengths_second
        logs = {"log_probability": log_first, "log_complement": log_second}
        return pair_predictions(margin, self.preference, lengths, **logs, groups=self.prompts)


def collect(engine: RewardEngine, judgments: Iterable[Judgment]) -> Collected:
    """Run the engine over judgments. Every ordered pair of a ranked list counts as a pair, under its prompt.

    Raises:
        NumericsError: if a reward is not finite.
    """
    config = engine.model.config
    names = engine.objectives if config.models_objectives else ()
    rated = [name for name in names if name in config.objectives_with_ratings]
    targets = target_encoder(config, votes_total=None, objectives=engine.objectives)
    rater = rater_offset(config)
    view = RewardView(config, RAW)
    collected = Collected()
    for batch in engine.stream(judgments):
        collected.judgments += len(batch)
        known = []
        for row in batch.judgments:
            row, unknown = without_unknown(row, rated, names)
            known.append(row)
            for name in unknown:
                collected.unknown_objectives[name] = collected.unknown_objectives.get(name, 0) + 1
        rewards = view(batch).mean
        _collect_pairs(batch, rewards, rater, collected)
        _collect_rewards(batch, rewards, collected)
        if names:
            _collect_weights(batch, collected)
            labels = targets(known)
            _collect_ratings(batch, labels["ratings"][:, : batch.mask.shape[1]], names, collected)
            _collect_votes(batch, labels["votes"], collected)
    return collected


def _collect_pairs(batch: JudgedBatch, rewards: Tensor, rater: RaterOffset | None, collected: Collected) -> None:
    index: list[_Compared] = []
    for position, row in enumerate(batch.judgments):
        pairs = labelled_pairs(row)
        collected.from_lists += len(pairs) if row.scores is not None else 0
        index += [(position, *pair) for pair in pairs]
    if not index:
        return
    rows, firsts, seconds = (torch.tensor([entry[part] for entry in index]) for part in range(3))
    log_first, log_second = batch.log_probabilities(rows, firsts, seconds)
    moments = batch.margin_moments(rows, firsts, seconds)
    parts = (moments.feature_variance, moments.weight_variance, moments.interaction_variance)
    collected.variance += list(zip(*(part.tolist() for part in parts), strict=True))
    margin = rewards[rows, firsts] - rewards[rows, seconds]
    collected.margin += margin.tolist()
    collected.log_first += _logs(log_first)
    collected.log_second += _logs(log_second)
    if rater is not None:
        target = _rater_target(batch, rater, index).to(margin)
        log_first, log_second = batch.log_probabilities(rows, firsts, seconds, target)
        collected.rater_margin += (margin - target).tolist()
        collected.rater_log_first += _logs(log_first)
        collected.rater_log_second += _logs(log_second)
    for position, a, b, label in index:
        row = batch.judgments[position]
        collected.rows.append((row, a, b))
        collected.preference.append(label)
        sides = (style_measures(row.completions[side]) for side in (a, b))
        collected.style.append([one - other for one, other in zip(*sides, strict=True)])
        collected.lengths_first.append(text_length(row.completions[a]))
        collected.lengths_second.append(text_length(row.completions[b]))
        collected.prompts.append(prompt_key(row))
        collected.sources.append(row.source)
        collected.categories.append(row.category)


def _rater_target(batch: JudgedBatch, rater: RaterOffset, index: list[_Compared]) -> Tensor:
    """The target margin of each pair under which u gains the offset (14), (pairs,)."""
    texts = ([batch.judgments[entry[0]].completions[entry[side]] for entry in index] for side in (1, 2))
    first, second = map(rater, texts)
    return offset_margin(torch.zeros_like(first), first, second)


def _logs(values: Tensor) -> list[float]:
    logs: list[float] = values.double().clamp(max=0.0).tolist()
    return logs


def _collect_rewards(batch: JudgedBatch, rewards: Tensor, collected: Collected) -> None:
    for position, row in enumerate(batch.judgments):
        collected.rewards += rewards[position, : len(row.completions)].tolist()
        collected.reward_prompts += [prompt_key(row)] * len(row.completions)


def _collect_weights(batch: JudgedBatch, collected: Collected) -> None:
    collected.row_weights += batch.posteriors.weights.mean.tolist()
    for row in batch.judgments:
        collected.row_prompts.append(prompt_key(row))
        collected.row_sources.append(row.source)
        collected.row_categories.append(row.category)


def _collect_ratings(batch: JudgedBatch, ratings: Tensor, names: tuple[str, ...], collected: Collected) -> None:
    if bool(ratings.isnan().all()):
        return
    posteriors = batch.posteriors
    model = posteriors.rating_model
    predicted = model.slope * (posteriors.features.loc @ posteriors.decoder.T) + model.offset
    for column, name in enumerate(names):
        seen = ~ratings[..., column].isnan()
        if bool(seen.any()):
            pairs = zip(predicted[..., column][seen].tolist(), ratings[..., column][seen].tolist(), strict=True)
            collected.rated.setdefault(name, []).extend(pairs)
    if bool((posteriors.features.variance > 0).all()):
        conditioned = condition_on_ratings(ratings, posteriors.features, posteriors.decoder, model)
        collected.rating_log_likelihood += float(conditioned.log_likelihood.sum())
    else:
        entries = expected_rating_log_likelihood(ratings, posteriors.features, posteriors.decoder, model)
        collected.rating_log_likelihood += float(entries.sum())


def _collect_votes(batch: JudgedBatch, votes: Tensor, collected: Collected) -> None:
    weights = batch.posteriors.weights
    for position in (votes.sum(-1) > 0).nonzero()[:, 0].tolist():
        collected.weights.append(weights.mean[position].tolist())
        if not weights.is_point_mass:
            collected.concentration.append(weights.concentration[position].tolist())
        collected.votes.append(votes[position].tolist())
