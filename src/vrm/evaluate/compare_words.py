"""What a comparison lets one conclude, and what not, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

from vrm.metrics import Interval
from vrm.results.comparison import Comparison, PairedComparison
from vrm.results.formats import ALPHA, FEW_PROMPTS, ends, leaves_out_zero, number, p_words, percent, points, signed

FEW_DIFFERENCES = 10
ABOUT_SEEDS = "All this is about these two trained models: other seeds of the same recipes may differ as much."
"""What no comparison of two models can tell."""


def conclusions(comparison: Comparison) -> list[str]:
    """Sentences on A and B: accuracy, what is left of it under control, log loss, groups; then what to beware of."""
    overall = comparison.overall
    sentences = [accuracy_words(overall), *_controlled(overall), _loss(overall)]
    for label, groups in (("source", comparison.by_source), ("category", comparison.by_category)):
        if groups:
            sentences.append(group_words(label, groups))
    return [*sentences, *cautions(comparison)]


def accuracy_words(compared: PairedComparison) -> str:
    """Whether one of the two is more accurate, how sure that is, and how many pairs would tell."""
    interval, judged = compared.accuracy.difference, compared.count - compared.ties
    if not judged:
        return "Accuracy cannot be compared: there is no pair with a preferred side."
    only_a, only_b = compared.mcnemar.only_first, compared.mcnemar.only_second
    if not only_a and not only_b:
        return f"A and B are right and wrong on the same of the {judged} pairs: their accuracies are equal."
    p_value = p_words(compared.p_value)
    if math.isnan(interval.low):
        return f"A - B is {points(interval.estimate)} points, all from one prompt: nothing can be concluded."
    certain, significant = leaves_out_zero(interval), compared.p_value < ALPHA
    if certain and significant:
        better, worse, gap = ("A", "B", interval) if interval.estimate > 0 else ("B", "A", -interval)
        few = f"On these {judged} pairs " if compared.prompts < FEW_PROMPTS else ""
        return (
            f"{few}{better} is more accurate than {worse} by {percent(gap.estimate)} points "
            f"({_level(interval)} interval {ends(gap.low, gap.high)}; {p_value})."
        )
    if certain or significant:
        return (
            f"Undecided: A - B is {points(interval.estimate)} points, and interval "
            f"{ends(interval.low, interval.high, points)} and test ({p_value}) disagree on whether it could be 0. "
            f"{_needed(compared)}"
        )
    return (
        f"A and B cannot be told apart by accuracy: A - B is {points(interval.estimate)} points, and anything in "
        f"{ends(interval.low, interval.high, points)} fits these {judged} pairs ({p_value}). {_needed(compared)}"
    )


def group_words(label: str, groups: Mapping[str, PairedComparison]) -> str:
    """Which groups differ, before and after adjusting for their number."""
    tested = {name: group for name, group in groups.items() if group.holm_p_value is not None}
    single = [name for name, group in tested.items() if group.p_value < ALPHA]
    adjusted = [
        f"{name} ({points(group.accuracy.difference.estimate)})"
        for name, group in tested.items()
        if (group.holm_p_value or 0.0) < ALPHA
    ]
    expected = number(ALPHA * len(tested), 1)
    words = f"By {label}, {len(single)} of {len(tested)} groups have p < {ALPHA:g}"
    if single:
        words += f", where {expected} would by chance alone"
    if adjusted:
        words += f"; with Holm's adjustment for their number A - B differs from 0 in {', '.join(adjusted)}."
    else:
        words += "; with Holm's adjustment for their number none differs."
    fewest = min(group.prompts for group in groups.values())
    if fewest < FEW_PROMPTS:
        words += f" Go by p there: a group has only {fewest} prompts, and intervals are too short with so few."
    return words


def cautions(comparison: Comparison) -> list[str]:
    """What makes the intervals or tests weaker than they look."""
    overall, sentences = comparison.overall, []
    judged = overall.count - overall.ties
    if comparison.only_first or comparison.only_second:
        sentences.append(
            f"{comparison.only_first} pairs that only A judged and {comparison.only_second} that only B judged are "
            "left out (the other dropped them as overlong)."
        )
    if overall.prompts < FEW_PROMPTS:
        sentences.append(f"Only {overall.prompts} prompts: bootstrap intervals are too short with so few.")
    discordant = overall.mcnemar.only_first + overall.mcnemar.only_second
    if judged and 0 < discordant < FEW_DIFFERENCES:
        sentences.append(f"The models differ on {discordant} pairs only; these decide everything.")
    if overall.prompts < overall.count:
        sentences.append(
            f"Prompts repeat ({overall.count} pairs, {overall.prompts} prompts): p is of sign flips over whole "
            f"prompts; McNemar's test, which takes pairs as independent, gives {p_words(overall.mcnemar.p_value)}."
        )
    return sentences


def _controlled(compared: PairedComparison) -> list[str]:
    """Whether the difference in accuracy is still there when length or style cannot help."""
    known = [
        (name, measure.difference)
        for name, measure in (("length", compared.length_controlled), ("style", compared.style_controlled))
        if not math.isnan(measure.difference.low)
    ]
    if not known:
        return []
    parts = [f"{_span(difference)} with {name} controlled" for name, difference in known]
    plain = compared.accuracy.difference
    words = f"A - B is {' and '.join(parts)}"
    if leaves_out_zero(plain):
        lost = [name for name, left in known if not (leaves_out_zero(left) and left.estimate * plain.estimate > 0)]
        if lost:
            words += f": the difference in accuracy may be a matter of {' or '.join(lost)}"
    return [f"{words}."]


def _loss(compared: PairedComparison) -> str:
    difference = compared.negative_log_likelihood.difference
    span = f"{signed(difference.estimate)} nats {ends(difference.low, difference.high, signed)}"
    if not leaves_out_zero(difference):
        return f"Log loss does not tell them apart either way: A - B is {span}."
    better, worse = ("A", "B") if difference.estimate < 0 else ("B", "A")
    words = f"{better}'s probabilities are better than {worse}'s"
    if compared.prompts < FEW_PROMPTS:
        words = f"On these {compared.count} pairs {words}, which is not yet shown for others"
    return f"{words}: log loss A - B is {span}."


def _span(difference: Interval) -> str:
    return f"{points(difference.estimate)} points {ends(difference.low, difference.high, points)}"


def _needed(compared: PairedComparison) -> str:
    pairs = compared.pairs_needed
    if not math.isfinite(pairs):
        return ""
    digits = max(0, int(math.log10(max(pairs, 1.0))) - 1)
    return (
        f"To find a difference of {percent(compared.difference_to_find)} points with probability 0.8, about "
        f"{int(round(pairs, -digits)):,} pairs like these are needed."
    )


def _level(interval: Interval) -> str:
    return f"{100 * interval.confidence:g} %"
