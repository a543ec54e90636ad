"""The plot and the tables of `grpo_chat_model.py`, from its document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLORS = ("#b2182b", "#1f78b4", "#1b7837", "#e08214", "#542788")
PANELS = {
    "reward": "reward that is optimized, standardized",
    "judge": "judge, which only watches, standardized",
    "length": "tokens of an answer",
    "repeated": "share of repeated word triples",
    "kl": "KL to the start, nats an answer",
}
WINDOW = 5
SHOWN_OBJECTIVES = 6


def smoothed(values: list[float]) -> list[float]:
    """Running means over the last `WINDOW` steps."""
    windows = [values[max(0, end - WINDOW) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]


def draw(document: dict[str, Any], target: Path) -> None:
    """By step: reward, judge, length, repetition, KL and objectives; and the best of n, alone where there is no run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    runs = document["runs"]
    rows, columns = (2, 4) if runs else (1, 1)
    figure, axes = plt.subplots(rows, columns, figsize=(4.25 * columns + 1, 3.6 * rows), layout="constrained")
    if runs:
        panels = axes.flatten()
        _draw_steps(panels[: len(PANELS)], runs)
        _draw_objectives(panels[5], runs)
        _draw_price(panels[7], document)
    _draw_best_of_n(panels[6] if runs else axes, document)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _draw_steps(panels: Any, runs: dict[str, Any]) -> None:
    for axis, (name, title) in zip(panels, PANELS.items(), strict=True):
        for (label, run), color in zip(runs.items(), COLORS, strict=False):
            values = run["steps"][name]
            axis.plot(range(1, len(values) + 1), values, color=color, alpha=0.25, linewidth=0.9)
            axis.plot(range(1, len(values) + 1), smoothed(values), color=color, label=label, linewidth=2.2)
        _dress(axis, title, "GRPO steps")
    panels[0].legend(title="optimized reward", frameon=False)


def _dress(axis: Any, title: str, label: str) -> None:
    axis.set_title(title, fontsize=11)
    axis.set_xlabel(label)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_objectives(axis: Any, runs: dict[str, Any]) -> None:
    """The objectives that moved most, of the last run that has any."""
    with_objectives = {label: run for label, run in runs.items() if run["steps"]["objectives"]}
    label = next(reversed(with_objectives), None)
    _dress(axis, f"objectives of {label} that moved most" if label else "no run has objectives", "GRPO steps")
    if label is None:
        return
    curves = {name: smoothed(values) for name, values in with_objectives[label]["steps"]["objectives"].items()}
    ordered = sorted(curves, key=lambda name: -abs(curves[name][-1] - curves[name][0]))
    for name in ordered[:SHOWN_OBJECTIVES]:
        axis.plot(range(1, len(curves[name]) + 1), curves[name], label=name, linewidth=1.6)
    axis.legend(fontsize=8, frameon=False)


def _draw_best_of_n(axis: Any, document: dict[str, Any]) -> None:
    """The judge's opinion of the pick against n; what the judge itself would pick is the upper end."""
    found = document["best_of_n"]
    named = [name for name in found["curves"] if name not in ("random", "longest", "oracle")]
    styles = {"longest": ("#7f7f7f", "--"), "random": ("#bdbdbd", ":"), "oracle": ("black", ":")}
    styles |= {name: (color, "-") for name, color in zip(named, COLORS, strict=False)}
    for name, curve in found["curves"].items():
        color, style = styles[name]
        label = "the judge's own pick" if name == "oracle" else name
        axis.plot(found["n"], [point["estimate"] for point in curve], style, color=color, label=label)
        if name in named:
            low, high = ([point[end] for point in curve] for end in ("low", "high"))
            axis.fill_between(found["n"], low, high, color=color, alpha=0.12, linewidth=0)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    _dress(axis, "judge, of the best of n answers of the start", "n")
    axis.legend(fontsize=8, frameon=False)


def _draw_price(axis: Any, document: dict[str, Any]) -> None:
    """What the judge gains for each nat of KL: by picking, and by training."""
    found = document["best_of_n"]
    for (label, run), color in zip(document["runs"].items(), COLORS, strict=False):
        gains = [point["estimate"] - found["curves"][label][0]["estimate"] for point in found["curves"][label]]
        axis.plot(found["policy_kl"], gains, color=color, label=f"{label}, best of n")
        gain, kl = run["change"]["judge"], smoothed(run["steps"]["kl"])[-1]
        error = [[gain["estimate"] - gain["low"]], [gain["high"] - gain["estimate"]]]
        axis.errorbar(kl, gain["estimate"], error, marker="o", color=color, capsize=3, label=f"{label}, GRPO")
    axis.axhline(0, color="black", linewidth=0.6)
    _dress(axis, "judge above the start, held-out prompts", "KL to the start, nats an answer")
    axis.legend(fontsize=8, frameon=False)


def report(document: dict[str, Any]) -> str:
    """Held-out prompts before and after, best of n, and three answers of each policy, as text."""
    start, runs = document["start"], document["runs"]
    lines = [
        f"{'held-out prompts':26}{'judge above the start':>24}{'reward above it':>24}{'tokens':>9}{'repeated':>10}"
    ]
    lines.append(f"{'start':26}{'0':>24}{'0':>24}{start['length']:9.1f}{start['repeated']:10.3f}")
    for label, run in runs.items():
        after, judge, own = run["after"], _interval(run["change"]["judge"]), _interval(run["change"][label])
        lines.append(f"{'GRPO by ' + label:26}{judge:>24}{own:>24}{after['length']:9.1f}{after['repeated']:10.3f}")
    found = document["best_of_n"]
    for name, gain in found["gains"].items():
        title = f"best of {found['n'][-1]} by {name}"
        lines.append(f"{title:26}{_interval(gain):>24}")
    if runs:
        lines += ["", f"first and last {WINDOW} steps: reward, judge, tokens, repeated, KL"]
    for label, run in runs.items():
        ends = {name: (_mean(run["steps"][name][:WINDOW]), _mean(run["steps"][name][-WINDOW:])) for name in PANELS}
        lines.append(f"  {label:12}" + "  ".join(f"{first:.2f} -> {last:.2f}" for first, last in ends.values()))
    for number, question in enumerate(document["prompts"]["held_out"][:3]):
        lines += ["", f"> {question}"]
        texts = start["answers"][number]
        answers = {"start": texts[0], **{label: run["after"]["answers"][number][0] for label, run in runs.items()}}
        for name, rewards in start["rewards"].items():
            best = max(range(len(texts)), key=rewards[number].__getitem__)
            answers[f"best of {len(texts)} by {name}"] = texts[best]
        lines += [f"  {name}: {text!r}" for name, text in answers.items()]
    return "\n".join(lines)


def _interval(found: dict[str, float]) -> str:
    return f"{found['estimate']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
