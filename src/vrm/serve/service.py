"""The service that routes call: a model behind a batcher, with limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from fastapi import Request

from vrm.data.schema import Judgment
from vrm.errors import CannotFollowError, ConfigError
from vrm.inference.engine import RewardEngine
from vrm.inference.reward_choice import RewardChoice
from vrm.inference.rewards import RewardView, RowRewards
from vrm.inference.steering import Steering
from vrm.model.configuration_vrm import VRMConfig
from vrm.serve.batching import Batcher
from vrm.serve.errors import RequestError
from vrm.serve.metrics import ServeMetrics
from vrm.serve.settings import ServeSettings
from vrm.serve.shares import Share
from vrm.serve.texts import Conversation, Formatted, RequestTokenizer

T = TypeVar("T")

_VIEWS = 128
"""Choices of rewards that are remembered, so that requests with equal ones share a view."""


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
        self.batcher = Batcher(
            RequestTokenizer(engine, self.settings, self.metrics), engine, self.settings, self.metrics
        )
        self._view = lru_cache(_VIEWS)(lambda choice: RewardView(engine.model.config, choice))

    @property
    def config(self) -> VRMConfig:
        """The model's configuration."""
        return self.engine.model.config

    def try_model(self) -> None:
        """Judge one text, so that a broken model is found before the first request; raises as the engine.

        Raises:
            NumericsError: if its reward is not finite.
        """
        RewardView(self.config)(self.engine.judge([Judgment("Hello.", ["Hello."], file="<trial>")]))
        self.engine.reset_report()

    def view(
        self,
        choice: RewardChoice | None = None,
        emphasis: Mapping[str, float] | None = None,
        without: Sequence[str] = (),
        rater: str | None = None,
    ) -> RewardView:
        """How a request reads rewards.

        Args:
            choice: scale and pessimism.
            emphasis: counts of its steering, by objective.
            without: objectives that it leaves out.
            rater: whose rewards are asked for; None for the population's.

        Raises:
            RequestError: for an unknown objective or rater, an objective in both, or a head that cannot follow.
        """
        both = sorted(set(emphasis or ()) & set(without))
        if both:
            raise RequestError(f"without: {', '.join(both)} cannot be left out and emphasized", "without")
        asked = emphasis or without or rater is not None
        steering = Steering(dict(emphasis or {}), tuple(dict.fromkeys(without)), rater) if asked else None
        try:
            self.engine.check_steering(steering)
            return self._view(choice) if steering is None else RewardView(self.config, choice, steering)
        except CannotFollowError as error:
            raise RequestError(f"{error.option}: {error}", error.option) from None

    async def judge(
        self,
        request: Request,
        items: Sequence[Conversation | Formatted],
        answer: Callable[[Share], T],
        slow: bool = False,
    ) -> T:
        """Judge the items of a request and make its answer, in the threads for it.

        Args:
            request: of HTTP; if its client goes away, it loses its place in the queue.
            items: conversations and formatted texts, one or more.
            answer: called in a thread, with one judgment an item.
            slow: whether the answer takes long.

        Raises:
            RequestError: a text that does not fit, a full queue, or another kind of `STATUS`.
        """
        count = sum(item.count for item in items)
        return await until_gone(request, self.batcher.submit(count, items, answer, slow), self.metrics)

    async def rewards(
        self, request: Request, items: Sequence[Conversation | Formatted], choice: RewardChoice
    ) -> list[RowRewards]:
        """Rewards of the items of a request, none for none; see `judge`."""
        view = self.view(choice)
        return await self.judge(request, items, lambda share: share.rewards(view)) if items else []


async def until_gone(request: Request, work: Coroutine[Any, Any, T], metrics: ServeMetrics) -> T:
    """The result of the work, which is cancelled if the client closes its connection before."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            metrics.dropped.labels("client_gone").inc()
            raise RequestError("the client closed the connection", kind="client_gone")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
