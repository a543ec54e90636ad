"""Steering (13) of judgments that were made without it: the features are the same, so one forward pass serves all."""

from __future__ import annotations

from dataclasses import replace

import torch

from vrm.core.losses import Posteriors
from vrm.core.steering import emphasize, without
from vrm.inference.engine import JudgedBatch, Steering


def steer(batch: JudgedBatch, steering: Steering | None) -> JudgedBatch:
    """The batch as an engine with this steering would have judged it.

    Args:
        batch: judged without steering.
        steering: checked by `vrm.inference.engine.check_steering`; None leaves the batch as it is.

    Raises:
        ConfigError: if the head cannot follow it.
    """
    if steering is None:
        return batch
    posteriors, names = batch.posteriors, batch.objectives
    weights, decoder, rating = posteriors.weights, posteriors.decoder, posteriors.rating_model
    if steering.emphasis:
        weights = emphasize(weights, torch.tensor([float(steering.emphasis.get(name, 0.0)) for name in names]))
    if steering.without:
        keep = torch.tensor([name not in steering.without for name in names])
        weights, decoder = without(weights, decoder, keep)
        rating = replace(rating, offset=rating.offset[keep], scale=rating.scale[keep])
        names = tuple(name for name in names if name not in steering.without)
    return replace(batch, posteriors=Posteriors(weights, posteriors.features, decoder, rating), objectives=names)
