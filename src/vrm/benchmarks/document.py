"""What a document says of one benchmark, and the rewards of its examples, which go beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vrm.benchmarks.base import BenchmarkExample, LoadedBenchmark, Rewards, Summary
from vrm.benchmarks.outcomes import Outcomes
from vrm.data.style import text_length
from vrm.files import new_file
from vrm.metrics import field_values
from vrm.results.benchmarks import BenchmarkEntry, BestOfNEntry, BestOfNFigures


def benchmark_entry(
    loaded: LoadedBenchmark, summary: Summary, overlong: Mapping[str, int], path: str | None = None
) -> BenchmarkEntry | BestOfNEntry:
    """What a document says of one benchmark.

    Args:
        loaded: what was read.
        summary: the figures.
        overlong: from `overlong_counts`.
        path: as the user named it; None for the Hub.
    """
    counts = {"rows": loaded.rows, "examples": len(loaded.examples), "left_out": loaded.unusual.left_out}
    form = BestOfNEntry if isinstance(summary, BestOfNFigures) else BenchmarkEntry
    return form(**field_values(summary), path=path, counts=counts | {"overlong": dict(overlong)}, data=loaded.to_dict())


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
    with new_file(path) as file:
        for row in rows:
            file.write(json.dumps(row, allow_nan=False) + "\n")
