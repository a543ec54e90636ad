"""What `vrm quickstart` found, as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from vrm.metrics import pearson
from vrm.results import Evaluation, QuickstartDocument
from vrm.results.adaptation import RecoveredRater
from vrm.results.evaluation import SeveralRatersSummary
from vrm.results.formats import ends, number, percent, plural, signed, table, with_span


def print_quickstart(console: Console, document: QuickstartDocument) -> None:
    """Print accuracies, votes and weights, each beside what was planted."""
    console.print(_accuracy_table(document.heads))
    console.print(_votes_table(document))
    console.print(_weights_table(document))
    console.print(_raters_table(document))


def _accuracy_table(heads: dict[str, dict[str, Evaluation]]) -> Table:
    measures = [f"{split}\n{name}" for split in ("test", "reversed") for name in ("accuracy", "NLL", "ECE")]
    title = "Quickstart corpus: the shortcut agrees with the label in 4 of 5 training pairs"
    first = next(iter(heads.values()))
    counts = [evaluation.pairs for evaluation in first.values()]
    numbers = " and ".join(plural(pairs.count - pairs.ties, "pair") for pairs in counts if pairs is not None)
    caption = f"accuracy in %, 95 % intervals over prompts, of {numbers}"
    accuracies = table(title, ["head", *measures], caption, wrap=True)
    for head, evaluations in heads.items():
        cells = []
        for evaluation in evaluations.values():
            pairs = evaluation.pairs
            assert pairs is not None
            calibration_error = number(pairs.calibration.value)
            cells += [with_span(pairs.accuracy), number(pairs.negative_log_likelihood), calibration_error]
        accuracies.add_row(head, *cells)
    cells = [cell for pairs in counts if pairs is not None for cell in (percent(pairs.longer_wins.value), "", "")]
    accuracies.add_row("longer wins", *cells, style="dim")
    return accuracies


def _votes_table(document: QuickstartDocument) -> Table:
    """What is predicted of the raters' votes, and what the planted probabilities themselves predict."""
    measures = [f"{split}\n{name}" for split in ("test", "reversed") for name in ("NLL", "D", "closeness")]
    first = next(iter(document.votes_by_truth.values()))
    title = f"Three raters a pair: {percent(first.ties / first.judgments)} % of their judgments are ties"
    caption = (
        "NLL of a judgment in nats, all of a pair together; D, closeness: area under the ROC curve for pairs on which "
        "raters differ, by the predicted chance that two do and by a small margin"
    )
    votes = table(title, ["head", *measures], caption, wrap=True)
    for head, evaluations in document.heads.items():
        votes.add_row(head, *_vote_cells(evaluation.several_raters for evaluation in evaluations.values()))
    votes.add_row("planted", *_vote_cells(document.votes_by_truth.values()), style="bold")
    return votes


def _vote_cells(summaries: Iterable[SeveralRatersSummary | None]) -> list[str]:
    cells = []
    for summary in summaries:
        assert summary is not None
        assert summary.disagreement is not None
        signals = summary.disagreement.signals
        cells.append(number(summary.joint_nll.estimate))
        cells += [number(signals[name].auroc.estimate, 2) for name in ("disagreement", "closeness")]
    return cells


def _weights_table(document: QuickstartDocument) -> Table:
    title = "Distance of inferred from true objective weights, by domain"
    caption = "total variation on test prompts: 0 equal, 1 disjoint"
    measured = table(title, ["domain", "gated", "vrm", "uniform weights"], caption, wrap=True)
    uniform, distances = document.weight_distance_uniform, document.weight_distance
    for domain in sorted(uniform):
        measured.add_row(domain, *(number(values[domain], 2) for values in (*distances.values(), uniform)))
    means = [sum(values.values()) / len(values) for values in (*distances.values(), uniform)]
    measured.add_row("mean", *(number(mean, 2) for mean in means), style="bold")
    return measured


def _raters_table(document: QuickstartDocument) -> Table:
    """Of each rater the largest planted tilt, and what it was found to be; the caption has all tilts."""
    heads = list(document.raters)
    correlations = " and ".join(
        f"{head} {number(_mean_correlation(raters), 2)}" for head, raters in document.raters.items()
    )
    thresholds = " and ".join(
        f"{head} {number(_threshold_correlation(raters), 2)}" for head, raters in document.raters.items()
    )
    caption = (
        f"Inferred from the training rows, 90 % intervals. Correlation with what was planted over the raters: tilts of "
        f"an objective, mean, {correlations}; tie thresholds {thresholds}."
    )
    title = "The largest tilt of each rater, in units of objective weights"
    tilts = table(title, ["rater", "judgments", "objective", "planted", *heads], caption, wrap=True)
    for name, rater in document.raters[heads[0]].items():
        objective = max(rater.true_tilts, key=lambda each: abs(rater.true_tilts[each]))
        found = [_tilt(raters[name], objective) for raters in document.raters.values()]
        tilts.add_row(name, f"{rater.comparisons:,}", objective, signed(rater.true_tilts[objective], 2), *found)
    return tilts


def _tilt(rater: RecoveredRater, objective: str) -> str:
    tilt = rater.tilts[objective]
    return f"{signed(tilt.mean, 2)} \\{ends(tilt.low, tilt.high, lambda value: signed(value, 2))}"


def _mean_correlation(raters: Mapping[str, RecoveredRater]) -> float:
    """Correlation of inferred and planted tilts over the raters, mean over the objectives."""
    names = list(next(iter(raters.values())).true_tilts)
    return sum(
        pearson([who.tilts[name].mean for who in raters.values()], [who.true_tilts[name] for who in raters.values()])
        for name in names
    ) / len(names)


def _threshold_correlation(raters: Mapping[str, RecoveredRater]) -> float:
    pairs = [(who.tie_threshold.mean, who.true_tie_threshold) for who in raters.values() if who.tie_threshold]
    return pearson(*zip(*pairs, strict=True)) if pairs else float("nan")
