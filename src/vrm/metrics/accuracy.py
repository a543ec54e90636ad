"""Accuracy on pairs: plain, length-controlled, and that of "the longer completion wins".

A pair has a margin (the reward of its first completion minus that of its second) and a preference in [0, 1], the
probability that the first is the preferred one. A preference of exactly 0.5 is a tie: no sign is right, so accuracies
leave such rows out and count them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vrm.metrics._arrays import Array, lengths, probabilities, same_length, vector


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A mean of hits.

    Attributes:
        value: in [0, 1]; NaN without a row to judge.
        count: rows that were judged.
        ties: rows left out because their preference is 0.5.
    """

    value: float
    count: int
    ties: int = 0


@dataclass(frozen=True, slots=True)
class LengthControlledAccuracy:
    """Accuracy that knowing which completion is longer cannot raise.

    Attributes:
        value: the mean of `longer.value` and `shorter.value`, in [0, 1]; NaN if one of them has no rows.
        longer: accuracy where the preferred completion is the longer.
        shorter: accuracy where the preferred completion is the shorter.
        equal_lengths: rows left out because both completions are equally long.
        ties: rows left out because their preference is 0.5.
        reason: why `value` is NaN; None if it is not.
    """

    value: float
    longer: Accuracy
    shorter: Accuracy
    equal_lengths: int
    ties: int
    reason: str | None = None


def pairwise_hits(margins: ArrayLike, preference: ArrayLike) -> Array:
    """What each pair adds to the accuracy, the per-row form of `pairwise_accuracy`.

    Args:
        margins: (n,) reward of the first completion minus that of the second.
        preference: (n,) in [0, 1].

    Returns:
        (n,) 1 where the margin's sign agrees with the preference, 0 where not, 1/2 where the margin is 0, NaN for ties.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    margin, wanted = vector("margins", margins), probabilities("preference", preference)
    same_length(margins=margin, preference=wanted)
    side = np.sign(wanted - 0.5)
    return np.where(side == 0.0, np.nan, 0.5 * (1.0 + np.sign(margin) * side))


def pairwise_accuracy(margins: ArrayLike, preference: ArrayLike) -> Accuracy:
    """Share of pairs whose margin has the sign of the preference; a zero margin counts 1/2, ties are left out.

    Args:
        margins: (n,) reward of the first completion minus that of the second.
        preference: (n,) in [0, 1], above 0.5 where the first completion is preferred.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    return _accuracy(pairwise_hits(margins, preference))


def length_controlled_accuracy(
    margins: ArrayLike, preference: ArrayLike, lengths_first: ArrayLike, lengths_second: ArrayLike
) -> LengthControlledAccuracy:
    """Mean of the accuracies where the preferred completion is the longer and where it is the shorter.

    Either side has the same say, so "the longer wins" scores 1/2 however often it is right.

    Args:
        margins: (n,) reward of the first completion minus that of the second.
        preference: (n,) in [0, 1]; ties (0.5) are left out and counted.
        lengths_first: (n,) at least 0, in any unit; rows of equal lengths are left out and counted.
        lengths_second: (n,) in the same unit.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    hits, wanted = pairwise_hits(margins, preference), probabilities("preference", preference)
    excess = _excess_length(lengths_first, lengths_second, wanted)
    preferred_excess = preferred_sign(wanted, excess)
    longer, shorter = _accuracy(hits[preferred_excess > 0]), _accuracy(hits[preferred_excess < 0])
    ties = np.isnan(hits)
    equal = int((~ties & (excess == 0)).sum())
    value = (longer.value + shorter.value) / 2
    return LengthControlledAccuracy(value, longer, shorter, equal, int(ties.sum()), _reason(longer, shorter))


def longer_wins(preference: ArrayLike, lengths_first: ArrayLike, lengths_second: ArrayLike) -> Accuracy:
    """Accuracy of the rule that the longer completion wins; equal lengths count 1/2, ties are left out.

    Args:
        preference: (n,) in [0, 1].
        lengths_first: (n,) at least 0, in any unit.
        lengths_second: (n,) in the same unit.

    Raises:
        DataError: shapes differ, there are no rows, or a value is not finite or out of range.
    """
    wanted = probabilities("preference", preference)
    return pairwise_accuracy(_excess_length(lengths_first, lengths_second, wanted), wanted)


def preferred_sign(preference: Array, difference: Array) -> Array:
    """(n,) 1 where the preferred completion has more of a measure, -1 where less, 0 where neither or at ties.

    Args:
        preference: (n,) in [0, 1].
        difference: (n,) the measure of the first completion minus that of the second, such as its length.
    """
    return np.asarray(np.sign(preference - 0.5) * np.sign(difference), dtype=np.float64)


def _excess_length(first: ArrayLike, second: ArrayLike, preference: Array) -> Array:
    long_first, long_second = lengths("lengths_first", first), lengths("lengths_second", second)
    same_length(preference=preference, lengths_first=long_first, lengths_second=long_second)
    return long_first - long_second


def _accuracy(hits: Array) -> Accuracy:
    judged: NDArray[np.bool_] = ~np.isnan(hits)
    count = int(judged.sum())
    value = float(hits[judged].mean()) if count else math.nan
    return Accuracy(value, count, len(hits) - count)


def _reason(longer: Accuracy, shorter: Accuracy) -> str | None:
    missing = [name for name, part in (("longer", longer), ("shorter", shorter)) if not part.count]
    return f"no pair whose preferred completion is the {' or the '.join(missing)}" if missing else None
