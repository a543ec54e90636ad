"""Reward functions for TRL's GRPO, RLOO and online trainers: `reward_funcs=reward_function(MODEL)`.

AsyncGRPO pickles its reward functions into another process, where a model does not follow: give it a function that asks
`vrm serve` through `vrm.client`.

They are plain callables with TRL's signature, so the trainer needs to know nothing of the model: messages go through
the model's own chat template, the prompt's end is known and not searched, long texts are cut as `vrm score` cuts
them, and the rewards are those of `vrm score`.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vrm.core.predictive import PredictiveMoments, pessimistic_reward
from vrm.core.reward import objective_scores
from vrm.data.schema import Judgment, Text
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import ConfigError, DataError, NumericsError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.score import ScoreOptions, Scorer
from vrm.inference.steering import Steering
from vrm.model.modeling_vrm import VRMForSequenceClassification

Model: TypeAlias = str | Path | RewardEngine | VRMForSequenceClassification
"""A model directory or Hub name, a loaded engine, or a loaded model whose directory has its tokenizer."""

# TRL calls synchronous functions one after another, but they may be wrapped to run in threads; tokenizers and engines
# have state, and one device computes no faster for two threads.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class JudgedRows:
    """What a model says about the rows of one batch, steering applied; the columns have one entry for each judged row.

    Attributes:
        kept: (rows,) which rows were judged; the others were dropped as too long.
        truncated: how many rows were cut.
        moments: of the rewards, (judged,), raw.
        weights: E[w], (judged, num_objectives).
        scores: o(mu), (judged, num_objectives), raw.
        concentration: total of the weights' Dirichlet, (judged,); infinite where weights carry no uncertainty.
    """

    kept: list[bool]
    truncated: int
    moments: PredictiveMoments
    weights: Tensor
    scores: Tensor
    concentration: Tensor


class BatchJudge:
    """Judges batches of prompts and completions; asked again for the batch it saw last, it computes nothing.

    Args:
        engine: runs the model.
    """

    def __init__(self, engine: RewardEngine) -> None:
        self.engine = engine
        self._last: tuple[str, JudgedRows] | None = None

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], columns: Mapping[str, Any]) -> JudgedRows:
        """Judge rows, each apart from the others: rewards do not depend on what else the batch holds.

        Args:
            prompts: one a row, texts or messages.
            completions: one a row, in the format of its prompt.
            columns: TRL's further arguments; `tools` and `chat_template_kwargs` reach the chat template.

        Raises:
            DataError: for a prompt and completion of different formats.
            NumericsError: if a reward is not finite.
        """
        used = [columns.get(name) or [None] * len(prompts) for name in ("tools", "chat_template_kwargs")]
        key = repr((prompts, completions, used))
        with _ONE_AT_A_TIME:
            if self._last is None or self._last[0] != key:
                rows = [
                    Judgment(prompt, [completion], tools=tools, chat_template_kwargs=kwargs, file="<batch>", line=line)
                    for line, (prompt, completion, tools, kwargs) in enumerate(
                        zip(prompts, completions, map(_parsed, used[0]), used[1], strict=True), 1
                    )
                ]
                self._last = (key, self._judge(rows))
            return self._last[1]

    def _judge(self, rows: list[Judgment]) -> JudgedRows:
        tokenized, truncated = [], 0
        for row in rows:
            report = self.engine.report
            before = report.prompt_truncated + report.completion_truncated
            tokenized.append(self.engine.tokenize(row))
            truncated += report.prompt_truncated + report.completion_truncated > before
        return self.of_tokenized(tokenized, truncated)

    def of_tokenized(self, tokenized: Sequence[TokenizedJudgment | None], truncated: int = 0) -> JudgedRows:
        """Judge tokenized rows of one completion each; None stands for a row that was dropped."""
        kept = [item is not None for item in tokenized]
        found = [item for item in tokenized if item is not None]
        if not found:
            return _nothing_judged(kept, len(self.engine.objectives))
        grouped, places = _by_prompt(found)
        batch = self.engine.judge_tokenized(grouped)
        row, column = (torch.tensor(index) for index in zip(*places, strict=True))
        posteriors, moments = batch.posteriors, batch.moments
        if not bool(torch.isfinite(moments.mean[row, column]).all()):
            raise NumericsError(
                "the model gives rewards that are not finite. Its weights or its precision are at fault: check the "
                "training run, or use an engine with precision float32"
            )
        parts = (moments.mean, moments.feature_variance, moments.weight_variance, moments.interaction_variance)
        return JudgedRows(
            kept=kept,
            truncated=truncated,
            moments=PredictiveMoments(*(part[row, column] for part in parts)),
            weights=posteriors.weights.mean[row],
            scores=objective_scores(posteriors.features.loc, posteriors.decoder)[row, column],
            concentration=posteriors.weights.total[row],
        )


def _parsed(tools: Any) -> Any:
    """Tool definitions of a row; columnar files hold them as JSON text."""
    if not isinstance(tools, str):
        return tools
    try:
        return json.loads(tools)
    except ValueError as error:
        raise DataError(f"tools: not the JSON text of a list of tools ({error})") from None


def _nothing_judged(kept: list[bool], num_objectives: int) -> JudgedRows:
    none, table = torch.zeros(0), torch.zeros(0, num_objectives)
    return JudgedRows(kept, 0, PredictiveMoments(none, none, none, none), table, table, none)


def _by_prompt(rows: Sequence[TokenizedJudgment]) -> tuple[list[TokenizedJudgment], list[tuple[int, int]]]:
    """Rows of equal prompts as one judgment, and where each row went: its judgment, and its place there."""
    groups: dict[tuple[int, ...], TokenizedJudgment] = {}
    index: dict[tuple[int, ...], int] = {}
    places = []
    for row in rows:
        key = tuple(row.prompt)
        group = groups.setdefault(key, TokenizedJudgment(row.prompt, [], Judgment(row.judgment.prompt)))
        places.append((index.setdefault(key, len(index)), len(group.completions)))
        group.completions.extend(row.completions)
        group.judgment.completions.extend(row.judgment.completions)
    return list(groups.values()), places


class RewardFunction:
    """A reward with TRL's signature; `__name__` is what TRL logs it under.

    Called with the trainer's `prompts` and `completions`, it returns one number a row, or None for a row that the
    engine drops as too long (`on_overlong="drop"`); by default nothing is dropped. What the model says beside the
    reward goes to the trainer's log, averaged over the batch, where the trainer passes `log_metric` (GRPO and RLOO):

        LABEL/reward_std           square root of Var[r]
        LABEL/reward_std_weights   square root of its part "what matters here?"
        LABEL/total_concentration  of the weights' Dirichlet; only where weights carry uncertainty
        LABEL/weight/OBJECTIVE     E[w]
        LABEL/truncated            share of rows cut to the model's limit
        LABEL/dropped              share of rows without a reward

    and, where it passes `log_extra`, the column `LABEL_reward_std` of its table of completions.

    Args:
        name: becomes `__name__`.
        judge: shared by the functions that read the same forward.
        values: rewards of judged rows, (judged,).
        label: of the logged metrics; None logs none.
    """

    def __init__(self, name: str, judge: BatchJudge, values: Callable[[JudgedRows], Tensor], label: str | None) -> None:
        self.__name__ = name
        self.judge, self.values, self.label = judge, values, label

    def __repr__(self) -> str:
        return f"<vrm reward function {self.__name__!r}>"

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float | None]:
        """Rewards of a batch; see `BatchJudge` for arguments and errors."""
        judged = self.judge(prompts, completions, columns)
        if self.label is not None:
            self._log(judged, self.label, columns)
        return _spread(self.values(judged), judged.kept)

    def _log(self, judged: JudgedRows, label: str, columns: Mapping[str, Any]) -> None:
        if columns.get("log_metric"):
            for name, value in _metrics(judged, self.judge.engine).items():
                columns["log_metric"](f"{label}/{name}", value)
        if columns.get("log_extra"):
            columns["log_extra"](f"{label}_reward_std", _spread(judged.moments.std, judged.kept))


def _spread(values: Tensor, kept: Sequence[bool]) -> list[float | None]:
    remaining = iter(values.tolist())
    return [next(remaining) if keep else None for keep in kept]


def _metrics(judged: JudgedRows, engine: RewardEngine) -> dict[str, float]:
    shares = {
        "truncated": judged.truncated / len(judged.kept),
        "dropped": 1 - sum(judged.kept) / len(judged.kept),
    }
    if not any(judged.kept):
        return shares
    spread = {
        "reward_std": float(judged.moments.std.mean()),
        "reward_std_weights": float(judged.moments.weight_variance.sqrt().mean()),
    }
    if bool(torch.isfinite(judged.concentration).all()):
        spread["total_concentration"] = float(judged.concentration.mean())
    means = judged.weights.mean(0).tolist()
    weights = {f"weight/{name}": mean for name, mean in zip(engine.objectives, means, strict=True)}
    return shares | spread | weights


def reward_function(
    model: Model,
    *,
    kappa: float | None = None,
    emphasis: Mapping[str, float] | None = None,
    without: Sequence[str] = (),
    reward_scale: str | None = None,
    name: str = "vrm",
) -> RewardFunction:
    """A reward function for `reward_funcs`: the mean reward, or a pessimistic or steered one.

    Args:
        model: a directory or Hub name, which is loaded in float32 onto this process's GPU if there is one; or a
            `RewardEngine`, which says device, precision, batch size and what happens to long rows; or a loaded model.
        kappa: >= 0, for E[r] - kappa sqrt(Var[r]); None for E[r].
        emphasis: {objective: count >= 0}, see (13).
        without: objectives left out, see (13).
        reward_scale: `raw` or `standardized`; None: as the model is set.
        name: `__name__` of the function, under which TRL logs it.

    Raises:
        CheckpointError: if there is no such model.
        ConfigError: for options that this model cannot follow.
    """
    engine = _steered(_engine(model), emphasis, without)
    shift, scale = _units(engine, reward_scale, kappa)

    def values(judged: JudgedRows) -> Tensor:
        rewards = judged.moments.mean if kappa is None else pessimistic_reward(judged.moments, kappa)
        return (rewards - shift) / scale

    return RewardFunction(name, BatchJudge(engine), values, name)


def objective_functions(
    model: Model, *, weighted: bool = False, reward_scale: str | None = None
) -> list[RewardFunction]:
    """One reward function an objective, named after it, in the order of the model's objectives.

    All read one forward of the model: the first that is called with a batch computes it, and logs the model's weights
    and uncertainty, under `vrm/...`.

    With `multi_objective_aggregation="normalize_then_sum"` each objective is normalized over a prompt's completions, so
    the prompt's weights cancel and `reward_weights` alone say what counts.

    Args:
        model: as in `reward_function`.
        weighted: False for objective scores o_k; True for E[w_k] o_k, which add up to the reward.
        reward_scale: as in `reward_function`.
    """
    engine = _engine(model)
    shift, scale = _units(engine, reward_scale, None)
    judge = BatchJudge(engine)

    def values_of(index: int) -> Callable[[JudgedRows], Tensor]:
        def values(judged: JudgedRows) -> Tensor:
            # Weights sum to 1, so shifting every objective by the mean shifts the reward by it.
            scores = (judged.scores[:, index] - shift) / scale
            return judged.weights[:, index] * scores if weighted else scores

        return values

    return [
        RewardFunction(name, judge, values_of(index), None if index else "vrm")
        for index, name in enumerate(engine.objectives)
    ]


def _engine(model: Model) -> RewardEngine:
    if isinstance(model, RewardEngine):
        return model
    options = ExtractionOptions(precision="float32")
    if isinstance(model, str | Path):
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
        return RewardEngine.from_pretrained(model, device=device, options=options)
    if not model.config._name_or_path:
        raise ConfigError("the model does not say where its tokenizer is: pass RewardEngine(model, tokenizer)")
    from transformers import AutoTokenizer

    return RewardEngine(model, AutoTokenizer.from_pretrained(model.config._name_or_path), options)


def _steered(engine: RewardEngine, emphasis: Mapping[str, float] | None, without: Sequence[str]) -> RewardEngine:
    if not emphasis and not without:
        return engine
    if engine.steering is not None:
        raise ConfigError("the engine steers already: give emphasis and without to it, or to reward_function, not both")
    steering = Steering(dict(emphasis or {}), tuple(without))
    return RewardEngine(engine.model, engine.tokenizer, engine.options, engine.tokenize.on_overlong, steering)


def _units(engine: RewardEngine, reward_scale: str | None, kappa: float | None) -> tuple[float, float]:
    """Shift and scale of rewards; raises ConfigError as `vrm score` does."""
    config = engine.model.config
    scorer = Scorer(engine, ScoreOptions(reward_scale=reward_scale, kappa=kappa))
    return (config.reward_mean, config.reward_std) if scorer.reward_scale == "standardized" else (0.0, 1.0)
