"""What the routes call: a model behind a batcher, with limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from vrm.data.schema import Judgment
from vrm.data.tokenized import TokenizedJudgment
from vrm.errors import ConfigError
from vrm.inference.engine import RewardEngine
from vrm.inference.judged import JudgedBatch
from vrm.inference.steering import Steering, check_steering
from vrm.model.configuration_vrm import VRMConfig
from vrm.serve.answers import RewardChoice, Rewards, rewards_of
from vrm.serve.batching import Batcher
from vrm.serve.errors import ClientGoneError, RequestError
from vrm.serve.metrics import ServeMetrics
from vrm.serve.settings import ServeSettings
from vrm.serve.texts import Formatted, RequestTokenizer

T = TypeVar("T")


@dataclass(frozen=True)
class ServedRow:
    """What the model says about one judgment.

    Attributes:
        judged: a batch of one.
        tokens: of the prompt and of all completions, as the model read them.
        truncated: whether it was cut to the model's limit.
    """

    judged: JudgedBatch
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class ServedRewards:
    """Rewards of one judgment; `tokens` and `truncated` as in `ServedRow`."""

    rewards: Rewards
    tokens: int
    truncated: bool


class Service:
    """A model that is served.

    Args:
        engine: without steering of its own; requests bring theirs.
        settings: limits and times.

    Raises:
        ConfigError: if the engine is steered.
    """

    def __init__(self, engine: RewardEngine, settings: ServeSettings | None = None) -> None:
        if engine.steering is not None:
            raise ConfigError("the engine of a server must not be steered: every request brings its own steering")
        self.engine, self.settings, self.metrics = engine, settings or ServeSettings(), ServeMetrics()
        self.batcher = Batcher(engine, self.settings, self.metrics)
        self._tokenizer = RequestTokenizer(engine, self.settings, self.metrics)

    @property
    def config(self) -> VRMConfig:
        """The model's configuration."""
        return self.engine.model.config

    def try_model(self) -> None:
        """Judge one text, so that what is wrong with the model is said before anybody asks; raises as the engine.

        Raises:
            NumericsError: if its reward is not finite.
        """
        judged = self.engine.judge([Judgment("Hello.", ["Hello."], file="<trial>")])
        rewards_of(judged, self.config, RewardChoice())
        self.engine.reset_report()

    def steering(self, emphasis: dict[str, float], without: Sequence[str]) -> Steering | None:
        """Checked steering of a request; None if it has none.

        Raises:
            RequestError: for an unknown objective, one that is in both, or a head that cannot follow.
        """
        if not emphasis and not without:
            return None
        both = sorted(set(emphasis) & set(without))
        if both:
            raise RequestError(f"without: {', '.join(both)} cannot be left out and emphasized", "without")
        steering = Steering(dict(emphasis), tuple(dict.fromkeys(without)))
        try:
            check_steering(self.engine.model, steering)
        except ConfigError as error:
            unknown = set(without) - set(self.config.objective_names)
            raise RequestError(str(error), "without" if unknown or not emphasis else "emphasis") from None
        return steering

    async def judge(
        self,
        request: Request,
        items: Sequence[Judgment | Formatted],
        answer: Callable[[list[ServedRow]], T],
        slow: bool = False,
    ) -> T:
        """Judge what a request holds and make its answer, in the threads for it.

        Args:
            request: of HTTP; if its client goes away, so does its place in the queue.
            items: judgments and formatted texts.
            answer: called in a thread, with one row an item.
            slow: whether the answer takes long.

        Raises:
            RequestError: a text that does not fit, or as its subclasses say.
        """
        texts = sum(len(item.completions) if isinstance(item, Judgment) else 1 for item in items)
        cut: list[bool] = []

        def tokenize() -> list[TokenizedJudgment]:
            pairs = [self._tokenizer(item) for item in items]
            cut.extend(truncated for _, truncated in pairs)
            return [tokenized for tokenized, _ in pairs]

        def finish(rows: list[JudgedBatch], tokenized: list[TokenizedJudgment]) -> T:
            sizes = (len(item.prompt) + sum(map(len, item.completions)) for item in tokenized)
            return answer([ServedRow(*found) for found in zip(rows, sizes, cut, strict=True)])

        return await until_gone(request, self.batcher.submit(texts, tokenize, finish, slow), self.metrics)

    async def rewards(
        self, request: Request, items: Sequence[Judgment | Formatted], choice: RewardChoice
    ) -> list[ServedRewards]:
        """Rewards of what a request holds; see `judge`."""
        choice.check(self.config)

        def answer(rows: list[ServedRow]) -> list[ServedRewards]:
            return [
                ServedRewards(rewards_of(row.judged, self.config, choice), row.tokens, row.truncated) for row in rows
            ]

        return await self.judge(request, items, answer)


async def until_gone(request: Request, work: Coroutine[Any, Any, T], metrics: ServeMetrics) -> T:
    """The result of the work, which is cancelled if the client closes its connection before."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            metrics.dropped.labels("client_gone").inc()
            raise ClientGoneError("the client closed the connection")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
