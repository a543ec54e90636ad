"""The head `mlp`: a plain reward model with a hidden layer."""

from __future__ import annotations

from vrm.model.heads.base import JudgmentHead


class MLPHead(JudgmentHead):
    """One deterministic feature by a network of two layers; it is the reward, and A is 1."""

    is_scalar = True
    description = "a multilayer perceptron with one output"
