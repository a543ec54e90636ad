"""The plot of the closed loop: gold against policy KL, and the share of flattery and padding over steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SHOWN = {
    "bt": ("#000000", "-", "o"),
    "gated": ("#0072b2", "-", "s"),
    "vrm": ("#d55e00", "-", "^"),
    "gated, labels": ("#0072b2", "--", "s"),
    "vrm, labels": ("#d55e00", "--", "^"),
    "gated, labels, offset": ("#0072b2", ":", "s"),
    "vrm, labels, offset": ("#d55e00", ":", "^"),
}
"""Colour, line and marker: heads by colour and marker, labels by the line (Okabe and Ito's colours)."""


def draw(runs: dict[str, Any], target: Path, steps: int) -> Path:
    """Means over seeds; `steps` between two points."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4.3), layout="constrained")
    for name, (color, line, marker) in SHOWN.items():
        entries = list(runs.get(name, {}).values())
        if not entries:
            continue
        gold, shortcut = (np.mean([entry["curves"][curve] for entry in entries], 0) for curve in ("gold", "shortcut"))
        kl = np.mean([entry["kl"][: len(gold)] for entry in entries], 0)
        style: dict[str, Any] = {"color": color, "linestyle": line, "marker": marker, "markersize": 4, "label": name}
        left.plot(kl, gold, **style)
        right.plot(steps * np.arange(len(shortcut)), shortcut, **style)
    left.set(xlabel="KL of the policy to its start, nats", ylabel="gold score")
    right.set(xlabel="GRPO steps", ylabel="share of flattery and padding", ylim=(0, 1))
    for axis in (left, right):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=100)
    plt.close(figure)
    return target
