"""Which languages the prompts are in."""

from __future__ import annotations

from collections import Counter

import numpy as np

from vrm.data.style import plain_text
from vrm.doctor.findings import Check, DoctorSettings, percent, severity
from vrm.doctor.rows import FileRows, evenly
from vrm.results.doctor import Finding, Severity
from vrm.results.formats import plural

MIN_CHARACTERS = 20
"""Shorter prompts are not guessed at."""

MIN_CONFIDENCE = 0.9
MAX_CHARACTERS = 2_000
UNSURE = "unsure"


def language_of(text: str) -> str:
    """ISO 639 code of the text's language, or `UNSURE`: too short, or the best guess has a probability under 0.9.

    Lui and Baldwin, "langid.py: an off-the-shelf language identification tool" (2012).
    """
    import py3langid

    if len(text.strip()) < MIN_CHARACTERS:
        return UNSURE
    ranked = py3langid.rank(text[:MAX_CHARACTERS])
    logs = np.asarray([log for _, log in ranked], dtype=np.float64)
    confidence = 1.0 / np.exp(logs - logs.max()).sum()
    return str(ranked[0][0]) if confidence >= MIN_CONFIDENCE else UNSURE


def check_languages(rows: FileRows, settings: DoctorSettings, english_only: bool) -> Finding:
    """The mix of languages over different prompts; a warning where a backbone that reads English meets others.

    Args:
        rows: of one file.
        settings: the share that is a warning, and the number of prompts to look at.
        english_only: whether the backbone reads English alone.
    """
    first = sorted(rows.first_rows().values())
    looked = evenly(first, settings.sample)
    languages = {row: language_of(plain_text(rows.judgments[row].prompt)) for row in looked}
    counts = Counter(languages.values())
    others = [row for row, name in languages.items() if name not in ("en", UNSURE)]
    known = len(looked) - counts[UNSURE]
    named = ", ".join(f"{name} {percent(count / known)}" for name, count in _largest(counts, known))
    sampled = f" (a sample of {plural(len(first), 'prompt')})" if len(looked) < len(first) else ""
    unsure = f"; not told for {plural(counts[UNSURE], 'prompt')}, short or mixed" if counts[UNSURE] else ""
    degree = severity(len(others), max(known, 1), warning=settings.thresholds.other_languages if english_only else None)
    return Check.of("languages", rows, settings, others, known).finding(
        Severity.INFO if degree == Severity.OK else degree,
        f"Languages of {plural(len(looked), 'prompt')}{sampled}: {named or 'none told'}{unsure}.",
        "The embedded backbone reads English: for other languages take a multilingual one."
        if degree == Severity.WARNING
        else "",
        {"counts": dict(counts.most_common()), "looked_at": len(looked), "prompts": len(first)},
    )


def _largest(counts: Counter[str], known: int) -> list[tuple[str, int]]:
    """Languages of at least 0.5 % of the prompts; rarer ones, often misjudged, together as `others`."""
    named = [(name, count) for name, count in counts.most_common() if name != UNSURE]
    frequent = [(name, count) for name, count in named if count >= 0.005 * known]
    rest = sum(count for _, count in named) - sum(count for _, count in frequent)
    return [*frequent, *([("others", rest)] if rest else [])]
