"""Rewards of a benchmark's examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vrm.benchmarks.base import BenchmarkExample, ExampleRewards
from vrm.choices import OnBadRows
from vrm.core.predictive import relative_moments
from vrm.data.tokenized import TokenizedJudgment
from vrm.inference.engine import RewardEngine
from vrm.inference.reward_choice import RAW
from vrm.inference.rewards import RewardView

WINDOW_COMPLETIONS = 512
"""Completions that are tokenized and sorted by length together, about."""


def score_examples(
    engine: RewardEngine,
    examples: Sequence[BenchmarkExample],
    progress: Callable[[int, int], None] | None = None,
    on_bad_rows: str = OnBadRows.SKIP,
) -> list[ExampleRewards | None]:
    """Mean and standard deviation of every completion's reward, in raw units; None for examples without rewards.

    These are examples dropped as overlong, examples that the chat template refuses, and examples with an empty text of
    which the model would read no token, as models of plain text may.

    Args:
        engine: the model, possibly steered; its report counts what was over the limit.
        examples: of one benchmark.
        progress: called with (examples done, all of them) after every window.
        on_bad_rows: what to do with examples that the chat template refuses; see `vrm.choices.OnBadRows`.

    Raises:
        InvalidRowError: the chat template refuses an example, and `on_bad_rows` is `error`.
        NumericsError: a reward is not finite.
    """
    if not examples:
        return []
    positions = {id(example.judgment): position for position, example in enumerate(examples)}
    rewards: list[ExampleRewards | None] = [None] * len(examples)
    view = RewardView(engine.model.config, RAW)
    completions = sum(len(example.judgment.completions) for example in examples)
    window = max(1, WINDOW_COMPLETIONS * len(examples) // completions)
    for start in range(0, len(examples), window):
        part = examples[start : start + window]
        rows = engine.tokenize.many((example.judgment for example in part), on_bad_rows)
        tokenized = [item for item in rows if _readable(item)]
        if tokenized:
            batch = engine.judge_tokenized(tokenized)
            judged, posteriors = view(batch), batch.posteriors
            relative = relative_moments(posteriors.weights, posteriors.features, posteriors.decoder, batch.mask)
            for index, judgment in enumerate(batch.judgments):
                values = (each[index][batch.mask[index]].numpy() for each in (judged.mean, judged.std, relative.std))
                rewards[positions[id(judgment)]] = ExampleRewards(*map(_exact, values))
        if progress is not None:
            progress(min(start + window, len(examples)), len(examples))
    return rewards


def _readable(item: TokenizedJudgment) -> bool:
    return bool(item.prompt) and all(item.completions)


def _exact(values: NDArray[np.float32]) -> tuple[float, ...]:
    """The shortest decimals that give the same float32 back, so that a written reward ties only if the reward did."""
    return tuple(float(str(value)) for value in values.astype(np.float32))
