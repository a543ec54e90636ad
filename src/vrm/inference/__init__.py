"""Judging text: the engine, scoring files and explaining judgments. Names are loaded when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "RewardEngine": "vrm.inference.engine",
    "Steering": "vrm.inference.steering",
    "Explanation": "vrm.inference.explanation",
    "ExtractionOptions": "vrm.inference.extraction",
    "ScoreOptions": "vrm.inference.score",
    "Scorer": "vrm.inference.score",
    "read_scoring_rows": "vrm.inference.score",
    "open_sink": "vrm.inference.score_output",
    "scoring_settings": "vrm.inference.score_output",
    "write_scores": "vrm.inference.score_output",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    # Importing one of the names must not load what only another one needs.
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'vrm.inference' has no attribute {name!r}")
