"""What can be read into a model's objective weights: identified, said by votes, or one reading among many."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vrm.choices import Identification
from vrm.model.configuration_vrm import VRMConfig
from vrm.model.heads.registry import head_class
from vrm.model.modeling_vrm import VRMForSequenceClassification
from vrm.wire.explanation import Identifiability

RANK_TOLERANCE = 1e-3
"""Singular values of A below this share of the largest count as zero."""

ONE_RATER = "How often two raters differ is not known: no pair of the training data was judged by two."

NO_INTERVALS = (
    "How often two raters differ, and how wide intervals should be, is not known: no pair of the training data was "
    "judged by two."
)


def identifiability(model: VRMForSequenceClassification) -> Identifiability:
    """Which case holds for a model; see section 8 of docs/theory.md.

    Comparisons and ratings see w only through A^T w. Weights are identified when A has rank K and ratings fix the scale
    of every objective, or when votes, which see w itself, say so; otherwise many weights explain the data equally well.
    """
    config = model.config
    decoder = model.score.decoder.detach().double().cpu()
    rank = int(torch.linalg.matrix_rank(decoder, rtol=RANK_TOLERANCE))
    size = (rank, config.num_objectives, decoder.shape[1])
    intervals = _shows_intervals(config)
    if not config.models_objectives:
        statement = f"Head '{config.head}' has one objective, the reward itself: there are no weights to read."
        return Identifiability(
            Identification.SINGLE, *size, (statement, *_about_raters(config, intervals)), intervals=intervals
        )
    votes, ratings = _covered(config, config.objectives_with_votes), _covered(config, config.objectives_with_ratings)
    statements = []
    if not config.has_weight_uncertainty and not config.two_stages:
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
    return Identifiability(status, *size, (*statements, *_about_raters(config, intervals)), intervals=intervals)


def _shows_intervals(config: VRMConfig) -> bool:
    """Whether training shows how unsure the model should be.

    The second stage of (19) keeps what held-out pairs show. In one stage several observations must share a latent:
    raters of a pair, ratings of a completion, votes on objectives. Parameters are shared by all pairs.
    """
    if head_class(config.head).has_parameter_uncertainty:
        return True
    if config.two_stages:
        return config.has_reward_uncertainty
    seen = config.learned_disagreement or config.objectives_with_ratings or config.objectives_with_votes
    return bool(config.has_reward_uncertainty and seen)


def _about_raters(config: VRMConfig, intervals: bool) -> list[str]:
    """What is missing because no pair was judged twice, or because held-out pairs did not ask for it."""
    head = head_class(config.head)
    able = {"features": head.has_feature_uncertainty, "weights": head.has_weight_uncertainty}
    if not config.learned_disagreement:
        return [NO_INTERVALS if any(able.values()) and not intervals else ONE_RATER]
    has = {"features": config.has_feature_uncertainty, "weights": config.has_weight_uncertainty}
    missing = [part for part in able if able[part] and not has[part]]
    if not missing:
        return []
    return [
        f"There are no intervals of {' and '.join(missing)}: no spread of theirs made held-out pairs likelier than "
        "chance would."
    ]


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
