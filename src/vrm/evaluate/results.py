"""The documents that commands write as JSON: what they begin with, and the rewards that go beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vrm.data.style import text_length
from vrm.data.tokenized import OverlongReport
from vrm.evaluate.benchmarks.base import BenchmarkExample, LoadedBenchmark, Rewards, Summary
from vrm.evaluate.benchmarks.outcomes import Outcomes
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import backbone_fingerprint
from vrm.model.checkpoint import weights_sha256

SCHEMA = 1


def document_header(
    kind: str, model: str, engine: RewardEngine, settings: Mapping[str, Any], versions: Mapping[str, str]
) -> dict[str, Any]:
    """What every document says first: what it is, of which model, and how it was made.

    Args:
        kind: `evaluation`, `comparison`, ...
        model: as the user named it.
        engine: that model.
        settings: everything that the figures depend on.
        versions: {package: version}.
    """
    return {
        "kind": kind,
        "schema": SCHEMA,
        "model": model,
        **model_hashes(model, engine),
        "settings": dict(settings),
        "versions": dict(versions),
    }


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


def benchmark_entry(
    loaded: LoadedBenchmark, summary: Summary, overlong: Mapping[str, int], path: str | None = None
) -> dict[str, Any]:
    """What a document says of one benchmark.

    Args:
        loaded: what was read.
        summary: the figures.
        overlong: from `overlong_counts`.
        path: as the user named it; None for the Hub.
    """
    counts = {"rows": loaded.rows, "examples": len(loaded.examples), "left_out": loaded.unusual.left_out}
    return {
        **summary.to_dict(),
        "path": path,
        "counts": counts | {"overlong": dict(overlong)},
        "data": loaded.to_dict(),
    }


def reward_rows(
    examples: Sequence[BenchmarkExample], rewards: Rewards, outcomes: Outcomes | None
) -> list[dict[str, Any]]:
    """A row an example, without any text; `rewards` is null for examples dropped as overlong.

    `relative_std` is the standard deviation relative to the prompt's average completion, null where not computed.

    Args:
        examples: of one benchmark.
        rewards: of these examples.
        outcomes: what they add to the figures; None leaves `outcome` empty.
    """
    rows = []
    for position, (example, given) in enumerate(zip(examples, rewards, strict=True)):
        outcome = {} if outcomes is None else {name: column[position] for name, column in outcomes.credit.items()}
        rows.append(
            {
                "id": example.id,
                "labels": example.labels,
                "group": example.prompt_group,
                "label": example.label,
                "lengths": [text_length(text) for text in example.judgment.completions],
                "rewards": None if given is None else list(given.mean),
                "reward_std": None if given is None else list(given.std),
                "relative_std": None if given is None else list(given.relative_std) or None,
                "outcome": {name: float(value) for name, value in outcome.items() if not np.isnan(value)},
            }
        )
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write JSONL, and the directory for it if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, allow_nan=False) + "\n")
