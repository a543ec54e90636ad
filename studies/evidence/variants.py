"""Variants of the variational head: what each part of it is worth, and question (h)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from vrm.core.distributions import ObjectiveWeights, SemanticFeatures
from vrm.core.posteriors import Posteriors


def certain_features(found: Posteriors) -> Posteriors:
    """Semantic features without variance."""
    features = SemanticFeatures(found.features.loc, torch.zeros_like(found.features.variance))
    return replace(found, features=features)


def certain_weights(found: Posteriors) -> Posteriors:
    """Objective weights at their mean."""
    return replace(found, weights=ObjectiveWeights(found.weights.mean))


def certain(found: Posteriors) -> Posteriors:
    """Neither."""
    return certain_weights(certain_features(found))


@dataclass(frozen=True)
class Variant:
    """A head with changed settings.

    Attributes:
        of: the head.
        settings: fields of `Settings` that differ from the tuned ones.
        transform: applied to what the head says, in training and after.
    """

    of: str
    settings: dict[str, Any] = field(default_factory=dict)
    transform: Callable[[Posteriors], Posteriors] | None = None


VARIANTS = {
    "vrm-marginal": Variant("vrm", {"loss": "marginal"}),
    "vrm-certain-features": Variant("vrm", transform=certain_features),
    "vrm-certain-weights": Variant("vrm", transform=certain_weights),
    "vrm-certain": Variant("vrm", transform=certain),
    "vrm-no-kl": Variant("vrm", {"kl": 0.0}),
    "vrm-kl-0.03": Variant("vrm", {"kl": 0.03}),
    "vrm-no-warmup": Variant("vrm", {"kl_warmup": 0.0}),
    "vrm-prior-0.3": Variant("vrm", {"head": {"prior_concentration": 0.3}}),
    "vrm-prior-3": Variant("vrm", {"head": {"prior_concentration": 3.0}}),
    "vrm-d2": Variant("vrm", {"head": {"num_features": 2}}),
    "vrm-d32": Variant("vrm", {"head": {"num_features": 32}}),
    "vrm-k4": Variant("vrm", {"head": {"num_free_objectives": 4}}),
    "vrm-k64": Variant("vrm", {"head": {"num_free_objectives": 64}}),
    "vrm-no-votes": Variant("vrm", {"votes": 0.0}),
    "vrm-votes-1": Variant("vrm", {"votes": 1.0}),
    # The package's defaults before this study, and candidates for new ones.
    "vrm-old-defaults": Variant("vrm", {"learning_rate": 1e-3, "weight_decay": 0.01, "dropout": 0.1, "kl": 0.003}),
    "vrm-new-defaults": Variant("vrm", {"learning_rate": 3e-4, "weight_decay": 0.1, "dropout": 0.3, "kl": 0.003}),
    "vrm-defaults-0.3": Variant("vrm", {"learning_rate": 3e-4, "weight_decay": 0.1, "dropout": 0.3, "kl": 0.001}),
    "vrm-defaults-1e-3": Variant("vrm", {"learning_rate": 1e-3, "weight_decay": 0.1, "dropout": 0.3, "kl": 0.001}),
    "vrm-defaults-0.5": Variant("vrm", {"learning_rate": 3e-4, "weight_decay": 0.1, "dropout": 0.5, "kl": 0.001}),
    "gated-old-defaults": Variant("gated", {"learning_rate": 1e-3, "weight_decay": 0.01, "dropout": 0.1}),
    "gated-new-defaults": Variant("gated", {"learning_rate": 3e-4, "weight_decay": 0.1, "dropout": 0.3}),
    "gated-d32": Variant("gated", {"head": {"num_features": 32}}),
}
