"""The audit: edits that must not raise a reward, edits that must lower it, and how the reward goes with length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vrm.audit.edits import EDITS, Edit
from vrm.audit.measure import AuditArrays, AuditPlan, Progress, measure
from vrm.audit.summary import by_harm, length_report, summarize
from vrm.choices import RewardScale
from vrm.data.schema import Judgment
from vrm.errors import DataError
from vrm.inference.engine import RewardEngine
from vrm.inference.reward_choice import RAW, RewardChoice
from vrm.metrics import ResampleOptions
from vrm.results.audit import AuditReport

STORED_SPREAD = "standard deviation of the rewards on the model's held-out rows"
FILE_SPREAD = "standard deviation of the unedited completions' rewards in this audit"


def audit(
    engine: RewardEngine,
    judgments: Sequence[Judgment],
    edits: Mapping[str, Edit] = EDITS,
    *,
    kappa: float = 0.0,
    beta: float | None = None,
    options: ResampleOptions | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> AuditReport:
    """Measure what edits of completions do to a model's rewards; nothing is trained.

    Every edit is tried on every completion that the model can read whole, each alone. Shifts are in units of the
    rewards' spread: the one stored with the model, or, where that is not the spread of this reward (never stored,
    steered, lowered by a risk), that of the unedited completions here.

    Args:
        engine: the model, possibly steered.
        judgments: rows of any kind; those without completions are counted and left out.
        edits: by name; the built-in ones are `vrm.audit.EDITS`, and others may be added.
        kappa: >= 0; above 0 the pessimistic reward E[r] - kappa sqrt(Var[r]) of (10) is audited in place of E[r].
            Preference probabilities stay those of (8).
        beta: > 0, for the effective reward -beta log E exp(-r / beta) in its place, in raw units; not with kappa.
        options: of the intervals; by default 95 %, 1000 resamples, and the seed below.
        seed: of the edits' own chance.
        progress: called with (judgments done, judgments in all).

    Raises:
        ConfigError: no edits, a kappa or beta that is not allowed, or a head that has no uncertainty for it.
        DataError: no completion is left to edit.
        OverlongError: a judgment is over the model's limit and the engine's `on_overlong` is `error`.
        NumericsError: a reward is not finite.
    """
    options = options or ResampleOptions(seed=seed)
    choice = RewardChoice(RewardScale.RAW, kappa or None, beta=beta)
    arrays = measure(engine, judgments, AuditPlan(edits, seed, choice), progress)
    _check_completions(arrays, len(judgments), engine.report.render())
    spread, source = _spread(engine, arrays, choice == RAW)
    results = [summarize(name, edit, arrays.edits[name], spread, options) for name, edit in edits.items()]
    return AuditReport(
        judgments=arrays.judgments,
        completions=len(arrays.rewards),
        prompts=len(set(arrays.prompts)),
        pairs=len(arrays.labels),
        without_completions=arrays.without_completions,
        cut_completions=arrays.cut,
        overlong=engine.report.render(),
        spread=spread,
        spread_source=source,
        kappa=kappa,
        seed=seed,
        confidence=options.confidence,
        resamples=options.resamples,
        edits=tuple(sorted(results, key=by_harm)),
        length=length_report(arrays, options),
        beta=beta,
    )


def _check_completions(arrays: AuditArrays, judgments: int, overlong: str) -> None:
    if not arrays.rewards:
        raise DataError(
            f"there is no completion to edit: {arrays.without_completions} of {judgments} rows have none; {overlong}"
        )


def _spread(engine: RewardEngine, arrays: AuditArrays, mean_reward: bool) -> tuple[float, str]:
    """The unit of shifts, and whose standard deviation it is."""
    config = engine.model.config
    stored = (config.reward_mean, config.reward_std) != (0.0, 1.0)
    if stored and engine.steering is None and mean_reward:
        return float(config.reward_std), STORED_SPREAD
    spread = float(np.std(arrays.rewards))
    # A model that says the same of everything has shifts of zero in any unit.
    return (spread, FILE_SPREAD) if spread > 0.0 else (1.0, "1, since all rewards in this audit are equal")
