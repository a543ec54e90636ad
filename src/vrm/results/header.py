"""What documents about a model begin with: which model it is, and how its figures were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vrm.data.tokenized import OverlongReport
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import backbone_fingerprint
from vrm.model.checkpoint import weights_sha256
from vrm.results.versions import versions


def model_header(model: str, engine: RewardEngine, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `ModelDocument`.

    Args:
        model: as the user named it.
        engine: that model.
        settings: everything that the figures depend on.
    """
    return {"model": model, **model_hashes(model, engine), "settings": dict(settings), "versions": versions()}


def model_hashes(model: str, engine: RewardEngine) -> dict[str, Any]:
    """Head, and SHA-256 of the weights as stored, of the backbone as loaded, and of the chat template."""
    return {
        "head": engine.model.config.head,
        "model_sha256": weights_sha256(model),
        "template_sha256": template_sha256(engine.tokenizer),
        "backbone_sha256": backbone_fingerprint(engine.model),
    }


def template_sha256(tokenizer: Any) -> str | None:
    """SHA-256 of a tokenizer's chat template as UTF-8; of several, of their JSON with sorted keys; None without one."""
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def overlong_counts(report: OverlongReport) -> dict[str, int]:
    """Judgments over the model's limit of tokens, by what became of them."""
    return {name: value for name, value in asdict(report).items() if isinstance(value, int)}
