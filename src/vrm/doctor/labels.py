"""What the labels say: whether there is anything to learn, contradictions, noise, ratings against the label."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vrm.data.schema import Judgment
from vrm.doctor.findings import Check, DoctorSettings, percent, with_ends
from vrm.doctor.rows import FileRows, Pair, occurring_again, sign
from vrm.metrics import Interval, share_interval
from vrm.results.doctor import Finding, Severity
from vrm.results.formats import plural

MIN_REPEATS = 20
"""Repeated pairs from which label noise is estimated at all."""


def check_labels(rows: FileRows, settings: DoctorSettings) -> list[Finding]:
    """All checks of labels that need no model."""
    judged = _judged_pairs(rows)
    return [
        _nothing_to_learn(rows, settings),
        _reversed_labels(rows, settings),
        _contradictory_pairs(rows, judged, settings),
        _label_noise(rows, judged, settings),
        _ratings_contradict(rows, settings),
    ]


def noise_from_disagreement(disagreement: float) -> float:
    """Share of wrong labels e from the rate d at which two judgments of one pair disagree: d = 2 e (1 - e).

    Every judgment is taken to be wrong with the same probability e, independently of the others; of the two solutions
    this is the one with e <= 1/2. Rates above 1/2, which no e explains, give 1/2.

    Args:
        disagreement: d, in [0, 1].
    """
    return 0.5 * (1.0 - math.sqrt(max(0.0, 1.0 - 2.0 * disagreement)))


def disagreement_rate(first: int, second: int) -> float:
    """Share of disagreeing pairs among the judgments of one pair of completions, without bias for 2 e (1 - e).

    Args:
        first: judgments for the one side.
        second: judgments for the other; together at least 2.
    """
    count = first + second
    return 2.0 * first * second / (count * (count - 1))


@dataclass(slots=True)
class _Judged:
    """The judgments of one pair of completions of one prompt, in whatever rows and order they stand.

    Attributes:
        signs: of each judgment, those of a row's raters one by one.
        said: (annotator, whether the sides are swapped, sign), what can contradict: a row's unnamed raters together.
        rows: that judge the pair.
        by_raters: whether a row holds several raters' judgments.
    """

    signs: list[int] = field(default_factory=list)
    said: set[tuple[str | None, bool, int]] = field(default_factory=set)
    rows: list[int] = field(default_factory=list)
    by_raters: bool = False

    def contradicts(self, same_order: bool = False) -> bool:
        """Whether it has both labels (the sides in the same order) from one annotator, or from nobody named.

        Two annotators who are named differently disagree; that is no contradiction.
        """
        said = [(name, swapped and same_order, sign) for name, swapped, sign in self.said if sign]
        own, everybodys = {*said}, {(order, sign) for _, order, sign in said}
        return any(
            (order, -sign) in everybodys if name is None else (name, order, -sign) in own for name, order, sign in said
        )


def _judged_pairs(rows: FileRows) -> list[_Judged]:
    """The pairs that are judged more than once, and those of several raters: others tell nothing of each other."""
    judged: dict[tuple[str, ...], _Judged] = defaultdict(_Judged)
    again = occurring_again((rows.prompts[pair.row], frozenset(_sides(rows, pair))) for pair in rows.pairs)
    for pair, repeated in zip(rows.pairs, again, strict=True):
        if not (repeated or rows.several_raters[pair.row]):
            continue
        first, second = _sides(rows, pair)
        if first == second:
            continue
        swapped = second < first
        entry = judged[rows.prompts[pair.row], *sorted((first, second))]
        turn = -1 if swapped else 1
        entry.rows.append(pair.row)
        raters = rows.judgments[pair.row].judgments or []
        entry.by_raters |= bool(raters)
        signs = [turn * sign(judgment.preference) for judgment in raters] or [turn * pair.sign]
        entry.signs += signs
        names = rows.judgments[pair.row].annotators
        entry.said |= {(name, swapped, said) for name, said in zip(names, signs, strict=True) if name is not None}
        if None in names:
            entry.said.add((None, swapped, turn * pair.sign))
    return list(judged.values())


def _sides(rows: FileRows, pair: Pair) -> tuple[str, str]:
    keys = rows.completions[pair.row]
    return keys[pair.first], keys[pair.second]


def _nothing_to_learn(rows: FileRows, settings: DoctorSettings) -> Finding:
    ties = [pair.row for pair in rows.pairs if not pair.sign and not _differ(rows.judgments[pair.row])]
    only_ties = len(ties) == len(rows.pairs) > 0
    check = Check.of("nothing_to_learn", rows, settings, ties if only_ties else (), len(rows.pairs))
    if only_ties:
        message = "Every labelled pair is a tie: nothing says which completion is better."
        advice = "Check the column 'preference': 1 means that chosen is preferred, 0.5 is a tie."
        return check.finding(Severity.ERROR, message, advice, {"ties": len(ties)})
    votes = sum(bool(row.objective_votes) for row in rows.judgments)
    ratings = sum(bool(row.ratings) for row in rows.judgments)
    message = (
        f"{plural(len(rows.pairs), 'labelled pair')} ({plural(len(ties), 'tie')}), {votes:,} with votes, {ratings:,} "
        "with ratings."
    )
    return check.finding(Severity.OK, message, details={"ties": len(ties)})


def _differ(row: Judgment) -> bool:
    """Whether a row's raters prefer different sides: no tie, though their mean is one."""
    return any(judgment.preference != 0.5 for judgment in row.judgments or [])


def _reversed_labels(rows: FileRows, settings: DoctorSettings) -> Finding:
    """Comparisons whose label prefers `rejected`."""
    decided = [pair for pair in rows.pairs if pair.sign and rows.judgments[pair.row].is_comparison]
    against = [pair.row for pair in decided if pair.sign < 0]
    check = Check.of("reversed_labels", rows, settings, against, len(decided))
    return check.by_share(
        f"{plural(len(against), 'comparison prefers', 'comparisons prefer')} the side called rejected (preference "
        f"below 0.5; {check.percent}).",
        "If that is the majority, the columns may be swapped, or preference may mean the second side.",
        warning=0.5,
    )


def _contradictory_pairs(rows: FileRows, judged: Sequence[_Judged], settings: DoctorSettings) -> Finding:
    against = [entry for entry in judged if entry.contradicts()]
    same_order = sum(entry.contradicts(same_order=True) for entry in against)
    with_ties = sum(0 in entry.signs and any(entry.signs) for entry in judged)
    involved = [row for entry in against for row in entry.rows]
    check = Check.of("contradictory_pairs", rows, settings, involved, len(rows.pairs))
    message = (
        f"{plural(len(against), 'pair has', 'pairs have')} both labels, in {plural(len(involved), 'judgment')} "
        f"({check.percent} of all)"
    )
    if against:
        message += f": {same_order:,} with the sides in the same order, the others with the sides swapped"
    return check.by_share(
        message + ".",
        "Merge the judgments of a pair into one row with a preference between 0 and 1, or leave such pairs out.",
        error=settings.thresholds.contradictory_pairs,
        warning=0.0,
        details={"pairs": len(against), "same_order": same_order, "tie_and_preference": with_ties},
    )


def _label_noise(rows: FileRows, judged: Sequence[_Judged], settings: DoctorSettings) -> Finding:
    sides = [(entry.signs.count(1), entry.signs.count(-1)) for entry in judged]
    repeated = [(first, second) for first, second in sides if first + second > 1]
    check = Check.of("label_noise", rows, settings, (), len(repeated))
    if len(repeated) < MIN_REPEATS:
        how_many = "no pair is" if not repeated else f"only {plural(len(repeated), 'pair is', 'pairs are')}"
        return check.not_run(
            f"Label noise cannot be estimated from this file: {how_many} judged more than once (at least {MIN_REPEATS} "
            "needed), and texts alone do not tell which label is wrong."
        )
    rates = [disagreement_rate(first, second) for first, second in repeated]
    d = share_interval(rates)
    noise = Interval(*(noise_from_disagreement(value) for value in (d.estimate, d.low, d.high)), d.confidence)
    high = noise.estimate > settings.thresholds.label_noise
    two = "raters" if all(entry.by_raters for entry in judged if len(entry.signs) > 1) else "judgments"
    return check.finding(
        Severity.WARNING if high else Severity.INFO,
        f"About {with_ends(noise)} of the labels are wrong, if judgments of one "
        f"pair err independently: {len(repeated):,} pairs are judged more "
        f"than once, and two {two} of one disagree in {percent(d.estimate)}. Copied rows make this too low; "
        "honest differences of taste count as noise.",
        f"No model can agree with more than about {100 * (1 - noise.estimate):.0f} % of such labels; more judgments a "
        "pair, or soft labels, help more than a bigger model."
        if high
        else "",
        {"repeated_pairs": len(repeated), "disagreement": d, "noise": noise},
    )


def _ratings_contradict(rows: FileRows, settings: DoctorSettings) -> Finding:
    against: list[int] = []
    rated, counts = 0, defaultdict(lambda: [0, 0])
    for pair in rows.pairs:
        difference = _rating_difference(rows, pair)
        if not pair.sign or not difference:
            continue
        for name, value in difference.items():
            counts[name][0] += value * pair.sign < 0
            counts[name][1] += value != 0
        mean = float(np.mean(list(difference.values()))) * pair.sign
        rated += 1
        if mean < 0:
            against.append(pair.row)
    check = Check.of("ratings_contradict", rows, settings, against, rated)
    if not rated:
        return check.not_run("No labelled pair has ratings of one objective on both sides.")
    by_objective = {name: {"against": a, "different": b} for name, (a, b) in sorted(counts.items())}
    worst = max(by_objective, key=lambda name: counts[name][0] / max(counts[name][1], 1))
    return check.by_share(
        f"In {plural(len(against), 'rated pair')} ({check.percent}) the side that lost has the higher "
        f"mean rating; of single objectives {worst} goes against the label most often "
        f"({percent(counts[worst][0] / max(counts[worst][1], 1))} of the pairs where it differs).",
        "Check the order of the sides and the direction of the scales; that one objective loses to others is normal.",
        warning=settings.thresholds.ratings_contradict,
        details={"by_objective": by_objective},
    )


def _rating_difference(rows: FileRows, pair: Pair) -> dict[str, float]:
    """First minus second, for the objectives that are rated on both."""
    ratings = rows.judgments[pair.row].ratings
    if not ratings:
        return {}
    first, second = ratings[pair.first], ratings[pair.second]
    return {name: first[name] - second[name] for name in first if name in second}
