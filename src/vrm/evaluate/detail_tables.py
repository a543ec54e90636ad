"""The compact table below an evaluation's headline: style control, selective areas, disagreement."""

from __future__ import annotations

from rich.table import Table

from vrm.results.evaluation import Detection, Evaluation, SignalAuroc, StyleReport
from vrm.results.formats import number, percent, signed, span

RANKINGS = {
    "probability": "probability",
    "margin": "|margin|",
    "margin_over_sd": "|margin| / sd",
    "weight_sd": "weight sd, low first",
    "weight_share": "weight share, low first",
}
"""What curves are ranked by, as the table calls it."""

SIGNALS = {
    "closeness": "closeness, -|margin|",
    "weight_share": "weight share of variance",
    "weight_sd": "weight sd",
    "total_sd": "total sd",
}
"""What is to find ties and disagreement, as the table calls it."""


def details_table(evaluation: Evaluation) -> Table:
    """What accuracy leaves open, one measure a row, each with what it is to be compared with."""
    table = Table(title="Style, certainty, disagreement", title_justify="left", caption_justify="left")
    table.caption = (
        "style-controlled: as if style told nothing about the label; area: accuracy in %, mean over all coverages, the "
        "most certain first"
    )
    if evaluation.disagreement is not None:
        table.caption += "; AUROC: chance 0.50"
    for name in ("", "value", "95 % interval", "compare with"):
        justify = "left" if name in ("", "compare with") else "right"
        table.add_column(name, justify=justify, no_wrap=name == "95 % interval")  # type: ignore[arg-type]
    if evaluation.style_controlled is not None:
        _add_style(table, evaluation.style_controlled)
    _add_selective(table, evaluation)
    if evaluation.disagreement is not None:
        _add_detection(table, "ties", evaluation.disagreement.ties)
        _add_detection(table, "pairs in dispute", evaluation.disagreement.disagreement)
    return table


def _add_style(table: Table, style: StyleReport) -> None:
    accuracy = style.accuracy
    right, wrong = accuracy.style_right, accuracy.style_wrong
    beside = accuracy.reason or (
        f"'style wins': {percent(accuracy.style_wins.value)}; the model where style is right "
        f"{percent(right.value)} ({right.count}), wrong {percent(wrong.value)} ({wrong.count})"
    )
    estimate = accuracy.accuracy
    table.add_row("style-controlled accuracy", percent(estimate.estimate), span(estimate), beside)


def _add_selective(table: Table, evaluation: Evaluation) -> None:
    table.add_section()
    for index, (name, curve) in enumerate(evaluation.selective.items()):
        beside = (
            "" if index or evaluation.pairs is None else f"at random: {percent(evaluation.pairs.accuracy.estimate)}"
        )
        table.add_row(f"area by {RANKINGS[name]}", percent(curve.area.estimate), span(curve.area), beside)
        beside = ""


def _add_detection(table: Table, what: str, detection: Detection | None) -> None:
    if detection is None:
        return
    table.add_section()
    table.add_row(f"AUROC: {detection.positives} {what} from {detection.negatives} others", "", "", "")
    for name, signal in detection.signals.items():
        auroc = signal.auroc
        table.add_row(f"  {SIGNALS[name]}", number(auroc.estimate, 2), span(auroc, _short), _over(signal))


def _over(signal: SignalAuroc) -> str:
    over = signal.over_closeness
    return "" if over is None else f"over closeness {signed(over.estimate, 2)} {span(over, _short_signed)}"


def _short(value: float) -> str:
    return number(value, 2)


def _short_signed(value: float) -> str:
    return signed(value, 2)
