"""Batches across requests: texts are tokenized, judged and answered in threads, never in the event loop."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from vrm.data.tokenized import TokenizedJudgment
from vrm.inference.judged import JudgedBatch
from vrm.serve.errors import RequestError
from vrm.serve.metrics import ServeMetrics
from vrm.serve.queue import Batch, Job, Queue, Size
from vrm.serve.settings import ServeSettings
from vrm.serve.shares import Share
from vrm.serve.together import Together, each, settle

T = TypeVar("T")
Texts = TypeVar("Texts")
"""What a request brings to be judged."""

Tokenize: TypeAlias = Callable[[Sequence[Texts]], Sequence[list[TokenizedJudgment] | Exception]]
"""The judgments of each request, one or more, or its error."""

THREADS = ("tokenize", "answer", "slow-answer")
"""One thread each, beside the model's: tokenizers keep state between calls, and shares have rewards in common."""

LONGEST_RETRY = 60
"""Seconds of `Retry-After`, at most."""

_RATE_MEMORY = 0.8


class Judge(Protocol):
    """The part of an engine that batches need."""

    def judge_tokenized(self, tokenized: Sequence[TokenizedJudgment]) -> JudgedBatch:
        """Judge tokenized judgments, in the order given."""


def judge_jobs(judge: Judge, jobs: Sequence[Job]) -> list[Share | Exception]:
    """The share of each job, or its error. All jobs are one call; one that makes it fail harms no other."""
    try:
        # The engine computes a prompt once, whichever requests it came in.
        batch = judge.judge_tokenized([judgment for job in jobs for judgment in job.judgments])
    except Exception as error:
        if len(jobs) == 1:
            return [error]
        return [outcome for job in jobs for outcome in judge_jobs(judge, [job])]
    return list(Share.of(batch, [len(job.judgments) for job in jobs]))


def _sized(
    tokenize: Tokenize[Texts], requests: Sequence[Texts]
) -> list[tuple[list[TokenizedJudgment], Size] | Exception]:
    return [found if isinstance(found, Exception) else (found, Size.of(found)) for found in tokenize(requests)]


def _answered(answers: Sequence[tuple[Callable[[Share], Any], Share]]) -> list[Any]:
    return each(lambda answer: answer[0](answer[1]), answers)


class Batcher(Generic[Texts]):
    """Takes requests of many clients and gives the model as much as it can do at once.

    `start` and `stop` are called in the event loop that `submit` runs in.

    Args:
        tokenize: called in one thread only, with the texts of one or more requests.
        judge: the engine; called in one thread only.
        settings: batch size, delays and limits.
        metrics: of the server.
    """

    def __init__(self, tokenize: Tokenize[Texts], judge: Judge, settings: ServeSettings, metrics: ServeMetrics) -> None:
        self._judge, self._settings, self._metrics = judge, settings, metrics
        self._sized = partial(_sized, tokenize)
        self._pending_requests = self._pending_texts = 0
        self._texts_per_second = 0.0
        self._accepting = False
        self._judging: threading.Thread | None = None
        self._threads: dict[str, ThreadPoolExecutor] = {}

    @property
    def accepting(self) -> bool:
        """Whether new requests are taken, as long as there is room."""
        return self._accepting and self._judging is not None and self._judging.is_alive()

    async def start(self) -> None:
        """Begin to take requests; also after `stop`."""
        self._threads = {name: ThreadPoolExecutor(1, f"vrm-{name}") for name in THREADS}
        self._tokenize = Together(self._sized, self._threads["tokenize"])
        self._answer = Together(_answered, self._threads["answer"])
        self._idle = asyncio.Event()
        self._idle.set()
        self._accepting = True
        self._queue = Queue(self._settings)
        # A daemon: a server that is told to end at once does not wait for a batch.
        self._judging = threading.Thread(
            target=self._judge_batches, args=(asyncio.get_running_loop(),), name="vrm-judge", daemon=True
        )
        self._judging.start()

    def refuse_new(self) -> None:
        """Take no new requests; those that were accepted go on."""
        self._accepting = False

    async def stop(self) -> None:
        """Answer what was accepted, then end all threads."""
        self.refuse_new()
        if self._judging is None:
            return
        await self._idle.wait()
        self._queue.close()
        await asyncio.to_thread(self._judging.join)
        for thread in self._threads.values():
            thread.shutdown()

    async def submit(self, count: int, texts: Texts, answer: Callable[[Share], T], slow: bool = False) -> T:
        """The answer to a request.

        Whoever cancels the call takes the request back: if the model has not begun with it, it never will.

        Args:
            count: completions of the request.
            texts: its texts, tokenized in the tokenizers' thread, together with those of others.
            answer: makes the answer of its share of a judged batch; called in the answers' thread.
            slow: whether that takes long; such answers have a thread of their own and delay no others.

        Raises:
            RequestError: of kind `queue_full`, `stopping` where the server shuts down, or `timeout`.
        """
        self._admit(count)
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                share = await self._judged(*await self._tokenize(texts))
                if slow:
                    return await self._in_thread("slow-answer", answer, share)
                return await self._answer((answer, share))
        except TimeoutError:
            self._metrics.dropped.labels("timeout").inc()
            limit = self._settings.request_timeout
            raise RequestError(f"no answer within {limit:g} s, the limit of this server", kind="timeout") from None
        finally:
            self._count(-1, -count)
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

    async def _judged(self, judgments: list[TokenizedJudgment], size: Size) -> Share:
        job = Job(judgments, size, asyncio.get_running_loop().create_future())
        self._queue.put(job)
        # A cancelled future is how the queue learns that nobody waits for the job any more.
        return await job.judged

    def _judge_batches(self, loop: asyncio.AbstractEventLoop) -> None:
        """What the model's thread does."""
        while (batch := self._queue.take()) is not None:
            start = time.monotonic()
            outcomes = judge_jobs(self._judge, batch.jobs)
            try:
                loop.call_soon_threadsafe(self._hand_out, batch, outcomes, time.monotonic() - start)
            except RuntimeError:  # the loop has ended without `stop`, and nobody waits any more
                return

    def _hand_out(self, batch: Batch, outcomes: Sequence[Share | Exception], seconds: float) -> None:
        for job, outcome in zip(batch.jobs, outcomes, strict=True):
            settle(job.judged, outcome)
        self._observe(sum(job.size.texts for job in batch.jobs), batch.tokens, seconds)

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
