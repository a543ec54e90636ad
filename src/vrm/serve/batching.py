"""Batches across requests: texts are tokenized, judged and answered in threads, never in the event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any, Protocol, TypeVar

from vrm.data.tokenized import TokenizedJudgment
from vrm.inference.judged import JudgedBatch
from vrm.model.packing import within_budget
from vrm.serve.errors import RequestError
from vrm.serve.metrics import ServeMetrics
from vrm.serve.settings import ServeSettings

T = TypeVar("T")

THREADS = ("tokenize", "judge", "answer", "slow-answer")
"""One thread each: tokenizers keep state between calls, and a model has one device."""

LONGEST_RETRY = 60
"""Seconds of `Retry-After`, at most."""

_RATE_MEMORY = 0.8


class Judge(Protocol):
    """The part of an engine that batches need."""

    def judge_tokenized(self, tokenized: Sequence[TokenizedJudgment]) -> JudgedBatch:
        """Judge tokenized judgments, in the order given."""


@dataclass(frozen=True)
class Size:
    """How much work judgments are.

    Attributes:
        texts: number of completions.
        completion_tokens: tokens of all completions.
        prompts: {hash of a prompt: its tokens}; equal prompts are work once, whichever requests they come in.
    """

    texts: int
    completion_tokens: int
    prompts: dict[int, int]

    @classmethod
    def of(cls, judgments: Sequence[TokenizedJudgment]) -> Size:
        """Size of judgments."""
        completions = [ids for judgment in judgments for ids in judgment.completions]
        prompts = {hash(tuple(judgment.prompt)): len(judgment.prompt) for judgment in judgments}
        return cls(len(completions), sum(map(len, completions)), prompts)

    def tokens(self, beside: Collection[int] = ()) -> int:
        """Distinct tokens in a batch that has the prompts of these hashes already."""
        return self.completion_tokens + sum(count for key, count in self.prompts.items() if key not in beside)


@dataclass(eq=False)
class Job:
    """A request on its way: its judgments, and the future of the judged batch."""

    judgments: list[TokenizedJudgment]
    size: Size
    judged: asyncio.Future[JudgedBatch]
    arrived: float = field(default_factory=time.monotonic)


def judge_jobs(judge: Judge, jobs: Sequence[Job]) -> list[JudgedBatch | Exception]:
    """The judged batch of each job, or its error. All jobs are one call; one that makes it fail harms no other."""
    try:
        # The engine computes a prompt once, whichever requests it came in.
        batch = judge.judge_tokenized([judgment for job in jobs for judgment in job.judgments])
    except Exception as error:
        if len(jobs) == 1:
            return [error]
        return [outcome for job in jobs for outcome in judge_jobs(judge, [job])]
    ends = accumulate(len(job.judgments) for job in jobs)
    return [batch.part(end - len(job.judgments), end) for job, end in zip(jobs, ends, strict=True)]


class Batcher:
    """Takes requests of many clients and gives the model as much as it can do at once.

    `start` and `stop` are called in the event loop that `submit` runs in.

    Args:
        judge: the engine; called in one thread only.
        settings: batch size, delays and limits.
        metrics: of the server.
    """

    def __init__(self, judge: Judge, settings: ServeSettings, metrics: ServeMetrics) -> None:
        self._judge, self._settings, self._metrics = judge, settings, metrics
        self._waiting: deque[Job] = deque()
        self._waiting_tokens = 0
        self._pending_requests = self._pending_texts = 0
        self._texts_per_second = 0.0
        self._accepting = False
        self._loop_task: asyncio.Task[None] | None = None
        self._threads: dict[str, ThreadPoolExecutor] = {}

    @property
    def accepting(self) -> bool:
        """Whether new requests are taken, as long as there is room."""
        return self._accepting and self._loop_task is not None and not self._loop_task.done()

    async def start(self) -> None:
        """Begin to take requests; also after `stop`."""
        self._threads = {name: ThreadPoolExecutor(1, f"vrm-{name}") for name in THREADS}
        self._arrived, self._full, self._idle = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._accepting = True
        self._loop_task = asyncio.create_task(self._run(), name="vrm-batches")

    def refuse_new(self) -> None:
        """Take no new requests; those that were accepted go on."""
        self._accepting = False

    async def stop(self) -> None:
        """Answer what was accepted, then end all threads."""
        self.refuse_new()
        if self._loop_task is None:
            return
        await self._idle.wait()
        self._loop_task.cancel()
        await asyncio.gather(self._loop_task, return_exceptions=True)
        for thread in self._threads.values():
            thread.shutdown()

    async def submit(
        self,
        texts: int,
        tokenize: Callable[[], list[TokenizedJudgment]],
        answer: Callable[[JudgedBatch], T],
        slow: bool = False,
    ) -> T:
        """The answer to a request.

        Whoever cancels the call takes the request back: if the model has not begun with it, it never will.

        Args:
            texts: completions of the request.
            tokenize: gives its judgments, one or more; called in the tokenizers' thread.
            answer: makes the answer of the judged batch; called in the answers' thread.
            slow: whether that takes long; such answers have a thread of their own and delay no others.

        Raises:
            RequestError: of kind `queue_full`, `stopping` where the server shuts down, or `timeout`.
        """
        self._admit(texts)

        def sized() -> tuple[list[TokenizedJudgment], Size]:
            judgments = tokenize()
            return judgments, Size.of(judgments)

        try:
            async with asyncio.timeout(self._settings.request_timeout):
                judgments, size = await self._in_thread("tokenize", sized)
                judged = await self._judged(judgments, size)
                return await self._in_thread("slow-answer" if slow else "answer", answer, judged)
        except TimeoutError:
            self._metrics.dropped.labels("timeout").inc()
            limit = self._settings.request_timeout
            raise RequestError(f"no answer within {limit:g} s, the limit of this server", kind="timeout") from None
        finally:
            self._count(-1, -texts)
            if not self._pending_requests:
                self._idle.set()

    def _admit(self, texts: int) -> None:
        if not self.accepting:
            raise RequestError("the server is shutting down", kind="stopping", retry_after=5)
        room = self._settings.max_queue_texts - self._pending_texts
        if texts > room:
            self._metrics.refused.inc()
            raise RequestError(
                f"{self._pending_texts:,} completions are waiting, of at most {self._settings.max_queue_texts:,}; "
                f"there is no room for {texts:,} more",
                kind="queue_full",
                retry_after=self._seconds_to_wait(),
            )
        self._count(1, texts)
        self._idle.clear()

    def _count(self, requests: int, texts: int) -> None:
        self._pending_requests += requests
        self._pending_texts += texts
        self._metrics.pending_requests.set(self._pending_requests)
        self._metrics.pending_texts.set(self._pending_texts)

    def _seconds_to_wait(self) -> int:
        if not self._texts_per_second:
            return 1
        return min(max(math.ceil(self._pending_texts / self._texts_per_second), 1), LONGEST_RETRY)

    async def _in_thread(self, name: str, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads[name], work, *arguments)

    async def _judged(self, judgments: list[TokenizedJudgment], size: Size) -> JudgedBatch:
        job = Job(judgments, size, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._waiting_tokens += size.tokens()
        self._arrived.set()
        if self._waiting_tokens >= self._settings.batch_tokens:
            self._full.set()
        # A cancelled future is how the queue learns that nobody waits for the job any more.
        return await job.judged

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            jobs, tokens = self._take()
            if jobs:
                await self._run_batch(jobs, tokens)

    async def _gather(self) -> None:
        """Give others the time to join the oldest request's batch, unless there is enough for one already."""
        if not self._waiting:
            return
        remaining = self._waiting[0].arrived + self._settings.queue_delay - time.monotonic()
        if remaining > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._full.wait()

    def _take(self) -> tuple[list[Job], int]:
        """Jobs of the next batch, the oldest first, and their distinct tokens; those that were given up are dropped."""
        prompts: dict[int, int] = {}

        def tokens_beside(jobs: Sequence[Job], job: Job) -> int:
            # It is asked job by job, so the prompts of all but the last are there already.
            for last in jobs[-1:]:
                prompts.update(last.size.prompts)
            return job.size.tokens(prompts)

        waiting = deque(job for job in self._waiting if not job.judged.done())
        jobs = next(within_budget(waiting, self._settings.batch_tokens, tokens_beside), [])
        self._waiting = deque(islice(waiting, len(jobs), None))
        self._waiting_tokens = sum(job.size.tokens() for job in self._waiting)
        distinct = {key: tokens for job in jobs for key, tokens in job.size.prompts.items()}
        if not self._waiting:
            self._arrived.clear()
        if self._waiting_tokens < self._settings.batch_tokens:
            self._full.clear()
        return jobs, sum(job.size.completion_tokens for job in jobs) + sum(distinct.values())

    async def _run_batch(self, jobs: list[Job], tokens: int) -> None:
        start = time.monotonic()
        outcomes = await self._in_thread("judge", judge_jobs, self._judge, jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.judged.done():  # given up while the model was at work
                continue
            if isinstance(outcome, Exception):
                job.judged.set_exception(outcome)
            else:
                job.judged.set_result(outcome)
        self._observe(sum(job.size.texts for job in jobs), tokens, time.monotonic() - start)

    def _observe(self, texts: int, tokens: int, seconds: float) -> None:
        rate = texts / max(seconds, 1e-6)
        memory = _RATE_MEMORY if self._texts_per_second else 0.0
        self._texts_per_second = memory * self._texts_per_second + (1 - memory) * rate
        metrics = self._metrics
        metrics.batch_texts.observe(texts)
        metrics.batch_tokens.observe(tokens)
        metrics.batch_seconds.observe(seconds)
        metrics.texts.inc(texts)
        metrics.tokens.inc(tokens)
