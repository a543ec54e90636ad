"""The most confident mistakes of an evaluation, explained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vrm.data.schema import Judgment
from vrm.data.style import plain_text
from vrm.evaluate.collect import Collected
from vrm.inference.engine import RewardEngine
from vrm.inference.explain import explain
from vrm.metrics import pairwise_hits
from vrm.results.evaluation import Mistake

MAX_CHARACTERS = 600


def confident_mistakes(engine: RewardEngine, collected: Collected, count: int = 10) -> tuple[Mistake, ...]:
    """Pairs whose margin has the wrong sign, the least probable labels first; a pair that occurs again is shown once.

    The engine judges these rows again, and counts them in its report on overlong rows.

    Args:
        engine: which judged them.
        collected: its judgments.
        count: how many at most.
    """
    if not collected.pairs or not count:
        return ()
    wrong = np.flatnonzero(pairwise_hits(collected.margin, collected.preference) == 0.0)
    log_preferred = [_log_preferred(collected, int(row)) for row in wrong]
    mistakes: list[Mistake] = []
    seen = set()
    for position in np.argsort(log_preferred, kind="stable"):
        index = int(wrong[position])
        pair = _preferred_first(collected, index)
        key = (collected.prompts[index], *(plain_text(text) for text in pair.completions))
        if key not in seen:
            seen.add(key)
            mistakes.append(_explained(engine, collected, index, pair))
        if len(mistakes) == count:
            break
    return tuple(mistakes)


def _log_preferred(collected: Collected, index: int) -> float:
    return collected.log_first[index] if collected.preference[index] > 0.5 else collected.log_second[index]


def _preferred_first(collected: Collected, index: int) -> Judgment:
    row, a, b, label = collected.pairs[index]
    sides = (a, b) if label > 0.5 else (b, a)
    return replace(
        row,
        completions=[row.completions[side] for side in sides],
        preference=max(label, 1.0 - label),
        scores=None,
        ratings=None,
        objective_votes=None,
    )


def _explained(engine: RewardEngine, collected: Collected, index: int, pair: Judgment) -> Mistake:
    explanation = explain(engine, pair)
    return Mistake(
        file=pair.file,
        line=pair.line,
        source=pair.source,
        category=pair.category,
        preference=float(pair.preference or 0.0),
        probability=float(np.exp(_log_preferred(collected, index))),
        margin=-abs(collected.margin[index]),
        prompt=_clipped(explanation.prompt),
        chosen=_clipped(plain_text(pair.completions[0])),
        rejected=_clipped(plain_text(pair.completions[1])),
        explanation=explanation,
    )


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"
