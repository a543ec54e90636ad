"""What a model says about the judgments of a file, gathered into arrays for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from vrm.core.likelihoods.ratings import condition_on_ratings, expected_rating_log_likelihood
from vrm.core.quadrature import offset_margin
from vrm.data.schema import Judgment
from vrm.data.splits import prompt_key
from vrm.data.statistics import without_unknown
from vrm.data.style import style_measures, text_length
from vrm.errors import DataError
from vrm.inference.engine import RewardEngine
from vrm.inference.judged import JudgedBatch
from vrm.inference.rater import RaterOffset, rater_offset
from vrm.inference.reward_choice import RAW
from vrm.inference.rewards import RewardView
from vrm.inference.targets import target_encoder
from vrm.labels import labelled_pairs
from vrm.labels.judgments import vote_counts
from vrm.metrics import Array, PairPredictions, pair_predictions


@dataclass(frozen=True)
class VotesOnPairs:
    """What a model says of the votes on some pairs; each (pairs,), but for the first.

    Attributes:
        counts: (pairs, 3) votes for the first, for the second, ties.
        joint: log-likelihood of all of them, in nats.
        share: log-probability of a vote by the predicted share, mean over the votes.
        differ: D, the probability that two raters differ.
        margin: E[u], raw units.
        prompts: prompt keys.
    """

    counts: Array
    joint: Array
    share: Array
    differ: Array
    margin: Array
    prompts: list[str]

    @classmethod
    def concatenate(cls, parts: Sequence[VotesOnPairs]) -> VotesOnPairs:
        """One part after the other."""
        names = ("counts", "joint", "share", "differ", "margin")
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**arrays, prompts=[key for part in parts for key in part.prompts])


@dataclass
class Collected:
    """What a model says of the judgments of a file, grown a window at a time.

    The properties are columns of the pairs. They are made at the first use, so use them when all is collected.

    Attributes:
        judgments: rows judged.
        rewards: E[r] of their completions, raw units, one list a row.
        row_weights: expected weights of every row, in the objectives' order; empty for heads without objectives.
        pairs: row, positions of its first and second completion, and preference of each pair.
        margin: E[u] of each pair, raw units.
        log_first: log P(a > b) by (8), each pair.
        log_second: log P(b > a).
        rater: margin and both logs of each pair with the nuisance offset (14) of models that were trained with one.
        variance: parts of Var[u] (11) of each pair: features, weights, interaction, parameters.
        several: what the model says of votes on pairs with several judgments, in parts, one a window.
        rated: rows (predicted, observed) of standardized ratings, by objective.
        rating_log_likelihood: sum over rated completions, in nats, of standardized ratings.
        weights: expected weights of rows with votes, in the objectives' order.
        concentration: their concentrations; empty where the weights are points.
        votes: votes of these rows.
        unknown_objectives: labels on objectives the model does not have (ratings: was not trained on), by name.
    """

    judgments: list[Judgment] = field(default_factory=list)
    rewards: list[list[float]] = field(default_factory=list)
    row_weights: list[list[float]] = field(default_factory=list)
    pairs: list[tuple[Judgment, int, int, float]] = field(default_factory=list)
    margin: list[float] = field(default_factory=list)
    log_first: list[float] = field(default_factory=list)
    log_second: list[float] = field(default_factory=list)
    rater: list[tuple[float, float, float]] = field(default_factory=list)
    variance: list[tuple[float, float, float, float]] = field(default_factory=list)
    several: list[VotesOnPairs] = field(default_factory=list)
    rated: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    rating_log_likelihood: float = 0.0
    weights: list[list[float]] = field(default_factory=list)
    concentration: list[list[float]] = field(default_factory=list)
    votes: list[list[float]] = field(default_factory=list)
    unknown_objectives: Counter[str] = field(default_factory=Counter)

    @cached_property
    def preference(self) -> Array:
        """(pairs,) labels."""
        return np.asarray([label for *_, label in self.pairs])

    @cached_property
    def lengths(self) -> tuple[list[int], list[int]]:
        """Characters of the first completions, and of the second."""
        first = [text_length(row.completions[a]) for row, a, _, _ in self.pairs]
        return first, [text_length(row.completions[b]) for row, _, b, _ in self.pairs]

    @cached_property
    def prompts(self) -> list[str]:
        """Prompt keys."""
        return [prompt_key(row) for row, *_ in self.pairs]

    @cached_property
    def style(self) -> Array:
        """(pairs, measures) style of the first completion minus that of the second."""
        first = np.asarray([style_measures(row.completions[a]) for row, a, _, _ in self.pairs])
        return first - np.asarray([style_measures(row.completions[b]) for row, _, b, _ in self.pairs])

    def column(self, name: str) -> list[str | None]:
        """A field of each pair's row, such as `source`."""
        return [getattr(row, name) for row, *_ in self.pairs]

    def predictions(self, rater: bool = False) -> PairPredictions | None:
        """The pairs as metrics take them, with the nuisance offset (14) for `rater`; None if there are none."""
        if not self.pairs:
            return None
        columns = self.margin, self.log_first, self.log_second
        margin, log_first, log_second = zip(*self.rater, strict=True) if rater else columns
        return pair_predictions(margin, self.preference, self.lengths, log_first, log_second, self.prompts)


Progress = Callable[[int], object]
"""Called with the number of judgments done."""


def collect(engine: RewardEngine, judgments: Iterable[Judgment], progress: Progress = lambda done: None) -> Collected:
    """Run the engine over judgments. Every ordered pair of a ranked list counts as a pair, under its prompt.

    Raises:
        DataError: the chat template refuses every row.
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
        rows = batch.judgments
        rewards = view(batch).mean
        collected.judgments += rows
        progress(len(collected.judgments))
        collected.rewards += [
            row[: len(judged.completions)] for row, judged in zip(rewards.tolist(), rows, strict=True)
        ]
        _collect_pairs(batch, rewards, rater, collected)
        _collect_several(batch, rewards, collected)
        known, unknown = zip(*(without_unknown(row, rated, names) for row in rows), strict=True)
        collected.unknown_objectives.update(chain(*unknown))
        if names:
            collected.row_weights += batch.posteriors.weights.mean.tolist()
            labels = targets(known)
            _collect_ratings(batch, labels["ratings"][:, : batch.mask.shape[1]], names, collected)
            _collect_votes(batch, labels["votes"], collected)
    if engine.report.refused and not collected.judgments:
        raise DataError(f"nothing to judge: {engine.report.warnings()[0]}")
    return collected


def _collect_pairs(batch: JudgedBatch, rewards: Tensor, rater: RaterOffset | None, collected: Collected) -> None:
    index = [(position, *pair) for position, row in enumerate(batch.judgments) for pair in labelled_pairs(row)]
    if not index:
        return
    pairs = [(batch.judgments[position], *pair) for position, *pair in index]
    collected.pairs += pairs
    rows, firsts, seconds = (torch.tensor([entry[part] for entry in index]) for part in range(3))
    moments = batch.margin_moments(rows, firsts, seconds)
    parts = moments.feature_variance, moments.weight_variance, moments.interaction_variance, moments.parameter_variance
    collected.variance += _rows(*parts)
    margin = rewards[rows, firsts] - rewards[rows, seconds]
    log_first, log_second = map(_log, batch.log_probabilities(rows, firsts, seconds))
    collected.margin += margin.tolist()
    collected.log_first += log_first.tolist()
    collected.log_second += log_second.tolist()
    if rater is not None:
        # The target margin under which u gains the offset (14).
        first, second = (rater([row.completions[entry[side]] for row, *entry in pairs]) for side in (0, 1))
        target = offset_margin(torch.zeros_like(first), first, second).to(margin)
        collected.rater += _rows(margin - target, *map(_log, batch.log_probabilities(rows, firsts, seconds, target)))


def _collect_several(batch: JudgedBatch, rewards: Tensor, collected: Collected) -> None:
    rows = torch.tensor([index for index, row in enumerate(batch.judgments) if row.judgments], dtype=torch.long)
    if not len(rows):
        return
    judged = [batch.judgments[index] for index in rows.tolist()]
    counts = torch.tensor([vote_counts(row.judgments or []) for row in judged]).to(rewards)
    votes = batch.votes(rows, torch.zeros_like(rows), torch.ones_like(rows))
    margin = rewards[rows, 0] - rewards[rows, 1]
    columns = (counts, votes.log_likelihood(counts), votes.mean_log_share(counts), votes.disagreement(), margin)
    arrays = (column.double().numpy() for column in columns)
    collected.several.append(VotesOnPairs(*arrays, prompts=[prompt_key(row) for row in judged]))


def _log(values: Tensor) -> Tensor:
    return values.double().clamp(max=0.0)


def _rows(*columns: Tensor) -> list[tuple[float, ...]]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


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
