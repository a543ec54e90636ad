"""Rows and prompts that occur again in the same file, exactly or nearly."""

from __future__ import annotations

from collections import Counter

import numpy as np

from vrm.data.style import plain_text
from vrm.doctor.check import Check
from vrm.doctor.findings import DoctorSettings, plural
from vrm.doctor.near import Shingles, jaccard, near_copies, remembered, without_boilerplate
from vrm.doctor.rows import FileRows
from vrm.results.doctor import Finding, Severity


def check_duplicates(rows: FileRows, settings: DoctorSettings) -> list[Finding]:
    """Repeated prompts, repeated rows, and near copies of both."""
    repeated = _repeated_rows(rows)
    return [
        _repeated_prompts(rows, settings),
        _near_prompts(rows, settings),
        _duplicate_rows(rows, settings, repeated),
        _near_rows(rows, settings, repeated),
    ]


def _repeated_prompts(rows: FileRows, settings: DoctorSettings) -> Finding:
    counts = Counter(rows.prompts)
    largest, several = max(counts.values(), default=0), sum(count > 1 for count in counts.values())
    again = [row for row, key in enumerate(rows.prompts) if counts[key] > 1]
    check = Check("repeated_prompts", rows, settings, again, len(rows))
    return check.finding(
        Severity.INFO if again else Severity.OK,
        f"{plural(len(counts), 'different prompt')} in {plural(len(rows), 'row')}; {several:,} with several rows, the "
        f"most frequent one with {largest:,}.",
        "Split by prompt, not by row (vrm train does), and take intervals over prompts." if again else "",
        {"prompts": len(counts), "largest": largest},
        # Rows of the most frequent prompt: what to look at if one prompt dominates.
        [row for row in again if counts[rows.prompts[row]] == largest],
    )


def _near_prompts(rows: FileRows, settings: DoctorSettings) -> Finding:
    first = sorted(rows.first_rows().values())
    near = settings.thresholds.near
    get = without_boilerplate(first, remembered(lambda row: plain_text(rows.judgments[row].prompt)))
    copies, unfinished = near_copies(first, get, lambda one, other: jaccard(get(one), get(other)) >= near)
    check = Check("near_duplicate_prompts", rows, settings, copies, len(first))
    return check.by_share(
        f"{plural(len(copies), 'prompt is a near copy', 'prompts are near copies')} of another prompt of the file "
        f"({check.percent} of the different prompts)." + unfinished_note(unfinished),
        "A split by prompt does not see near copies, so they can end up on both sides: hold out by category or source, "
        "and run the doctor on both parts.",
        warning=settings.thresholds.near_duplicate_prompts,
        details={"jaccard": near, "search_cut_short": unfinished},
    )


def _repeated_rows(rows: FileRows) -> dict[int, int]:
    """{row: the earlier row with the same prompt, completions (in any order) and preferences}."""
    first: dict[tuple[object, ...], int] = {}
    repeated = {}
    for row, judgment in enumerate(rows.judgments):
        if judgment.completions:
            earlier = first.setdefault(_row_key(rows, row), row)
            if earlier != row:
                repeated[row] = earlier
    return repeated


def _row_key(rows: FileRows, row: int) -> tuple[object, ...]:
    """Prompt, and completions with what is said of each; the order of the completions does not count."""
    judgment = rows.judgments[row]
    if judgment.is_comparison:
        preference = float(judgment.preference or 0.0)
        labels: list[object] = [preference, 1.0 - preference]
    else:
        labels = list(judgment.scores or [0.0] * len(judgment.completions))
    return (rows.prompts[row], *sorted(zip(rows.completions[row], labels, strict=True), key=str))


def _duplicate_rows(rows: FileRows, settings: DoctorSettings, repeated: dict[int, int]) -> Finding:
    total = sum(bool(row.completions) for row in rows.judgments)
    check = Check("duplicate_rows", rows, settings, repeated, total)
    return check.by_share(
        f"{plural(len(repeated), 'row repeats', 'rows repeat')} an earlier row: the same prompt, completions and label "
        f"({check.percent}).",
        "Keep one row of each, unless the repeats are judgments of different people.",
        warning=settings.thresholds.duplicate_rows,
    )


def _near_rows(rows: FileRows, settings: DoctorSettings, repeated: dict[int, int]) -> Finding:
    different: dict[tuple[str, ...], int] = {}
    for row, judgment in enumerate(rows.judgments):
        if judgment.completions and row not in repeated:
            # The same pair with another label is the contradiction check's.
            different.setdefault((rows.prompts[row], *sorted(rows.completions[row])), row)
    compare = _RowComparison(rows, settings.thresholds.near)
    copies, unfinished = near_copies(sorted(different.values()), compare.completions, compare.similar)
    check = Check("near_duplicate_rows", rows, settings, copies, len(different))
    return check.by_share(
        f"{plural(len(copies), 'row is a near copy', 'rows are near copies')} of another row: prompt and every "
        f"completion ({check.percent} of the different ones)." + unfinished_note(unfinished),
        "Look at some: templates and edits count as one judgment, not as several.",
        warning=settings.thresholds.duplicate_rows,
        details={"jaccard": settings.thresholds.near, "search_cut_short": unfinished},
    )


class _RowComparison:
    """Rows as sets of shingles, and whether two rows are near copies part by part."""

    def __init__(self, rows: FileRows, near: float) -> None:
        self._rows, self._near = rows, near
        self._prompt = remembered(lambda row: plain_text(rows.judgments[row].prompt))
        # Keys of a row's completions: row * width + position.
        self._width = max((len(row.completions) for row in rows.judgments), default=1) or 1
        self._text = remembered(self._completion)

    def _completion(self, key: int) -> str:
        row, position = divmod(key, self._width)
        return plain_text(self._rows.judgments[row].completions[position])

    def completions(self, row: int) -> Shingles:
        """Shingles of all completions of a row together."""
        count = len(self._rows.judgments[row].completions)
        return np.unique(np.concatenate([self._text(row * self._width + position) for position in range(count)]))

    def similar(self, one: int, other: int) -> bool:
        """Whether the prompts are near copies, and the completions one by one, in the same or in the reverse order."""
        mine, theirs = self._rows.completions[one], self._rows.completions[other]
        if len(mine) != len(theirs):
            return False
        order = range(len(mine))
        return any(
            all(self._same_completion((one, a), (other, b)) for a, b in zip(order, turned, strict=True))
            for turned in (order, reversed(order))
        ) and (
            self._rows.prompts[one] == self._rows.prompts[other]
            or jaccard(self._prompt(one), self._prompt(other)) >= self._near
        )

    def _same_completion(self, one: tuple[int, int], other: tuple[int, int]) -> bool:
        keys = self._rows.completions
        if keys[one[0]][one[1]] == keys[other[0]][other[1]]:
            return True
        first, second = (self._text(row * self._width + position) for row, position in (one, other))
        return jaccard(first, second) >= self._near


def unfinished_note(unfinished: int) -> str:
    """A sentence for texts that had too many similar ones to be compared with all."""
    return f" For {unfinished:,} the search was cut short, so there may be more." if unfinished else ""
