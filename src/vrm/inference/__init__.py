"""Judging text: the engine, scoring files and explaining judgments. Names are loaded when they are used."""

from __future__ import annotations

from vrm._lazy import lazy_names

_WHERE = {
    "RewardEngine": "vrm.inference.engine",
    "Steering": "vrm.inference.steering",
    "RewardView": "vrm.inference.rewards",
    "RewardChoice": "vrm.inference.reward_choice",
    "Explanation": "vrm.wire.explanation",
    "ExtractionOptions": "vrm.inference.extraction",
    "ScoreOptions": "vrm.inference.score",
    "Scorer": "vrm.inference.score",
    "read_scoring_rows": "vrm.inference.score",
    "open_sink": "vrm.inference.score_output",
    "scoring_settings": "vrm.inference.score_output",
    "write_scores": "vrm.inference.score_output",
}

__all__ = list(_WHERE)

# Importing one of the names must not load what only another one needs.
__getattr__, __dir__ = lazy_names(__name__, _WHERE)
