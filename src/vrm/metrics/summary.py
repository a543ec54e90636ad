"""All metrics of a set of pairs at once, for a whole file or by source and category."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from vrm.errors import DataError
from vrm.metrics._arrays import Array, Groups, Indices, group_codes, probabilities, same_length, vector
from vrm.metrics._arrays import lengths as checked_lengths
from vrm.metrics.accuracy import (
    Accuracy,
    LengthControlledAccuracy,
    length_controlled_accuracy,
    longer_wins,
    pairwise_hits,
)
from vrm.metrics.calibration import (
    CalibrationError,
    brier_score,
    cross_entropy_rows,
    expected_calibration_error,
    log_pair,
)
from vrm.metrics.intervals import DEFAULT_RESAMPLING, Interval, ResampleOptions
from vrm.metrics.selection import selective_accuracy
from vrm.metrics.shares import share_interval

Result = TypeVar("Result")

UNLABELLED = "(none)"
"""The label under which `by_group` lists rows whose label is None."""


@dataclass(frozen=True, slots=True, eq=False)
class PairPredictions:
    """What a model says of n pairs, and what judges said. Checked when made; build it with `pair_predictions`.

    Attributes:
        margins: (n,) reward of the first completion minus that of the second.
        preference: (n,) in [0, 1], above 0.5 where the first completion is preferred, 0.5 for ties.
        probability: (n,) predicted probability that the first is preferred.
        log_probability: (n,) log of that, in nats.
        log_complement: (n,) log of one minus that.
        lengths_first: (n,) length of the first completion, in any unit.
        lengths_second: (n,) length of the second, in the same unit.
        groups: (n,) numbers that are equal for pairs of the same prompt.
        certainty: (n,) higher is more certain, ordered as the probability of the predicted side.
    """

    margins: Array
    preference: Array
    probability: Array
    log_probability: Array
    log_complement: Array
    lengths_first: Array
    lengths_second: Array
    groups: Indices
    certainty: Array

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.margins)

    def take(self, rows: Indices) -> PairPredictions:
        """The pairs at these row indices."""
        return PairPredictions(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class PreferenceSummary:
    """The metrics of one set of pairs; NaN marks what the pairs cannot tell.

    Attributes:
        count: pairs, ties included.
        ties: pairs of preference 0.5; accuracies leave them out.
        prompts: distinct prompts (groups).
        accuracy: pairwise accuracy, its interval that of `share_interval` over prompts.
        length_controlled: mean of the accuracies where the preferred is the longer and where it is the shorter.
        longer_wins: accuracy of "the longer completion wins".
        negative_log_likelihood: in nats, on soft labels.
        brier: mean squared error of the probability.
        calibration: expected calibration error in bins of equal mass, with its table.
        calibration_equal_width: the same in bins of equal width.
        accuracy_most_certain_half: accuracy on the half of the pairs that are most certain.
        selective_area: mean accuracy over all coverages.
    """

    count: int
    ties: int
    prompts: int
    accuracy: Interval
    length_controlled: LengthControlledAccuracy
    longer_wins: Accuracy
    negative_log_likelihood: float
    brier: float
    calibration: CalibrationError
    calibration_equal_width: CalibrationError
    accuracy_most_certain_half: float
    selective_area: float


def pair_predictions(
    margins: ArrayLike,
    preference: ArrayLike,
    lengths: tuple[ArrayLike, ArrayLike],
    log_probability: ArrayLike,
    log_complement: ArrayLike,
    groups: Groups = None,
) -> PairPredictions:
    """Check and gather what `preference_summary` needs.

    Args:
        margins: (n,) reward of the first completion minus that of the second.
        preference: (n,) in [0, 1], 0.5 for ties.
        lengths: of the first completions (n,) and of the second (n,), at least 0, in any one unit.
        log_probability: (n,) log of the predicted probability that the first is preferred, in nats.
        log_complement: (n,) log of one minus that probability.
        groups: n hashable labels, equal for pairs of the same prompt; None takes each pair as a prompt of its own.

    Raises:
        DataError: shapes differ, there are no rows, or a value is NaN or out of range.
    """
    margin, wanted = vector("margins", margins), probabilities("preference", preference)
    log_first, log_second = log_pair(log_probability, log_complement)
    first, second = (checked_lengths(f"lengths[{side}]", lengths[side]) for side in (0, 1))
    same_length(
        margins=margin, preference=wanted, log_probability=log_first, **{"lengths[0]": first, "lengths[1]": second}
    )
    # From the larger side, so that swapping the completions folds to the same confidence to the last bit.
    probability = np.where(log_first >= log_second, np.exp(log_first), 1.0 - np.exp(log_second))
    # The order of the predicted side's probability, and predictions that are all 1 to the last digit are told apart.
    certainty = np.minimum(-np.minimum(log_first, log_second), np.finfo(np.float64).max)
    codes = group_codes(groups, len(margin))
    return PairPredictions(margin, wanted, probability, log_first, log_second, first, second, codes, certainty)


def preference_summary(
    pairs: PairPredictions, options: ResampleOptions = DEFAULT_RESAMPLING, *, bins: int = 15
) -> PreferenceSummary:
    """All metrics of these pairs; swapping the completions of every pair changes none of them.

    Args:
        pairs: from `pair_predictions`.
        options: its `confidence` is that of the interval.
        bins: of the calibration error, at least 1.

    Raises:
        DataError: there are no pairs.
        ConfigError: `bins` is out of range.
    """
    ties = int((pairs.preference == 0.5).sum())
    probability = pairs.probability
    log_loss = cross_entropy_rows(pairs.log_probability, pairs.preference, pairs.log_complement)
    selective = selective_accuracy(pairs.margins, pairs.preference, pairs.certainty)
    sides = pairs.lengths_first, pairs.lengths_second
    return PreferenceSummary(
        count=len(pairs),
        ties=ties,
        prompts=len(np.unique(pairs.groups)),
        accuracy=_accuracy_interval(pairs, options),
        length_controlled=length_controlled_accuracy(pairs.margins, pairs.preference, *sides),
        longer_wins=longer_wins(pairs.preference, *sides),
        negative_log_likelihood=float(log_loss.mean()),
        brier=brier_score(probability, pairs.preference),
        calibration=expected_calibration_error(probability, pairs.preference, bins),
        calibration_equal_width=expected_calibration_error(probability, pairs.preference, bins, "equal_width"),
        accuracy_most_certain_half=selective.at(0.5),
        selective_area=selective.area,
    )


def by_group(summary_fn: Callable[[Indices], Result], labels: Iterable[Hashable]) -> dict[str, Result]:
    """`summary_fn` of the rows of each label, such as the source or category of a pair; labels in sorted order.

    For summaries: `by_group(lambda rows: preference_summary(pairs.take(rows)), labels)`.

    Args:
        summary_fn: from the row indices of one label, ascending, to a result.
        labels: one a row, taken as strings; rows whose label is None are listed under `UNLABELLED`.

    Raises:
        DataError: `labels` is empty.
    """
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(UNLABELLED if label is None else str(label), []).append(row)
    if not rows:
        raise DataError("'labels' is empty; at least one row is needed.")
    return {name: summary_fn(np.asarray(rows[name], dtype=np.intp)) for name in sorted(rows)}


def _accuracy_interval(pairs: PairPredictions, options: ResampleOptions) -> Interval:
    hits = pairwise_hits(pairs.margins, pairs.preference)
    judged = ~np.isnan(hits)
    if not judged.any():
        return Interval.unknown(options.confidence)
    return share_interval(hits[judged], pairs.groups[judged], options.confidence)
