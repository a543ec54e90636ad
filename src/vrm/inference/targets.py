"""Labels as a model's losses and metrics take them."""

from __future__ import annotations

from collections.abc import Sequence

from vrm.data.collate import TargetEncoder
from vrm.model.configuration_vrm import VRMConfig


def target_encoder(
    config: VRMConfig, votes_total: float | None = 1.0, objectives: Sequence[str] | None = None
) -> TargetEncoder:
    """Label encoder of a model; without objectives for heads that model none.

    Args:
        config: of the model; ratings are standardized by its means and spreads.
        votes_total: that a row's votes are scaled to; None keeps counts as they are.
        objectives: those that remain after steering; None for all of the head's, in its order.
    """
    names = config.objective_names if objectives is None else objectives
    kept = tuple(names) if config.models_objectives else ()
    return TargetEncoder(kept, config.rating_mean, config.rating_std, votes_total)
