"""Evaluations as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from rich.console import Console
from rich.table import Column, Table

from vrm.metrics import PreferenceSummary
from vrm.results.evaluation import (
    Detection,
    DisagreementReport,
    Evaluation,
    RaterSummary,
    RatingSummary,
    SeveralRatersSummary,
    StyleReport,
    VoteSummary,
)
from vrm.results.formats import few_words, largest, number, percent, plural, signed, span, table, with_span

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
    "disagreement": "chance that two raters differ",
}
"""What is to find ties and disagreement, as the table calls it."""


def print_evaluation(console: Console, evaluation: Evaluation, title: str) -> None:
    """Print what was measured, part by part."""
    if evaluation.pairs is not None:
        console.print(_pairs_table(evaluation, title))
        few = few_words(evaluation.pairs.prompts)
        if few:
            console.print(few)
        if evaluation.pairs.ties:
            console.print(f"{evaluation.pairs.ties} ties count in NLL and Brier, not in accuracies.")
        if evaluation.pairs_from_lists:
            console.print(f"{evaluation.pairs_from_lists} of the pairs are from ranked lists.")
        console.print(details_table(evaluation))
    if evaluation.several_raters is not None:
        console.print(_several_table(evaluation.several_raters, evaluation.disagreement))
    if evaluation.rater is not None:
        console.print(_rater_line(evaluation.rater, evaluation.pairs))
    if evaluation.ratings is not None:
        console.print(_ratings_table(evaluation.ratings))
    if evaluation.votes is not None:
        console.print(_votes_table(evaluation.votes))
    if evaluation.unknown_objectives:
        names = ", ".join(f"{name} ({count})" for name, count in sorted(evaluation.unknown_objectives.items()))
        console.print(f"Labels on objectives this model does not have were left out: {names}", markup=False)
    console.print(evaluation.overlong, markup=False)


def _judged(pairs: PreferenceSummary | None) -> str:
    """Of how many pairs an accuracy is."""
    return plural(0 if pairs is None else pairs.count - pairs.ties, "pair")


def _rater_line(rater: RaterSummary, pairs: PreferenceSummary | None) -> str:
    accuracy = f"{with_span(rater.accuracy)} of {_judged(pairs)}"
    return (
        f"With the nuisance offset that training explained labels by ({', '.join(rater.measures)}, factor "
        f"{rater.factor:g}): accuracy {accuracy}, NLL {number(rater.negative_log_likelihood)}. "
        "All else leaves it out."
    )


def _pairs_table(evaluation: Evaluation, title: str) -> Table:
    caption = (
        "accuracy in %, 95 % interval over prompts; lc: mean of the accuracies where the chosen is the "
        "longer and the shorter; sure: accuracy on the most certain half; longer: what 'the longer wins' scores"
    )
    columns = ["", "pairs", "accuracy", "lc", "sure", "longer", "NLL", "Brier", "ECE"]
    measures = table(title, columns, caption)
    assert evaluation.pairs is not None
    _add(measures, "all", evaluation.pairs, style="bold")
    for label, groups in (("source", evaluation.by_source), ("category", evaluation.by_category)):
        if len(groups) > 1:
            _add_groups(measures, label, groups)
    return measures


def _add_groups(measures: Table, label: str, groups: Mapping[str, PreferenceSummary]) -> None:
    measures.add_section()
    shown = largest(groups, lambda summary: summary.count)
    for name, summary in shown:
        _add(measures, name, summary)
    if len(groups) > len(shown):
        measures.add_row(f"({len(groups) - len(shown)} more by {label}: --json)")


def _add(measures: Table, name: str, summary: PreferenceSummary, style: str = "") -> None:
    measures.add_row(
        name.replace("[", r"\["),
        str(summary.count),
        with_span(summary.accuracy),
        percent(summary.length_controlled.value),
        percent(summary.accuracy_most_certain_half),
        percent(summary.longer_wins.value),
        number(summary.negative_log_likelihood),
        number(summary.brier),
        number(summary.calibration.value),
        style=style,
    )


def _several_table(several: SeveralRatersSummary, above: DisagreementReport | None = None) -> Table:
    """What is predicted of the votes of several raters, each measure with its number and what to compare it with.

    An AUROC that the table above shows of the same pairs is not shown again.
    """
    ties = f"{several.ties:,} of them ties" if several.ties else "no ties"
    caption = "NLL in nats a judgment; joint: all votes on a pair together; majority: pairs with more votes for a side"
    if several.ties and not several.models_ties:
        caption += "; this model predicts no ties, and a tie counts as half a vote for either side"
    title = f"Several raters ({several.pairs:,} pairs, {several.judgments:,} judgments, {ties})"
    measures = table(title, ["", "n", "value", "95 % interval", Column("compare with")], caption)
    joint, share, majority = several.joint_nll, several.share_nll, several.majority_accuracy
    base = f"every pair alike: {number(several.joint_nll_base_rate)}"
    measures.add_row("joint NLL", f"{several.judgments:,}", number(joint.estimate), span(joint, number), base)
    measures.add_row("NLL of the vote share", f"{several.pairs:,}", number(share.estimate), span(share, number))
    if majority is not None:
        measures.add_row("majority, %", f"{several.decided:,}", percent(majority.estimate), span(majority))
    left = _not_shown(several.disagreement, above and above.disagreement)
    _add_detection(measures, "pairs on which raters differ", left, blanks=1)
    return measures


def _ratings_table(ratings: RatingSummary) -> Table:
    caption = (
        f"log-likelihood {number(ratings.log_likelihood)} nats a rating, of {ratings.count} standardized ratings; "
        f"standard normal: {number(ratings.log_likelihood_standard_normal)}"
    )
    correlations = table("Ratings", ["objective", "Pearson", "Spearman"], caption)
    for name, value in ratings.pearson.items():
        correlations.add_row(name, number(value), number(ratings.spearman[name]))
    return correlations


def _votes_table(votes: VoteSummary) -> Table:
    title = f"Objective votes ({votes.count} rows, {len(votes.objectives)} objectives)"
    measures = table(title, ["", "model", "base rate"])
    measures.add_row("log-likelihood a row, nats", number(votes.log_likelihood), number(votes.log_likelihood_base_rate))
    measures.add_row("recall at the row's own k, %", percent(votes.top_k_recall), percent(votes.top_k_recall_base_rate))
    measures.add_row("correlation of weight and vote", number(votes.pearson))
    return measures


def details_table(evaluation: Evaluation) -> Table:
    """What accuracy leaves open, one measure a row, each with what it is to be compared with."""
    caption = (
        "style-controlled: as if style told nothing about the label; area: accuracy in %, mean over all coverages, the "
        "most certain first"
    )
    if evaluation.disagreement is not None:
        caption += "; AUROC: chance 0.50"
    details = table("Style, certainty, disagreement", ["", "value", "95 % interval", Column("compare with")], caption)
    if evaluation.style_controlled is not None:
        _add_style(details, evaluation.style_controlled)
    _add_selective(details, evaluation)
    if evaluation.disagreement is not None:
        _add_detection(details, "ties", evaluation.disagreement.ties)
        _add_detection(details, "pairs in dispute", evaluation.disagreement.disagreement)
    return details


def _add_style(details: Table, style: StyleReport) -> None:
    accuracy = style.accuracy
    right, wrong = accuracy.style_right, accuracy.style_wrong
    beside = accuracy.reason or (
        f"'style wins': {percent(accuracy.style_wins.value)}; the model where style is right "
        f"{percent(right.value)} ({right.count}), wrong {percent(wrong.value)} ({wrong.count})"
    )
    estimate = accuracy.accuracy
    details.add_row("style-controlled accuracy", percent(estimate.estimate), span(estimate), beside)


def _at_random(pairs: PreferenceSummary) -> str:
    return f"at random: {percent(pairs.accuracy.estimate)} of {_judged(pairs)}"


def _add_selective(details: Table, evaluation: Evaluation) -> None:
    details.add_section()
    beside = "" if evaluation.pairs is None else _at_random(evaluation.pairs)
    for name, curve in evaluation.selective.items():
        details.add_row(f"area by {RANKINGS[name]}", percent(curve.area.estimate), span(curve.area), beside)
        beside = ""


def _not_shown(detection: Detection | None, above: Detection | None) -> Detection | None:
    """Without the signals that another detection has with the same figures."""
    if detection is None or above is None:
        return detection
    signals = {name: signal for name, signal in detection.signals.items() if above.signals.get(name) != signal}
    return replace(detection, signals=signals) if signals else None


def _add_detection(details: Table, what: str, detection: Detection | None, blanks: int = 0) -> None:
    if detection is None:
        return
    details.add_section()
    details.add_row(f"AUROC: {detection.positives} {what}, against {detection.negatives} others")
    for name, signal in detection.signals.items():
        auroc, over = signal.auroc, signal.over_closeness
        beside = "" if over is None else f"over closeness {with_span(over, partial(signed, digits=2))}"
        short = partial(number, digits=2)
        empty = [""] * blanks
        details.add_row(f"  {SIGNALS[name]}", *empty, short(auroc.estimate), span(auroc, short), beside)
