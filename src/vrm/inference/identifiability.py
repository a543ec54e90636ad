"""What can be read into a model's objective weights: identified, said by votes, or one reading among many."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vrm.choices import Identification
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.wire.explanation import Identifiability

RANK_TOLERANCE = 1e-3
"""Singular values of A below this share of the largest count as zero."""

ONE_RATER = "How often two raters differ is not known: no pair of the training data was judged by two."


def identifiability(model: VRMForSequenceClassification) -> Identifiability:
    """Which case holds for a model; see section 8 of docs/theory.md.

    Comparisons and ratings see w only through A^T w. Weights are identified when A has rank K and ratings fix the scale
    of every objective, or when votes, which see w itself, say so; otherwise many weights explain the data equally well.
    """
    config = model.config
    raters = () if config.learned_disagreement else (ONE_RATER,)
    decoder = model.score.decoder.detach().double().cpu()
    rank = int(torch.linalg.matrix_rank(decoder, rtol=RANK_TOLERANCE))
    size = (rank, config.num_objectives, decoder.shape[1])
    if not config.models_objectives:
        statement = f"Head '{config.head}' has one objective, the reward itself: there are no weights to read."
        return Identifiability(Identification.SINGLE, *size, (statement, *raters))
    votes, ratings = _covered(config, config.objectives_with_votes), _covered(config, config.objectives_with_ratings)
    statements = []
    if not config.has_weight_uncertainty:
        statements.append(f"Head '{config.head}' gives weights without uncertainty: they are points.")
    if votes:
        status = Identification.VOTES
        statements.append(
            "Votes on every named objective were part of training: their weights say which objectives decided."
        )
    elif ratings and rank == config.num_objectives and not config.num_free_objectives:
        status = Identification.IDENTIFIED
        statements.append(
            f"The weights are identified: the matrix from features to objectives has rank {rank}, one for each "
            "objective, and ratings fix the scales. A weight is an objective's importance per standard deviation of "
            "its ratings. More data would settle them; whether this much has, only votes on held-out rows can tell "
            "(vrm evaluate)."
        )
    else:
        status = Identification.AMBIGUOUS
        statements.append(_ambiguity(config, rank, ratings))
    if config.num_free_objectives:
        statements.append("Free objectives have no meaning of their own; they hold what the named ones leave over.")
    return Identifiability(status, *size, (*statements, *raters))


def _covered(config: VRMConfig, names: Sequence[str]) -> bool:
    return bool(config.objectives) and set(config.objectives) <= set(names)


def _ambiguity(config: VRMConfig, rank: int, ratings: bool) -> str:
    count = config.num_objectives
    reasons = []
    if rank < count:
        reasons.append(f"{count} objectives share {rank} independent directions of the features")
    if not config.objectives:
        reasons.append("no objective has ratings or votes")
    elif not ratings:
        known = {*config.objectives_with_ratings, *config.objectives_with_votes}
        missing = [name for name in config.objectives if name not in known]
        reasons.append(
            f"neither ratings nor votes tell what {', '.join(missing)} weigh{'s' if len(missing) == 1 else ''}"
            if missing
            else "neither ratings nor votes cover every named objective"
        )
    elif config.num_free_objectives:
        reasons.append("free objectives can take over part of a named one")
    return (
        f"Many weights explain the training data equally well: {'; '.join(reasons)}. "
        "Rewards, margins and probabilities do not depend on which; single weights and contributions do."
    )
