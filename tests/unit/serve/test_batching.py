"""Batching across requests, with a judge that the test holds in its hand."""

from __future__ import annotations

import asyncio
import threading
import time

from vrm.data.schema import Judgment
from vrm.data.tokenized import TokenizedJudgment
from vrm.serve.batching import Batcher
from vrm.serve.errors import RequestError
from vrm.serve.metrics import ServeMetrics
from vrm.serve.queue import Size
from vrm.serve.settings import ServeSettings

LIMIT = 20.0


class Judged:
    """Stands for a judged batch: a part is the judgments that were asked for."""

    def __init__(self, judgments):
        self.judgments = judgments

    def part(self, start, stop):
        return self.judgments[start:stop]


class HeldJudge:
    """Judges only while `go` is set; refuses a judgment whose prompt is [666]."""

    def __init__(self, go: bool = True):
        self.go, self.begun, self.batches = threading.Event(), threading.Event(), []
        if go:
            self.go.set()

    def judge_tokenized(self, tokenized):
        self.batches.append(list(tokenized))
        self.begun.set()
        assert self.go.wait(LIMIT)
        if any(judgment.prompt == [666] for judgment in tokenized):
            raise RuntimeError("a text that breaks the model")
        return Judged(list(tokenized))


def judgment(prompt, *completions):
    return TokenizedJudgment(list(prompt), [list(ids) for ids in completions], Judgment("p", ["c"]))


def run(judge, work, tokenize=list, **settings):
    """Run `work(batcher)` in an event loop; its result and the metrics. Requests bring judgments as they are."""
    metrics = ServeMetrics()

    async def main():
        batcher = Batcher(tokenize, judge, ServeSettings(**settings), metrics)
        await batcher.start()
        try:
            async with asyncio.timeout(LIMIT):
                return await work(batcher)
        finally:
            judge.go.set()
            await batcher.stop()

    return asyncio.run(main()), metrics


def submit(batcher, *judgments):
    count = sum(len(item.completions) for item in judgments)
    return asyncio.ensure_future(batcher.submit(count, list(judgments), lambda share: share.part))


async def begun(judge):
    while not judge.begun.is_set():
        await asyncio.sleep(0.001)


def prompts(batch):
    return [item.prompt for item in batch]


def test_requests_that_come_together_are_judged_together():
    judge = HeldJudge()
    items = [judgment([index], [index]) for index in range(20)]

    async def work(batcher):
        return await asyncio.gather(*(submit(batcher, item) for item in items))

    answers, metrics = run(judge, work, queue_delay=2 * LIMIT, batch_tokens=40)
    assert answers == [[item] for item in items]
    assert len(judge.batches) == 1
    assert metrics.registry.get_sample_value("vrm_batch_texts_sum") == 20


def test_answers_go_to_their_requests():
    judge = HeldJudge()
    first = [judgment([1, 2], [index]) for index in range(3)]
    second = [judgment([0], [index]) for index in range(3)]

    async def work(batcher):
        return await asyncio.gather(*(submit(batcher, a, b) for a, b in zip(first, second, strict=True)))

    found, _ = run(judge, work, queue_delay=0.2)
    assert found == [[a, b] for a, b in zip(first, second, strict=True)]
    assert len(judge.batches) == 1


def test_a_batch_has_no_more_tokens_than_it_may():
    judge = HeldJudge(go=False)

    async def work(batcher):
        held = submit(batcher, judgment([0], [0]))
        await begun(judge)
        # The second prompt is shared: 5 + 3 tokens and then 3 more each.
        waiting = [submit(batcher, judgment([1] * 5, [index] * 3)) for index in range(4)]
        waiting.append(submit(batcher, judgment([2] * 30, [0])))
        await asyncio.sleep(0.05)
        judge.go.set()
        return await asyncio.gather(held, *waiting)

    _, metrics = run(judge, work, queue_delay=0, batch_tokens=14)
    assert [len(batch) for batch in judge.batches] == [1, 3, 1, 1]
    assert metrics.registry.get_sample_value("vrm_tokens_total") == 2 + 14 + 8 + 31


def test_size_counts_a_prompt_once():
    size = Size.of([judgment([1, 2, 3], [4], [5, 6]), judgment([1, 2, 3], [7])])
    assert (size.texts, size.tokens()) == (3, 7)
    assert size.tokens(size.prompts) == 4


def test_a_lonely_request_is_answered_after_the_delay():
    async def work(batcher):
        return await submit(batcher, judgment([1], [1]))

    assert run(HeldJudge(), work, queue_delay=0.1)[0] == [judgment([1], [1])]


def test_enough_for_a_batch_does_not_wait_for_more():
    async def work(batcher):
        await asyncio.gather(*(submit(batcher, judgment([index] * 5, [1])) for index in range(4)))

    # Whoever waited out the delay would run into the limit.
    run(HeldJudge(), work, queue_delay=2 * LIMIT, batch_tokens=12)


def test_a_request_that_was_taken_back_costs_no_time_of_the_model():
    judge = HeldJudge(go=False)

    async def work(batcher):
        held = submit(batcher, judgment([0], [0]))
        await begun(judge)
        gone, stays = submit(batcher, judgment([1], [1])), submit(batcher, judgment([2], [2]))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0)
        judge.go.set()
        return await asyncio.gather(held, gone, stays, return_exceptions=True)

    found, metrics = run(judge, work, queue_delay=0)
    assert isinstance(found[1], asyncio.CancelledError)
    assert found[2] == [judgment([2], [2])]
    assert [prompts(batch) for batch in judge.batches] == [[[0]], [[2]]]
    assert metrics.registry.get_sample_value("vrm_pending_texts") == 0


def test_a_request_that_took_too_long_is_given_up_and_harms_no_other():
    judge = HeldJudge(go=False)

    async def work(batcher):
        held = submit(batcher, judgment([0], [0]))
        await begun(judge)
        late = submit(batcher, judgment([1], [1]))
        results = await asyncio.gather(held, late, return_exceptions=True)
        judge.go.set()
        return results, await submit(batcher, judgment([2], [2]))

    (results, after), metrics = run(judge, work, queue_delay=0, request_timeout=0.2)
    assert [result.kind for result in results] == ["timeout"] * 2
    assert "0.2 s" in str(results[1])
    assert after == [judgment([2], [2])]
    assert [1] not in [prompt for batch in judge.batches for prompt in prompts(batch)]
    assert metrics.registry.get_sample_value("vrm_dropped_total", {"reason": "timeout"}) == 2


def test_a_text_that_breaks_the_model_harms_no_other():
    async def work(batcher):
        items = [judgment([1], [1]), judgment([666], [1]), judgment([2], [1])]
        return await asyncio.gather(*(submit(batcher, item) for item in items), return_exceptions=True)

    found, _ = run(HeldJudge(), work, queue_delay=0.2)
    assert found[0] == [judgment([1], [1])]
    assert found[2] == [judgment([2], [1])]
    assert isinstance(found[1], RuntimeError)


def test_the_model_goes_on_while_the_event_loop_is_busy():
    judge = HeldJudge(go=False)

    async def work(batcher):
        held = submit(batcher, judgment([0], [0]))
        await begun(judge)
        waits = submit(batcher, judgment([1], [1]))
        await asyncio.sleep(0.05)
        judge.go.set()
        limit = time.monotonic() + LIMIT
        while len(judge.batches) < 2 and time.monotonic() < limit:  # the loop does not turn meanwhile
            time.sleep(0.001)
        return len(judge.batches), await asyncio.gather(held, waits)

    (batches, answers), _ = run(judge, work, queue_delay=0)
    assert batches == 2
    assert answers == [[judgment([0], [0])], [judgment([1], [1])]]


def test_a_full_queue_refuses_and_says_when_to_come_back():
    judge = HeldJudge(go=False)

    async def work(batcher):
        held = submit(batcher, judgment([0], [0], [1], [2]))
        await begun(judge)
        waits = submit(batcher, judgment([1], [1]))
        refused = await asyncio.gather(submit(batcher, judgment([2], [1], [2])), return_exceptions=True)
        judge.go.set()
        await asyncio.gather(held, waits)
        return refused[0], await submit(batcher, judgment([2], [1], [2]))

    (refused, later), metrics = run(judge, work, queue_delay=0, max_queue_texts=5, max_texts=5)
    assert isinstance(refused, RequestError)
    assert refused.kind == "queue_full"
    assert refused.retry_after >= 1
    assert "4 completions are waiting, of at most 5" in str(refused)
    assert later == [judgment([2], [1], [2])]
    assert metrics.registry.get_sample_value("vrm_refused_total") == 1


def test_stopping_answers_what_was_accepted_and_refuses_the_rest():
    judge = HeldJudge(go=False)

    async def work(batcher):
        accepted = [submit(batcher, judgment([index], [0])) for index in range(10)]
        await begun(judge)
        stopping = asyncio.ensure_future(batcher.stop())
        await asyncio.sleep(0.02)
        assert not stopping.done()
        late = await asyncio.gather(submit(batcher, judgment([99], [0])), return_exceptions=True)
        judge.go.set()
        await stopping
        return await asyncio.gather(*accepted), late[0]

    (answers, late), _ = run(judge, work, queue_delay=0, batch_tokens=4)
    assert answers == [[judgment([index], [0])] for index in range(10)]
    assert isinstance(late, RequestError)
    assert late.kind == "stopping"


def test_the_event_loop_runs_while_the_model_tokenizer_and_answer_are_at_work():
    judge, ticked, waited = HeldJudge(), threading.Event(), []

    def slow(value):
        """Work that ends only when the event loop has turned since it began."""
        ticked.clear()
        waited.append(ticked.wait(LIMIT / 4))
        return value

    judge.judge_tokenized = lambda items: slow(Judged(items))

    async def tick():
        while True:
            ticked.set()
            await asyncio.sleep(0.005)

    async def work(batcher):
        ticking = asyncio.ensure_future(tick())
        await batcher.submit(1, [judgment([1], [1])], slow)
        ticking.cancel()

    run(judge, work, tokenize=slow, queue_delay=0)
    assert waited == [True] * 3
