"""Which languages the prompts are in."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from vrm.data.style import plain_text
from vrm.doctor.findings import Check, DoctorSettings, percent, severity
from vrm.doctor.rows import FileRows, evenly
from vrm.results.doctor import Finding, Severity
from vrm.results.formats import plural

MIN_CHARACTERS = 20
"""Shorter prompts are not guessed at; code does not count."""

MIN_CONFIDENCE = 0.9
SHORT_CHARACTERS = 60
SHORT_CONFIDENCE = 0.99
"""Under so many characters a language other than English needs more confidence."""

PLAIN_CONFIDENCE, PLAIN_WORDS = 0.9999, 5
"""And in plain letters, without accents, still more and so many words."""

MAX_CHARACTERS = 2_000
UNSURE = "unsure"


# Code between backticks, and words that only code has: brackets and operators, digits, `a.b`, `--flag`, `camelCase`.
_QUOTED_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_CODE = re.compile(r"[(){}\[\]<>=_\\/|;#$@*+&^~%\d]|\w[.:]\w|^-|[a-z][A-Z]")
_NO_LANGUAGE = "zxx"
_PIDGIN = "pcm"
"""What the detector calls short questions in English."""

_AROUND_WORDS = "()[]\"'“”.,:;!?"


def without_code(text: str) -> str:
    """The words of a text that are not code: to a language detector code is any language but English."""
    words = _QUOTED_CODE.sub(" ", text).split()
    # Texts without spaces are one word, whatever is in it.
    return " ".join(word for word in words if not (word.isascii() and _CODE.search(word.strip(_AROUND_WORDS))))


def language_of(text: str) -> str:
    """ISO 639 code of the language, or `UNSURE`: too short without its code, or the best guess is not sure enough.

    It needs a probability of 0.9. Under 60 characters a language other than English needs 0.99. Without accents it
    needs 0.9999 and five words: English of a few technical words passes for many others.

    Lui and Baldwin, "langid.py: an off-the-shelf language identification tool" (2012).
    """
    import py3langid

    words = without_code(text[:MAX_CHARACTERS])
    if len(words) < MIN_CHARACTERS:
        return UNSURE
    ranked = py3langid.rank(words)
    name = str(ranked[0][0])
    logs = np.asarray([log for _, log in ranked], dtype=np.float64)
    confidence = 1.0 / np.exp(logs - logs.max()).sum()
    needed = MIN_CONFIDENCE
    if name != "en" and len(words) < SHORT_CHARACTERS:
        plain = words.isascii()
        if name == _PIDGIN or (plain and len(words.split()) < PLAIN_WORDS):
            return UNSURE
        needed = PLAIN_CONFIDENCE if plain else SHORT_CONFIDENCE
    return name if confidence >= needed and name != _NO_LANGUAGE else UNSURE


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
