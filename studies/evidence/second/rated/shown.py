"""Tables and plot of what real raters' ratings are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from studies.evidence.savings import interval_text
from studies.evidence.second.rated.models import MODELS
from studies.evidence.second.rated.scores import agree
from studies.evidence.tables import markdown, spread

SCALE = {"accuracy": (100.0, 1), "length-controlled": (100.0, 1), "nll": (1000.0, 0)}
CURVES = {"gated, ratings": "gated", "vrm, ratings": "vrm"}
"""What learns from ratings, and what stands for it where there are none."""

NAMES = {"test": "splits", "hfngs_v1.dev": "dev", "hfngs_controlled.dev": "controlled"}


def tables(figures: dict[str, Any]) -> str:
    """Every table."""
    models, differences = figures["models"], figures["differences"]
    parts = [
        "**Every model**, splits of hfngs_v1 and two dev files\n\n"
        + _levels(models, [n for n in models if n in MODELS or "length as in" in n]),
        "**Differences**, points and 1e-3 nats; in brackets how many splits agree\n\n" + _differences(differences),
        _starts(models),
        "**Rated rows**, the first splits\n\n" + _levels(figures["rated rows"], list(figures["rated rows"])),
        "**Attributes and rating weight**, `gated` with 16 objectives, the first split\n\n"
        + _levels(figures["attributes"], list(figures["attributes"])),
        _told(figures),
    ]
    return "\n\n".join(part for part in parts if part)


def _cell(figure: Mapping[str, Any], metric: str) -> str:
    value, low, high = figure[metric]
    if metric == "nll":
        return f"{value:.3f}"
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _levels(models: Mapping[str, Any], names: Sequence[str]) -> str:
    if not names:
        return "not run"
    tests = list(models[names[0]])
    head = ["", *(f"{NAMES.get(test, test)}: {metric}" for test in tests for metric in _shown(test))]
    rows = [[*head, "correlation with log length"]]
    for name in names:
        cells = [_cell(models[name][test], metric) for test in tests for metric in _shown(test)]
        rows.append([f"`{name}`", *cells, spread(models[name]["test"]["correlation, splits"], 1.0, 2)])
    return markdown(rows)


def _shown(test: str) -> tuple[str, ...]:
    return ("accuracy", "length-controlled", "nll") if test == "test" else ("accuracy", "length-controlled")


def _differences(differences: Mapping[str, Any]) -> str:
    rows: list[list[str]] = []
    for name, tests in differences.items():
        cells = []
        for test, metric in ((test, metric) for test in tests for metric in SCALE):
            scale, digits = SCALE[metric]
            text = interval_text(tests[test][metric], scale, digits)
            cells.append(f"{NAMES.get(test, test)} {metric} {text} ({agree(tests[test], metric)})")
        rows.append([name, "; ".join(cells)])
    return markdown([["difference", "by test fold"], *rows])


def _starts(models: Mapping[str, Any]) -> str:
    """Spread of length-controlled accuracy over starts of one split, and over splits."""
    rows = [["length-controlled accuracy, points", "sd over starts of a split", "sd over splits of a start's mean"]]
    for name in ("gated, ratings", "vrm, ratings"):
        found = [label for label in models if label.startswith(f"{name}, start ")]
        if not found:
            return ""
        count = len(models[found[0]]["test"]["length-controlled, splits"])
        each = np.array([models[label]["test"]["length-controlled, splits"][:count] for label in [name, *found]])
        within, between = np.sqrt(each.var(0, ddof=1).mean()), each.mean(0).std(ddof=1)
        rows.append([f"`{name}`", f"{100 * within:.1f}", f"{100 * between:.1f}"])
    return f"**Start or split**\n\n{markdown(rows)}"


def _told(figures: Mapping[str, Any]) -> str:
    told, errors = figures["told"], figures["rating errors"]
    columns = {f"ridge, {kind}": told["ratings"][kind] for kind in ("text", "others", "text and others")}
    for label, kinds in errors.items():
        columns |= {f"`{label}`, {kind}": values for kind, values in kinds.items()}
    rows = [["variance explained, %", *told["ratings"]["names"], "mean"]]
    for name, values in columns.items():
        explained = [100 * (1 - value) for value in values]
        rows.append([name, *(f"{value:.0f}" for value in explained), f"{np.mean(explained):.1f}"])
    both = told["true ratings and margin"]
    label = f"true ratings and the margin of `gated, ratings`: {_cell(both, 'accuracy')} accuracy, " + (
        f"{_cell(both, 'length-controlled')} length-controlled, NLL {_cell(both, 'nll')}"
    )
    raters = [["the second rater's choice, by the first one's", "NLL", "accuracy, %", "NLL minus her choice, 1e-3"]]
    for name, entry in told["second rater"].items():
        against = interval_text(entry["nll minus her choice"], 1000.0, 0)
        raters.append([name, f"{entry['nll']:.3f}", f"{100 * entry['accuracy']:.1f}", against])
    return f"**What ratings tell**\n\n{markdown(rows)}\n\n{label}\n\n{markdown(raters)}"


def plot(figures: dict[str, Any], folder: Path) -> Path:
    """Length-controlled accuracy by number of rated rows, with 95 % bands, on the splits and where style was varied."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = figures["rated rows"]
    tests = {
        "test": "held-out prompts of hfngs_v1",
        "hfngs_controlled.dev": "hfngs_controlled, style varied on purpose",
    }
    panels, axes = pyplot.subplots(1, 2, figsize=(8.4, 3.8), sharey=False, layout="constrained")
    for place, (test, title) in zip(axes, tests.items(), strict=True):
        for number, (name, without) in enumerate(CURVES.items()):
            labels = [without, *(f"{name}, {count} rows" for count in (50, 200, 400)), name]
            points = [
                (x, models[label][test]["length-controlled"])
                for x, label in enumerate(labels)
                if _has(models, label, test)
            ]
            across = [x + 0.06 * (number - 0.5) for x, _ in points]
            values = 100 * np.array([limits for _, limits in points]).reshape(-1, 3)
            around = [values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]
            place.errorbar(
                across,
                values[:, 0],
                around,
                fmt="o-",
                markersize=4,
                linewidth=1.4,
                capsize=2,
                label=name.removesuffix(", ratings"),
            )
        place.set_title(title, fontsize=10)
        place.set_xticks(range(5), ["0", "50", "200", "400", "all"])
        place.set_xlabel("pairs with ratings (all: about 930)", fontsize=9)
        place.grid(True, color="#e4e4e4", linewidth=0.6)
    axes[0].set_ylabel("length-controlled accuracy, %", fontsize=9)
    axes[0].legend(fontsize=8, frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "evidence-ratings.png"
    panels.savefig(file, dpi=130)
    pyplot.close(panels)
    return file


def _has(models: Mapping[str, Any], label: str, test: str) -> bool:
    return label in models and test in models[label]
