"""Tables of `studies.gaussian.run`: means over seeds, and paired differences with intervals over prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from studies.evidence.tables import markdown, spread

from vrm.metrics import pairwise_hits
from vrm.metrics.intervals import bootstrap_mean

AGAINST = (("gp", "gated"), ("gp", "vrm"), ("gp", "bayes"), ("bayes", "bt"), ("bayes", "mlp"), ("bayes", "gated"))
Kept = dict[str, np.ndarray]


def kept(output: Path, source: str, size: int, head: str) -> list[Kept]:
    """What every seed left."""
    files = sorted(output.glob(f"{source}-{size}-{head}-?.npz"))
    return [dict(np.load(file)) for file in files]


def show(output: Path, heads: Sequence[str], sizes: Mapping[str, Sequence[int]]) -> None:
    """Print all tables as Markdown."""
    cells = [(source, size) for source, each in sizes.items() for size in each]
    head_row = ["head", *(f"{source} {size:,}" for source, size in cells)]
    for title, values, scale, digits in (
        ("NLL as trained", lambda run: run["nll"].mean(), 1.0, 3),
        ("NLL temperature-scaled", lambda run: run["scaled"].mean(), 1.0, 3),
        ("accuracy, %", lambda run: np.nanmean(pairwise_hits(run["margin"], run["preference"])), 100.0, 1),
        ("temperature", lambda run: float(run["temperature"]), 1.0, 2),
        ("seconds", lambda run: float(run["seconds"]), 1.0, 1),
    ):
        rows = [head_row]
        for head in heads:
            runs = [kept(output, source, size, head) for source, size in cells]
            rows.append([f"`{head}`", *(spread([float(values(run)) for run in each], scale, digits) for each in runs)])
        print(f"\n{title}\n\n{markdown(rows)}")
    for key, title in (("nll", "as trained"), ("scaled", "temperature-scaled")):
        rows = [["thousandths of a nat", *head_row[1:]]]
        for first, second in AGAINST:
            differences = (_difference(output, *cell, first, second, key) for cell in cells)
            rows.append([f"`{first}` minus `{second}`", *differences])
        print(f"\nDifferences {title}, 95 % intervals over prompts, seeds averaged; bold where all seeds agree too\n")
        print(markdown(rows))


def _difference(output: Path, source: str, size: int, first: str, second: str, key: str) -> str:
    runs = list(zip(kept(output, source, size, first), kept(output, source, size, second), strict=False))
    if not runs:
        return "-"
    seeds = np.stack([one[key] - other[key] for one, other in runs]) * 1000.0
    interval = bootstrap_mean(seeds.mean(0), runs[0][0]["groups"].tolist())
    text = f"{interval.estimate:+.0f} [{interval.low:+.0f}, {interval.high:+.0f}]"
    means = seeds.mean(1)
    counts = (interval.low > 0 or interval.high < 0) and (np.sign(means) == np.sign(interval.estimate)).all()
    return f"**{text}**" if counts else text
