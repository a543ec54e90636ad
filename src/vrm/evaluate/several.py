"""Pairs with several raters: how well their votes, their disagreement and their majority are predicted (15)."""

from __future__ import annotations

import numpy as np

from vrm.evaluate.collect import Collected, VotesOnPairs
from vrm.evaluate.diagnostics import detection
from vrm.metrics import (
    Array,
    Interval,
    ResampleOptions,
    bootstrap_mean,
    bootstrap_totals,
    pairwise_hits,
    share_interval,
)
from vrm.results.evaluation import SeveralRatersSummary


def several_raters(collected: Collected, models_ties: bool, options: ResampleOptions) -> SeveralRatersSummary | None:
    """Measures of pairs with several judgments, intervals by bootstrap over prompts; None without such pairs.

    Args:
        collected: what the model says of the file.
        models_ties: whether the model has a tie threshold; without one ties count as half a vote for either side.
        options: of the bootstrap.
    """
    if not collected.several:
        return None
    votes = VotesOnPairs.concatenate(collected.several)
    raters = votes.counts.sum(1)
    (joint,) = bootstrap_totals(
        np.stack([-votes.joint, raters], axis=1),
        lambda totals: totals[:, :1] / totals[:, 1:],
        votes.prompts,
        options,
    )
    signals = {"closeness": -abs(votes.margin), "disagreement": votes.differ}
    differ = ((votes.counts > 0).sum(1) > 1).astype(np.float64)
    decided = votes.counts[:, 0] != votes.counts[:, 1]
    return SeveralRatersSummary(
        pairs=len(raters),
        judgments=int(raters.sum()),
        ties=int(votes.counts[:, 2].sum()),
        models_ties=models_ties,
        joint_nll=joint,
        joint_nll_base_rate=_base_rate(votes.counts, models_ties),
        share_nll=bootstrap_mean(-votes.share, votes.prompts, options),
        disagreement=detection(signals, differ, votes.prompts, options),
        decided=int(decided.sum()),
        majority_accuracy=_majority(votes, decided, options) if decided.any() else None,
    )


def _base_rate(counts: Array, models_ties: bool) -> float:
    """NLL of a vote where ties have their share in these votes, and either side half of the rest."""
    ties = counts[:, 2].sum() / counts.sum() if models_ties else 0.0
    sides = -(1 - ties) * np.log((1 - ties) / 2) if ties < 1 else 0.0
    return float(sides - (ties * np.log(ties) if ties > 0 else 0.0))


def _majority(votes: VotesOnPairs, decided: Array, options: ResampleOptions) -> Interval:
    first = (votes.counts[:, 0] > votes.counts[:, 1]).astype(np.float64)[decided]
    prompts = [key for key, kept in zip(votes.prompts, decided, strict=True) if kept]
    return share_interval(pairwise_hits(votes.margin[decided], first), prompts, options.confidence)
