"""Steering (13) at inference: features do not depend on it, so one forward pass serves any."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from vrm.core.posteriors import Posteriors
from vrm.core.steering import emphasize, without
from vrm.errors import ConfigError
from vrm.inference.judged import JudgedBatch
from vrm.model.modeling_vrm import VRMForSequenceClassification


@dataclass(frozen=True)
class Steering:
    """What to change at inference, equation (13).

    Attributes:
        emphasis: {objective: count >= 0}, added to the concentration.
        without: objectives left out.
    """

    emphasis: dict[str, float]
    without: tuple[str, ...] = ()


def check_steering(model: VRMForSequenceClassification, steering: Steering | None) -> None:
    """Check steering against a model before anything is computed; raises ConfigError."""
    if steering is None:
        return
    names = model.config.objective_names
    unknown = sorted((set(steering.emphasis) | set(steering.without)) - set(names))
    if unknown:
        raise ConfigError(f"steering names {', '.join(unknown)}, but the model's objectives are: {', '.join(names)}")
    if steering.emphasis and not model.config.has_weight_uncertainty:
        raise ConfigError(
            f"head '{model.config.head}' has no concentration to add counts to, so it cannot be emphasized"
        )
    wrong = {name: count for name, count in steering.emphasis.items() if not 0 <= count < float("inf")}
    if wrong:
        raise ConfigError(f"emphasis counts must be finite and >= 0, got {wrong}")
    if not set(names) - set(steering.without):
        raise ConfigError("at least one objective must remain; all were left out")


def steer(batch: JudgedBatch, steering: Steering | None) -> JudgedBatch:
    """The batch as an engine with this steering would have judged it.

    Args:
        batch: judged without steering.
        steering: checked by `check_steering`; None leaves the batch as it is.

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
