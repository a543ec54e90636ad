"""Two models on the same pairs: paired differences, tests, and how much more data would tell them apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from vrm.errors import DataError
from vrm.evaluate.collect import Collected
from vrm.metrics import (
    DEFAULT_RESAMPLING,
    Array,
    Indices,
    Interval,
    McNemar,
    ResampleOptions,
    balanced_mean_interval,
    bootstrap_mean,
    by_group,
    cross_entropy_rows,
    equality_test,
    holm,
    mcnemar,
    overlap_weights,
    pairwise_hits,
    preferred_sign,
    rows_to_tell,
    style_log_odds,
    widened,
)
from vrm.results.comparison import Comparison, PairedComparison, PairedMeasure

SMALLEST_DIFFERENCE = 0.01
"""The difference in accuracy that pairs are counted for, unless a larger one was seen: one point."""


@dataclass(frozen=True, slots=True, eq=False)
class _Paired:
    """Arrays of n pairs; of both models, (n, 2)."""

    hits: Array
    losses: Array
    preference: Array
    excess_length: Array
    log_odds: Array
    prompts: Indices

    def take(self, rows: Indices) -> _Paired:
        return _Paired(*(getattr(self, name)[rows] for name in self.__slots__))


def compare_collected(first: Collected, second: Collected, options: ResampleOptions = DEFAULT_RESAMPLING) -> Comparison:
    """Compare two models by what they said about the same judgments (the same objects, in any order).

    Args:
        first: what A said, from `collect`.
        second: what B said.
        options: of the intervals.

    Raises:
        DataError: there is no pair that both judged.
    """
    rows = _common(first, second)
    if not len(rows):
        raise DataError(
            "there is no pair of completions that both models judged, so nothing can be compared: A judged "
            f"{len(first.pairs)} pairs, B {len(second.pairs)}; what is overlong for a model may have been dropped."
        )
    paired = _paired(first, second, rows, options.seed)

    def grouped(name: str) -> dict[str, PairedComparison]:
        labels = first.column(name)
        kept = [labels[row] for row in rows[:, 0]]
        if len(set(kept)) < 2:
            return {}
        return _adjusted(by_group(lambda members: _compare(paired.take(members), options), kept))

    return Comparison(
        only_first=len(first.pairs) - len(rows),
        only_second=len(second.pairs) - len(rows),
        overall=_compare(paired, options),
        by_source=grouped("source"),
        by_category=grouped("category"),
    )


def _common(first: Collected, second: Collected) -> Indices:
    """Positions (n, 2) of the pairs that both have, in the order of the first."""
    places, others = ({(id(row), a, b): n for n, (row, a, b, _) in enumerate(model.pairs)} for model in (first, second))
    common = [(position, others[pair]) for pair, position in places.items() if pair in others]
    return np.asarray(common, dtype=np.intp).reshape(-1, 2)


def _paired(first: Collected, second: Collected, rows: Indices, seed: int) -> _Paired:
    both = [model.predictions().take(taken) for model, taken in zip((first, second), rows.T, strict=True)]
    pairs = both[0]
    return _Paired(
        np.stack([pairwise_hits(judged.margins, pairs.preference) for judged in both], axis=1),
        np.stack(
            [cross_entropy_rows(judged.log_probability, pairs.preference, judged.log_complement) for judged in both],
            axis=1,
        ),
        pairs.preference,
        pairs.lengths_first - pairs.lengths_second,
        style_log_odds(first.style[rows[:, 0]], pairs.preference, pairs.groups, seed=seed),
        pairs.groups,
    )


def _compare(paired: _Paired, options: ResampleOptions) -> PairedComparison:
    decided = np.flatnonzero(paired.preference != 0.5)
    judged = paired.take(decided)
    difference = judged.hits[:, 0] - judged.hits[:, 1]
    accuracy = _honest(_plain(judged.hits, judged.prompts, options), judged.prompts)
    p_value, test = (math.nan, "")
    to_find, needed = SMALLEST_DIFFERENCE, math.nan
    if len(decided):
        p_value, test = equality_test(difference, judged.prompts, options.seed)
        to_find = max(SMALLEST_DIFFERENCE, abs(accuracy.difference.estimate))
        needed = rows_to_tell(difference, to_find, judged.prompts) if difference.any() else math.inf
    style_sides = preferred_sign(judged.preference, judged.log_odds)
    length_sides = preferred_sign(judged.preference, judged.excess_length)
    weights = overlap_weights(judged.log_odds, judged.preference) if len(decided) else np.zeros(0)
    return PairedComparison(
        count=len(paired.preference),
        ties=len(paired.preference) - len(decided),
        prompts=len(np.unique(paired.prompts)),
        accuracy=accuracy,
        length_controlled=_balanced(judged, length_sides, np.ones(len(decided)), options),
        style_controlled=_balanced(judged, style_sides, weights, options),
        negative_log_likelihood=_plain(paired.losses, paired.prompts, options),
        mcnemar=mcnemar(*judged.hits.T) if len(decided) else McNemar(0, 0, math.nan),
        p_value=p_value,
        test=test,
        holm_p_value=None,
        difference_to_find=to_find,
        pairs_needed=needed,
    )


def _plain(values: Array, prompts: Indices, options: ResampleOptions) -> PairedMeasure:
    if not len(values):
        return _unknown(options)
    interval = bootstrap_mean(values[:, 0] - values[:, 1], prompts, options)
    return PairedMeasure(*values.mean(0).tolist(), interval)


def _honest(accuracy: PairedMeasure, prompts: Indices) -> PairedMeasure:
    """Wilson's interval where one model is right and the other wrong on every pair: all resamples are alike there."""
    difference, rows = accuracy.difference, len(np.unique(prompts))
    if not abs(difference.estimate) > 0.0:
        return accuracy
    wide = widened(difference, rows) if difference.estimate > 0.0 else -widened(-difference, rows)
    return replace(accuracy, difference=wide)


def _balanced(judged: _Paired, sides: Array, weights: Array, options: ResampleOptions) -> PairedMeasure:
    """Means over both sides; those of A and B alone need no interval."""
    if not len(sides):
        return _unknown(options)

    def measure(values: Array, resampling: ResampleOptions) -> Interval:
        return balanced_mean_interval(values, sides, weights, judged.prompts, resampling)

    first, second = judged.hits.T
    once = replace(options, resamples=1)
    return PairedMeasure(
        measure(first, once).estimate, measure(second, once).estimate, measure(first - second, options)
    )


def _unknown(options: ResampleOptions) -> PairedMeasure:
    return PairedMeasure(math.nan, math.nan, Interval.unknown(options.confidence))


def _adjusted(groups: dict[str, PairedComparison]) -> dict[str, PairedComparison]:
    """With Holm's adjustment over the groups that have a decided pair."""
    tested = [name for name, group in groups.items() if not math.isnan(group.p_value)]
    adjusted = dict(zip(tested, holm([groups[name].p_value for name in tested]), strict=True))
    return {name: replace(group, holm_p_value=adjusted.get(name)) for name, group in groups.items()}
