"""Evaluations as tables for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from vrm.evaluate.detail_tables import details_table
from vrm.metrics import PreferenceSummary
from vrm.results.evaluation import Evaluation, RaterSummary, RatingSummary, VoteSummary
from vrm.results.formats import number, percent, span

MAX_GROUPS = 20
"""Groups that a table shows; JSON has all."""


def print_evaluation(console: Console, evaluation: Evaluation, title: str) -> None:
    """Print what was measured, part by part."""
    if evaluation.pairs is not None:
        console.print(_pairs_table(evaluation, title))
        if evaluation.pairs.ties:
            console.print(f"{evaluation.pairs.ties} ties count in NLL and Brier, not in accuracies.")
        if evaluation.pairs_from_lists:
            console.print(f"{evaluation.pairs_from_lists} of the pairs are from ranked lists.")
        console.print(details_table(evaluation))
    if evaluation.rater is not None:
        console.print(_rater_line(evaluation.rater))
    if evaluation.ratings is not None:
        console.print(_ratings_table(evaluation.ratings))
    if evaluation.votes is not None:
        console.print(_votes_table(evaluation.votes))
    if evaluation.unknown_objectives:
        names = ", ".join(f"{name} ({count})" for name, count in sorted(evaluation.unknown_objectives.items()))
        console.print(f"Labels on objectives this model does not have were left out: {names}", markup=False)
    console.print(evaluation.overlong, markup=False)


def _rater_line(rater: RaterSummary) -> str:
    accuracy = f"{percent(rater.accuracy.estimate)} {span(rater.accuracy)}"
    return (
        f"With the nuisance offset that training explained labels by ({', '.join(rater.measures)}, factor "
        f"{rater.factor:g}): accuracy {accuracy}, NLL {number(rater.negative_log_likelihood)}. All else leaves it out."
    )


def _pairs_table(evaluation: Evaluation, title: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = (
        "accuracy in %, 95 % interval by bootstrap over prompts; lc: mean of the accuracies where the chosen is the "
        "longer and the shorter; sure: accuracy on the most certain half; longer: what 'the longer wins' scores"
    )
    table.add_column("", overflow="fold")
    for name in ("pairs", "accuracy", "lc", "sure", "longer", "NLL", "Brier", "ECE"):
        table.add_column(name, justify="right", no_wrap=True)
    assert evaluation.pairs is not None
    _add(table, "all", evaluation.pairs, style="bold")
    for label, groups in (("source", evaluation.by_source), ("category", evaluation.by_category)):
        if len(groups) > 1:
            _add_groups(table, label, groups)
    return table


def _add_groups(table: Table, label: str, groups: Mapping[str, PreferenceSummary]) -> None:
    table.add_section()
    largest = sorted(groups.items(), key=lambda entry: -entry[1].count)
    for name, summary in largest[:MAX_GROUPS]:
        _add(table, name, summary)
    if len(largest) > MAX_GROUPS:
        table.add_row(f"({len(largest) - MAX_GROUPS} more by {label}: --json)", *[""] * 8)


def _add(table: Table, name: str, summary: PreferenceSummary, style: str = "") -> None:
    interval = summary.accuracy
    accuracy = f"{percent(interval.estimate)} {span(interval)}"
    table.add_row(
        name.replace("[", r"\["),
        str(summary.count),
        accuracy,
        percent(summary.length_controlled.value),
        percent(summary.accuracy_most_certain_half),
        percent(summary.longer_wins.value),
        number(summary.negative_log_likelihood),
        number(summary.brier),
        number(summary.calibration.value),
        style=style,
    )


def _ratings_table(ratings: RatingSummary) -> Table:
    table = Table(title="Ratings", title_justify="left", caption_justify="left")
    table.caption = (
        f"log-likelihood {number(ratings.log_likelihood)} nats a rating, of {ratings.count} standardized ratings; "
        f"standard normal: {number(ratings.log_likelihood_standard_normal)}"
    )
    for name in ("objective", "Pearson", "Spearman"):
        table.add_column(name, justify="left" if name == "objective" else "right")
    for name, value in ratings.pearson.items():
        table.add_row(name, number(value), number(ratings.spearman[name]))
    return table


def _votes_table(votes: VoteSummary) -> Table:
    table = Table(
        title=f"Objective votes ({votes.count} rows, {len(votes.objectives)} objectives)", title_justify="left"
    )
    for name in ("", "model", "base rate"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("log-likelihood a row, nats", number(votes.log_likelihood), number(votes.log_likelihood_base_rate))
    table.add_row("recall at the row's own k, %", percent(votes.top_k_recall), percent(votes.top_k_recall_base_rate))
    table.add_row("correlation of weight and vote", number(votes.pearson), "")
    return table
