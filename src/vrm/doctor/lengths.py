"""Lengths in characters: whether the longer completion wins, and sides that differ in next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vrm.data.style import text_length
from vrm.doctor.check import Check
from vrm.doctor.findings import DoctorSettings, plural
from vrm.doctor.rows import FileRows, Pair
from vrm.metrics import Interval, bootstrap_mean, pairwise_hits
from vrm.results.doctor import Finding, Severity

QUANTILES = (0.05, 0.5, 0.95, 1.0)


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """`QUANTILES` of the values and their mean, by name; empty without values."""
    if not len(values):
        return {}
    levels = np.quantile(np.asarray(values, dtype=np.float64), QUANTILES)
    named = {f"p{100 * level:.0f}" if level < 1 else "max": float(value) for level, value in zip(QUANTILES, levels)}
    return {**named, "mean": float(np.mean(values))}


def character_lengths(rows: FileRows) -> dict[str, dict[str, float]]:
    """Quantiles of the characters of prompts, and of the preferred and the other side of decided pairs."""
    lengths = _Lengths(rows)
    decided = [pair for pair in rows.pairs if pair.sign]
    chosen = [lengths.of(pair, preferred=True) for pair in decided]
    rejected = [lengths.of(pair, preferred=False) for pair in decided]
    prompts = [text_length(row.prompt) for row in rows.judgments]
    return {name: quantiles(v) for name, v in (("prompt", prompts), ("chosen", chosen), ("rejected", rejected)) if v}


def check_lengths(rows: FileRows, settings: DoctorSettings) -> list[Finding]:
    """The "longer wins" rate, and sides that differ in case, white space or Unicode form alone."""
    return [_longer_wins(rows, settings), _case_only(rows, settings)]


class _Lengths:
    """Characters of every completion."""

    def __init__(self, rows: FileRows) -> None:
        self._lengths = [[text_length(text) for text in row.completions] for row in rows.judgments]

    def of(self, pair: Pair, preferred: bool) -> int:
        side = pair.first if (pair.sign > 0) == preferred else pair.second
        return self._lengths[pair.row][side]

    def difference(self, pair: Pair) -> int:
        """First minus second."""
        return self._lengths[pair.row][pair.first] - self._lengths[pair.row][pair.second]


def _rate(rows: FileRows, pairs: Sequence[Pair], lengths: _Lengths) -> Interval:
    hits = pairwise_hits([lengths.difference(pair) for pair in pairs], [pair.preference for pair in pairs])
    return bootstrap_mean(hits, [rows.prompts[pair.row] for pair in pairs])


def _longer_wins(rows: FileRows, settings: DoctorSettings) -> Finding:
    decided = [pair for pair in rows.pairs if pair.sign]
    check = Check("longer_wins", rows, settings, (), len(decided))
    if not decided:
        return check.not_run("There is no labelled pair that is not a tie.")
    lengths = _Lengths(rows)
    rate = _rate(rows, decided, lengths)
    sources: dict[str, list[Pair]] = {}
    for pair in decided:
        sources.setdefault(rows.judgments[pair.row].source or "", []).append(pair)
    by_source = {name: _rate(rows, pairs, lengths) for name, pairs in sources.items()} if len(sources) > 1 else {}
    sure = rate.low > 0.5 or rate.high < 0.5
    strong = sure and abs(rate.estimate - 0.5) > settings.thresholds.longer_wins
    message = f"The longer completion wins {_words(rate)} of {plural(len(decided), 'decided pair')}"
    if by_source:
        message += "; by source: " + ", ".join(f"{name} {_words(interval)}" for name, interval in by_source.items())
    return check.finding(
        Severity.WARNING if strong else Severity.INFO,
        message + ".",
        "Quote this rate beside every accuracy, read length-controlled accuracy (vrm evaluate), and check the model's "
        "sensitivity to padding (vrm audit)."
        if strong
        else "",
        {"rate": rate, "by_source": by_source},
    )


def _words(rate: Interval) -> str:
    interval = "" if np.isnan(rate.low) else f" ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
    return f"{100 * rate.estimate:.1f} %{interval}"


def _case_only(rows: FileRows, settings: DoctorSettings) -> Finding:
    keys = rows.completions
    alike = [pair.row for pair in rows.pairs if keys[pair.row][pair.first] == keys[pair.row][pair.second]]
    check = Check("case_only", rows, settings, alike, len(rows.pairs))
    return check.by_share(
        f"In {plural(len(alike), 'pair')} the sides differ in case, white space or Unicode form alone "
        f"({check.percent}).",
        "Leave them out unless that is what was judged; an uncased tokenizer cannot tell such sides apart.",
        warning=settings.thresholds.case_only,
    )
