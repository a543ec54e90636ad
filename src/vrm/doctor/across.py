"""What stands in two files that should be apart: prompts, near copies of prompts, categories."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from vrm.choices import SplitBy
from vrm.data.splits import shared_prompts
from vrm.data.style import plain_text
from vrm.doctor.duplicates import Search, jaccard, remembered, unfinished_note, without_boilerplate
from vrm.doctor.findings import Check, DoctorSettings
from vrm.doctor.rows import FileRows
from vrm.results.doctor import Finding
from vrm.results.formats import plural

_APART = "If these are no parts of a split (two sources to train on, say), allow it."


def check_across(files: Sequence[FileRows], settings: DoctorSettings) -> list[Finding]:
    """Compare every two files."""
    findings = []
    for one, other in combinations(files, 2):
        findings += [_shared_prompts(one, other, settings), _near_prompts(one, other, settings)]
        if settings.split_by == SplitBy.CATEGORY:
            findings.append(_shared_categories(one, other))
    return findings


def _shared_prompts(one: FileRows, other: FileRows, settings: DoctorSettings) -> Finding:
    mine, theirs = one.first_rows(), other.first_rows()
    both = [key for key in theirs if key in mine]
    # Counted by the function that the splits' own tests use, so that the two cannot disagree.
    count, total = shared_prompts(one.judgments, other.judgments), min(len(mine), len(theirs))
    rows = sum(key in mine for key in other.prompts)
    places = _both_places(one, other, [(mine[key], theirs[key]) for key in both], settings.examples)
    check = Check("shared_prompts", (one.name, other.name), count, total, places)
    return check.by_share(
        f"{plural(count, 'prompt stands', 'prompts stand')} in both files ({check.percent} of the smaller file's "
        f"prompts, {plural(rows, 'row')} of {other.name}).",
        f"Split anew by prompt, or take these rows out of one file: a test on seen prompts is no test. {_APART}",
        error=settings.thresholds.shared_prompts,
        warning=0.0,
        details={"rows_of_second": rows},
    )


def _near_prompts(one: FileRows, other: FileRows, settings: DoctorSettings) -> Finding:
    mine, theirs = one.first_rows(), other.first_rows()
    small, large = (one, other) if len(mine) <= len(theirs) else (other, one)
    listed = sorted(large.first_rows().values())
    # Keys of the smaller file's texts follow those of the larger.
    offset = len(large)
    new = [row + offset for key, row in small.first_rows().items() if key not in mine or key not in theirs]

    def prompt(key: int) -> str:
        row = large.judgments[key] if key < offset else small.judgments[key - offset]
        return plain_text(row.prompt)

    get = without_boilerplate([*listed, *sorted(new)], remembered(prompt))
    near = settings.thresholds.near
    search = Search([*listed, *sorted(new)], get, lambda key, row: jaccard(get(key), get(row)) >= near)
    for row in listed:
        search.add(row)
    nearest = {key: search.find(key) for key in sorted(new)}
    copies = [(row, key - offset) for key, row in nearest.items() if row is not None]
    places = _both_places(large, small, copies, settings.examples)
    total = min(len(mine), len(theirs))
    check = Check("near_shared_prompts", (one.name, other.name), len(copies), total, places)
    return check.by_share(
        f"{plural(len(copies), 'prompt')} of {small.name} {'is a near copy' if len(copies) == 1 else 'are near copies'}"
        f" of one of {large.name} ({check.percent} of the smaller file's prompts)."
        + unfinished_note(search.unfinished),
        f"Look at some; if they are the same question, keep such prompts on one side. {_APART}",
        error=settings.thresholds.near_shared_prompts,
        warning=0.0,
        details={"jaccard": near, "search_cut_short": search.unfinished},
    )


def _shared_categories(one: FileRows, other: FileRows) -> Finding:
    mine, theirs = ({row.category for row in file.judgments} - {None} for file in (one, other))
    both = sorted(str(name) for name in mine & theirs)
    lacking = [file.name for file, names in ((one, mine), (other, theirs)) if not names]
    check = Check("shared_categories", (one.name, other.name), len(both), min(len(mine), len(theirs)))
    if lacking:
        return check.not_run(f"No row of {' and '.join(lacking)} has a category, so categories cannot be compared.")
    return check.by_share(
        f"{plural(len(both), 'category stands', 'categories stand')} in both files ({check.percent} of the smaller "
        "file's).",
        "For a test on new categories, split by category (held_out_by: category).",
        error=0.0,
        details={"categories": both},
    )


def _both_places(one: FileRows, other: FileRows, rows: list[tuple[int, int]], count: int) -> tuple[str, ...]:
    return tuple(f"{one.places([a], 1)[0]} and {other.places([b], 1)[0]}" for a, b in rows[:count])
