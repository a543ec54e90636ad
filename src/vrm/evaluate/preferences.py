"""Evaluation on any file of the schema: pairs, ratings and votes, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from vrm.core.distributions import ObjectiveWeights
from vrm.core.likelihoods.votes import dirichlet_multinomial_log_likelihood, normalize_votes
from vrm.data.schema import Judgment
from vrm.evaluate.collect import Collected, collect
from vrm.evaluate.diagnostics import reward_spread, selective_curves, style_report, weights_by_group
from vrm.evaluate.disagreement import disagreement_report
from vrm.evaluate.mistakes import confident_mistakes
from vrm.evaluate.rater import rater_summary
from vrm.inference.engine import RewardEngine
from vrm.inference.rater import rater_offset
from vrm.metrics import (
    DEFAULT_RESAMPLING,
    PairPredictions,
    PreferenceSummary,
    ResampleOptions,
    by_group,
    pair_predictions,
    pearson,
    preference_summary,
    reliability_bins,
    spearman,
    top_k_recall_at_own_k,
)
from vrm.results.evaluation import Evaluation, RatingSummary, VoteSummary


def evaluate_judgments(
    engine: RewardEngine,
    judgments: Sequence[Judgment],
    options: ResampleOptions = DEFAULT_RESAMPLING,
    *,
    mistakes: int = 0,
) -> Evaluation:
    """Metrics of a model on judgments; probabilities by (8) averaged over fixed draws of the weights.

    Args:
        engine: the model, possibly steered.
        judgments: rows of any kind.
        options: of the bootstrap over prompts; its seed also deals the folds of the style-only model.
        mistakes: how many of the most confident mistakes to explain; their texts become part of the result.

    Example:
        >>> from vrm import RewardEngine, evaluate_judgments, load_judgments
        >>> engine = RewardEngine.from_pretrained("runs/mine/model")
        >>> evaluation = evaluate_judgments(engine, load_judgments("pairs.jsonl").judgments)
        >>> 0.0 <= evaluation.pairs.accuracy.estimate <= 1.0
        True
    """
    found = collect(engine, judgments)
    overlong = engine.report.render()  # before mistakes are judged again
    pairs = predictions(found)

    def summary(rows: PairPredictions) -> PreferenceSummary:
        return preference_summary(rows, options)

    def grouped(labels: list[str | None]) -> dict[str, PreferenceSummary]:
        if pairs is None or all(label is None for label in labels):
            return {}
        return by_group(lambda rows: summary(pairs.take(rows)), labels)

    overall = None if pairs is None else summary(pairs)
    return Evaluation(
        judgments=found.judgments,
        overlong=overlong,
        pairs_from_lists=found.from_lists,
        unknown_objectives=found.unknown_objectives,
        pairs=overall,
        by_source=grouped(found.sources),
        by_category=grouped(found.categories),
        ratings=_ratings(found),
        votes=_votes(found, engine.objectives),
        style_controlled=None if pairs is None else style_report(found, pairs, options),
        selective={} if pairs is None else selective_curves(found, pairs, options),
        reliability=() if overall is None else reliability_bins(overall.calibration, options.confidence),
        disagreement=None if pairs is None else disagreement_report(found, options),
        weights_by_category=weights_by_group(found, engine.objectives),
        reward_spread=reward_spread(found, engine.model.config.reward_std),
        rater=rater_summary(found, rater_offset(engine.model.config), options),
        mistakes=confident_mistakes(engine, found, mistakes),
    )


def predictions(found: Collected) -> PairPredictions | None:
    """The collected pairs as the metrics take them; None if there are none."""
    if not found.margin:
        return None
    return pair_predictions(
        found.margin,
        found.preference,
        (found.lengths_first, found.lengths_second),
        log_probability=found.log_first,
        log_complement=found.log_second,
        groups=found.prompts,
    )


def _ratings(found: Collected) -> RatingSummary | None:
    if not found.rated:
        return None
    tables = {name: np.asarray(rows) for name, rows in found.rated.items()}
    observed = np.concatenate([table[:, 1] for table in tables.values()])
    return RatingSummary(
        count=len(observed),
        pearson={name: pearson(table[:, 0], table[:, 1]) for name, table in tables.items()},
        spearman={name: spearman(table[:, 0], table[:, 1]) for name, table in tables.items()},
        log_likelihood=found.rating_log_likelihood / len(observed),
        log_likelihood_standard_normal=float(-0.5 * (observed**2 + math.log(2 * math.pi)).mean()),
    )


def _votes(found: Collected, names: Sequence[str]) -> VoteSummary | None:
    if not found.votes:
        return None
    votes = normalize_votes(torch.tensor(found.votes, dtype=torch.float64))
    candidates = (votes.sum(0) > 0).nonzero()[:, 0]
    votes = votes[:, candidates]
    mean = torch.tensor(found.weights, dtype=torch.float64)[:, candidates]
    mean = mean / mean.sum(-1, keepdim=True)
    concentration = torch.tensor(found.concentration, dtype=torch.float64)[:, candidates]
    weights = ObjectiveWeights(mean, None if bool(concentration.isinf().any()) else concentration)
    base = ObjectiveWeights(votes.mean(0, keepdim=True).expand_as(votes))
    return VoteSummary(
        count=len(votes),
        objectives=[names[index] for index in candidates.tolist()],
        pearson=pearson(mean.flatten().numpy(), votes.flatten().numpy()),
        log_likelihood=float(dirichlet_multinomial_log_likelihood(votes, weights).mean()),
        log_likelihood_base_rate=float(dirichlet_multinomial_log_likelihood(votes, base).mean()),
        top_k_recall=top_k_recall_at_own_k(mean.numpy(), votes.numpy()),
        top_k_recall_base_rate=top_k_recall_at_own_k(base.mean.numpy(), votes.numpy()),
    )
