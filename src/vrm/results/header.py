"""What documents about a model begin with: which model it is, and how its figures were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vrm.data.tokenized import OverlongReport
from vrm.inference.engine import RewardEngine
from vrm.metrics import field_values
from vrm.model.checkpoint import weights_sha256
from vrm.results.base import MeasuredModel, versions


def model_header(model: str, engine: RewardEngine, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `ModelDocument`.

    Args:
        model: as the user named it.
        engine: that model.
        settings: everything that the figures depend on.
    """
    return field_values(measured_model(model, engine)) | {"settings": dict(settings), "versions": versions()}


def measured_model(model: str, engine: RewardEngine) -> MeasuredModel:
    """Head and hashes of a model."""
    return MeasuredModel(
        model=model,
        head=engine.model.config.head,
        model_sha256=weights_sha256(model),
        template_sha256=template_sha256(engine.tokenizer),
        backbone_sha256=engine.backbone_sha256,
    )


def template_sha256(tokenizer: Any) -> str | None:
    """SHA-256 of a tokenizer's chat template as UTF-8; of several, of their JSON with sorted keys; None without one."""
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def overlong_counts(report: OverlongReport) -> dict[str, int]:
    """Judgments over the limit of tokens, by what became of them; and what a template does to rows, where it does."""
    counts = {name: value for name, value in vars(report).items() if isinstance(value, int)}
    return {name: value for name, value in counts.items() if value or name not in _WHERE_THERE}


_WHERE_THERE = {"refused", "identical"}
"""Counts that documents have where they are not 0."""
