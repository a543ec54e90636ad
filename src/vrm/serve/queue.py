"""Requests that wait for the model, and how much work they are."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from vrm.data.tokenized import TokenizedJudgment
from vrm.model.packing import within_budget
from vrm.serve.settings import ServeSettings
from vrm.serve.shares import Share


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
    """A request on its way: its judgments, and the future of its share of a judged batch."""

    judgments: list[TokenizedJudgment]
    size: Size
    judged: asyncio.Future[Share]
    arrived: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs that are judged together, the oldest first, and their distinct tokens."""

    jobs: list[Job]
    tokens: int


class Queue:
    """Jobs that wait for the model. The event loop puts them in, and the model's own thread takes batches out.

    It takes them itself, because the event loop may have the answers of a whole batch before it, and new requests: the
    model would wait for all of them.

    Args:
        settings: batch size and delay.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._tokens = 0
        self._closed = False

    def put(self, job: Job) -> None:
        """Let a job wait; one whose future is done before its turn is left out."""
        with self._changed:
            self._waiting.append(job)
            self._tokens += job.size.tokens()
            self._changed.notify()

    def close(self) -> None:
        """Take no more: `take` gives what waits, and then None."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> Batch | None:
        """The next batch, of one or more jobs; None when the queue is closed and empty.

        Waits for a job, and then gives others the time to join the oldest, unless there is enough for a batch already.
        """
        with self._changed:
            while not self._closed or self._waiting:
                self._leave_out_given_up()
                if self._waiting and (self._closed or self._seconds_to_wait() <= 0):
                    return self._taken()
                if not self._closed:
                    self._changed.wait(self._seconds_to_wait() if self._waiting else None)
            return None

    def _seconds_to_wait(self) -> float:
        if self._tokens >= self._settings.batch_tokens:
            return 0.0
        return self._waiting[0].arrived + self._settings.queue_delay - time.monotonic()

    def _leave_out_given_up(self) -> None:
        if any(job.judged.done() for job in self._waiting):
            self._hold(job for job in self._waiting if not job.judged.done())

    def _hold(self, jobs: Iterable[Job]) -> None:
        self._waiting = deque(jobs)
        self._tokens = sum(job.size.tokens() for job in self._waiting)

    def _taken(self) -> Batch:
        prompts: dict[int, int] = {}

        def tokens_beside(jobs: Sequence[Job], job: Job) -> int:
            # It is asked job by job, so the prompts of all but the last are there already.
            for last in jobs[-1:]:
                prompts.update(last.size.prompts)
            return job.size.tokens(prompts)

        jobs = next(within_budget(self._waiting, self._settings.batch_tokens, tokens_beside))
        self._hold(islice(self._waiting, len(jobs), None))
        distinct = {key: tokens for job in jobs for key, tokens in job.size.prompts.items()}
        return Batch(jobs, sum(job.size.completion_tokens for job in jobs) + sum(distinct.values()))
