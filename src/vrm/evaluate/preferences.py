"""Evaluation on any file of the schema: pairs, ratings and votes, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from vrm.core.distributions import ObjectiveWeights
from vrm.core.likelihoods.votes import dirichlet_multinomial_log_likelihood, normalize_votes
from vrm.data.schema import Judgment
from vrm.evaluate.collect import Collected, Progress, collect
from vrm.evaluate.diagnostics import (
    confident_mistakes,
    disagreement_report,
    rater_summary,
    reward_spread,
    selective_curves,
    style_report,
    weights_by_group,
)
from vrm.evaluate.several import several_raters
from vrm.inference.engine import RewardEngine
from vrm.inference.rater import rater_offset
from vrm.metrics import (
    DEFAULT_RESAMPLING,
    PreferenceSummary,
    ResampleOptions,
    by_group,
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
    progress: Progress = lambda done: None,
) -> Evaluation:
    """Metrics of a model on judgments; probabilities by (8) averaged over fixed draws of the weights.

    Args:
        engine: the model, possibly steered.
        judgments: rows of any kind.
        options: of the bootstrap over prompts; its seed also deals the folds of the style-only model.
        mistakes: how many of the most confident mistakes to explain; their texts become part of the result.
        progress: called with the number of judgments done; metrics and intervals follow after the last.

    Example:
        >>> from vrm import RewardEngine, evaluate_judgments, load_judgments
        >>> engine = RewardEngine.from_pretrained("runs/mine/model")
        >>> evaluation = evaluate_judgments(engine, load_judgments("pairs.jsonl").judgments)
        >>> 0.0 <= evaluation.pairs.accuracy.estimate <= 1.0
        True
    """
    collected = collect(engine, judgments, progress)
    overlong = engine.report.render()  # before mistakes are judged again
    pairs = collected.predictions()

    def grouped(name: str) -> dict[str, PreferenceSummary]:
        labels = collected.column(name)
        if pairs is None or all(label is None for label in labels):
            return {}
        return by_group(lambda rows: preference_summary(pairs.take(rows), options), labels)

    overall = None if pairs is None else preference_summary(pairs, options)
    return Evaluation(
        judgments=len(collected.judgments),
        overlong=overlong,
        pairs_from_lists=sum(row.scores is not None for row, *_ in collected.pairs),
        unknown_objectives=dict(collected.unknown_objectives),
        pairs=overall,
        by_source=grouped("source"),
        by_category=grouped("category"),
        ratings=_ratings(collected),
        votes=_votes(collected, engine.objectives),
        style_controlled=None if pairs is None else style_report(collected, pairs, options),
        selective={} if pairs is None else selective_curves(collected, pairs, options),
        reliability=() if overall is None else reliability_bins(overall.calibration, options.confidence),
        disagreement=None if pairs is None else disagreement_report(collected, options),
        several_raters=several_raters(collected, engine.model.config.models_ties, options),
        weights_by_category=weights_by_group(collected, engine.objectives),
        reward_spread=reward_spread(collected, engine.model.config.reward_std),
        rater=rater_summary(collected, rater_offset(engine.model.config), options),
        mistakes=confident_mistakes(engine, collected, mistakes),
    )


def _ratings(collected: Collected) -> RatingSummary | None:
    if not collected.rated:
        return None
    tables = {name: np.asarray(rows) for name, rows in collected.rated.items()}
    observed = np.concatenate([table[:, 1] for table in tables.values()])
    return RatingSummary(
        count=len(observed),
        pearson={name: pearson(table[:, 0], table[:, 1]) for name, table in tables.items()},
        spearman={name: spearman(table[:, 0], table[:, 1]) for name, table in tables.items()},
        log_likelihood=collected.rating_log_likelihood / len(observed),
        log_likelihood_standard_normal=float(-0.5 * (observed**2 + math.log(2 * math.pi)).mean()),
    )


def _votes(collected: Collected, names: Sequence[str]) -> VoteSummary | None:
    if not collected.votes:
        return None
    votes = normalize_votes(torch.tensor(collected.votes, dtype=torch.float64))
    candidates = (votes.sum(0) > 0).nonzero()[:, 0]
    votes = votes[:, candidates]
    mean = torch.tensor(collected.weights, dtype=torch.float64)[:, candidates]
    mean = mean / mean.sum(-1, keepdim=True)
    weights = ObjectiveWeights(mean)
    if collected.concentration:
        weights = ObjectiveWeights(mean, torch.tensor(collected.concentration, dtype=torch.float64)[:, candidates])
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
