"""Small work of many requests, done in few steps: a step for many costs little more than one for each would."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeVar

Value = TypeVar("Value")
Result = TypeVar("Result")

MOST = 64
"""Values of a step: a request waits for no more than these, and for those of the step before."""


def each(work: Callable[[Value], Result], values: Sequence[Value]) -> list[Result | Exception]:
    """The result of each value, or its error, which harms no other."""
    return [_outcome(work, value) for value in values]


def _outcome(work: Callable[[Value], Result], value: Value) -> Result | Exception:
    try:
        return work(value)
    except Exception as error:
        return error


class Together(Generic[Value, Result]):
    """Does the work of several callers in one step of a thread: what comes while it is busy is the next step's.

    Waking a thread and the event loop costs more than most of the work does, and takes time from the model. Values
    whose callers have gone are left out. It is called in one event loop.

    Args:
        work: gives the result of each value, or its error.
        thread: with one worker, which calls it.
    """

    def __init__(self, work: Callable[[Sequence[Value]], Sequence[Result | Exception]], thread: Executor) -> None:
        self._work, self._thread = work, thread
        self._waiting: deque[tuple[Value, asyncio.Future[Result]]] = deque()
        self._busy = False

    async def __call__(self, value: Value) -> Result:
        """The value's result; raises its error."""
        loop = asyncio.get_running_loop()
        waiting = (value, loop.create_future())
        self._waiting.append(waiting)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._begin)  # others of this turn of the loop come along
        return await waiting[1]

    def _begin(self) -> None:
        step: list[tuple[Value, asyncio.Future[Result]]] = []
        while self._waiting and len(step) < MOST:
            waiting = self._waiting.popleft()
            if not waiting[1].done():
                step.append(waiting)
        self._busy = bool(step)
        if step:
            done = asyncio.get_running_loop().run_in_executor(self._thread, self._work, [value for value, _ in step])
            done.add_done_callback(partial(self._end, [future for _, future in step]))

    def _end(
        self, futures: Sequence[asyncio.Future[Result]], done: asyncio.Future[Sequence[Result | Exception]]
    ) -> None:
        failure = done.exception()
        outcomes = [failure] * len(futures) if failure is not None else done.result()
        for future, outcome in zip(futures, outcomes, strict=True):
            settle(future, outcome)
        self._begin()


def settle(future: asyncio.Future[Result], outcome: Result | BaseException) -> None:
    """Give a future its result or error, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
