"""Reward functions for TRL's GRPO, RLOO and online trainers: `reward_funcs=reward_function(MODEL)`.

AsyncGRPO pickles its reward functions into another process, where a model does not follow: give it a function that asks
`vrm serve` through `vrm.client`.

They are plain callables with TRL's signature, so the trainer needs to know nothing of the model. Messages go through
the model's own chat template, and the prompt's end is known and not searched. Long texts are cut as `vrm score` cuts
them, and the rewards are those of `vrm score`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vrm.data.fields import read_tools
from vrm.data.schema import Judgment, Text
from vrm.errors import ConfigError, DataError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.reward_choice import RewardChoice
from vrm.inference.rewards import BatchRewards, RewardView
from vrm.inference.steering import Steering
from vrm.model.checkpoint import load_tokenizer
from vrm.model.modeling_vrm import VRMForSequenceClassification

Model: TypeAlias = str | Path | RewardEngine | VRMForSequenceClassification
"""A model directory or Hub name, a loaded engine, or a loaded model whose directory has its tokenizer."""

# TRL calls synchronous functions one after another, but they may be wrapped to run in threads; tokenizers and engines
# have state, and one device computes no faster for two threads.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class JudgedRows:
    """The rows of one batch, judged.

    Attributes:
        kept: (rows,) which rows were judged; the others were dropped as too long.
        rewards: of the judged rows, each a judgment of one completion; None where no row was judged.
    """

    kept: list[bool]
    rewards: BatchRewards | None


class BatchJudge:
    """Judges batches of prompts and completions; asked again for the batch it saw last, it computes nothing.

    Args:
        engine: runs the model.
        view: how its rewards are read.
    """

    def __init__(self, engine: RewardEngine, view: RewardView) -> None:
        self.engine, self.view = engine, view
        self._last: tuple[str, JudgedRows] | None = None

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], columns: Mapping[str, Any]) -> JudgedRows:
        """Judge rows, each apart from the others: rewards do not depend on what else the batch holds.

        Args:
            prompts: one a row, texts or messages.
            completions: one a row, in the format of its prompt.
            columns: TRL's further arguments; `tools` and `chat_template_kwargs` reach the chat template.

        Raises:
            DataError: for a prompt and completion of different formats, or tools that are no JSON text.
            NumericsError: if a reward is not finite.
        """
        used = [columns.get(name) or [None] * len(prompts) for name in ("tools", "chat_template_kwargs")]
        key = repr((prompts, completions, used))
        with _ONE_AT_A_TIME:
            if self._last is None or self._last[0] != key:
                rows = [
                    Judgment(prompt, [completion], tools=tools, chat_template_kwargs=kwargs, file="<batch>", line=line)
                    for line, (prompt, completion, tools, kwargs) in enumerate(
                        zip(prompts, completions, map(_tools, used[0]), used[1], strict=True), 1
                    )
                ]
                self._last = (key, self._judge(rows))
            return self._last[1]

    def _judge(self, rows: list[Judgment]) -> JudgedRows:
        tokenized = [self.engine.tokenize(row) for row in rows]
        judged = [item for item in tokenized if item is not None]
        # The engine computes equal prompts once.
        rewards = self.view(self.engine.judge_tokenized(judged)) if judged else None
        return JudgedRows([item is not None for item in tokenized], rewards)


def _tools(value: Any) -> Any:
    try:
        return read_tools(value)
    except DataError as error:
        raise DataError(f"tools: {error}") from None


class RewardFunction:
    """A reward with TRL's signature; TRL logs it under its `__name__`.

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
        values: rewards of judged rows, (judged, 1).
        label: of the logged metrics; None logs none.
    """

    def __init__(
        self, name: str, judge: BatchJudge, values: Callable[[BatchRewards], Tensor], label: str | None
    ) -> None:
        self.__name__ = name
        self.judge, self.values, self.label = judge, values, label

    def __repr__(self) -> str:
        return f"<vrm reward function {self.__name__!r}>"

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float | None]:
        """Rewards of a batch; see `BatchJudge` for arguments and errors."""
        judged = self.judge(prompts, completions, columns)
        if self.label is not None:
            self._log(judged, self.label, columns)
        return _spread(None if judged.rewards is None else self.values(judged.rewards), judged.kept)

    def _log(self, judged: JudgedRows, label: str, columns: Mapping[str, Any]) -> None:
        if columns.get("log_metric"):
            for name, value in _metrics(judged).items():
                columns["log_metric"](f"{label}/{name}", value)
        if columns.get("log_extra"):
            spread = None if judged.rewards is None else judged.rewards.moments.std
            columns["log_extra"](f"{label}_reward_std", _spread(spread, judged.kept))


def _spread(values: Tensor | None, kept: Sequence[bool]) -> list[float | None]:
    """Values of judged rows, (judged, completions), at the rows' places; None where a row was dropped."""
    remaining = iter(values[:, 0].tolist() if values is not None else ())
    return [next(remaining) if keep else None for keep in kept]


def _metrics(judged: JudgedRows) -> dict[str, float]:
    rows, rewards = len(judged.kept), judged.rewards
    if rewards is None:
        return {"truncated": 0.0, "dropped": 1.0}
    batch, moments = rewards.batch, rewards.moments
    metrics = {
        "truncated": sum(item.truncated for item in batch.tokenized) / rows,
        "dropped": 1 - len(batch) / rows,
        "reward_std": float(moments.std[:, 0].mean()),
        "reward_std_weights": float(moments.weight_variance[:, 0].sqrt().mean()),
    }
    if rewards.total_concentration is not None:
        metrics["total_concentration"] = float(rewards.total_concentration.mean())
    means = zip(batch.objectives, rewards.weights.mean(0).tolist(), strict=True)
    return metrics | {f"weight/{name}": mean for name, mean in means}


def reward_function(
    model: Model,
    *,
    kappa: float | None = None,
    risk: str | None = None,
    beta: float | None = None,
    emphasis: Mapping[str, float] | None = None,
    without: Sequence[str] = (),
    rater: str | None = None,
    reward_scale: str | None = None,
    name: str = "vrm",
) -> RewardFunction:
    """A reward function for `reward_funcs`: the mean reward, or a pessimistic, effective, steered or a rater's one.

    Args:
        model: a directory or Hub name, which is loaded in float32 onto this process's GPU if there is one; or a
            `RewardEngine`, which says device, precision, batch size and what happens to long rows; or a loaded model.
        kappa: >= 0, for E[r] - kappa sqrt(Var[r]); None for E[r].
        risk: `pessimistic` with kappa, `exponential` with beta; None: as the number says.
        beta: > 0, for the effective reward -beta log E exp(-r / beta), in units of the reward; not with kappa.
        emphasis: {objective: count >= 0}, see (13).
        without: objectives left out, see (13).
        rater: whose rewards they are, a name that `vrm adapt` has made known (16); None for the population's.
        reward_scale: `raw` or `standardized`; None: as the model is set.
        name: `__name__` of the function, under which TRL logs it.

    Raises:
        CheckpointError: if there is no such model.
        ConfigError: for options that this model cannot follow.

    Example:
        >>> from vrm import reward_function
        >>> reward = reward_function("runs/mine/model", kappa=1.0)
        >>> len(reward(prompts=["Name a tree."], completions=["Oak"]))
        1
    """
    engine = _engine(model)
    steering = Steering(dict(emphasis or {}), tuple(without), rater) if emphasis or without or rater else None
    if steering is not None and engine.steering is not None:
        raise ConfigError("the engine steers already: give emphasis, without and rater to it, or to reward_function")
    engine.check_steering(steering)
    view = RewardView(engine.model.config, RewardChoice(reward_scale, kappa, risk=risk, beta=beta), steering)
    return RewardFunction(name, BatchJudge(engine, view), lambda rewards: rewards.chosen, name)


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
        weighted: False for objective scores o_k; True for E[w_k] o_k, with a rater's tilt, which add up to the reward.
        reward_scale: as in `reward_function`.
    """
    engine = _engine(model)
    judge = BatchJudge(engine, RewardView(engine.model.config, RewardChoice(reward_scale)))

    def values_of(index: int) -> Callable[[BatchRewards], Tensor]:
        def values(rewards: BatchRewards) -> Tensor:
            scores = rewards.scores[..., index]
            return rewards.applied_weights[:, None, index] * scores if weighted else scores

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
    return RewardEngine(model, load_tokenizer(model.config._name_or_path), options)
