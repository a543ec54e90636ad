"""Many requests at once: none lost, none mixed up, whatever other clients do."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx2
import pytest

from vrm.client import AsyncClient, RetryPolicy
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions

CLIENTS = 64
WORDS = ("water", "city", "long", "good", "safe", "plan", "doctor", "story", "number", "please", "short", "bad", "help")


def texts(count: int) -> list[tuple[str, str]]:
    """Prompts that come again, completions that never do."""
    return [
        (" ".join(WORDS[index % 7 : index % 7 + 4]), f"{index} {' '.join(WORDS[index % 13 :][: 1 + index % 11])}")
        for index in range(count)
    ]


async def ask_all(url: str, pairs: list[tuple[str, str]], vanish_every: int) -> list[Any]:
    """One query a request, at most `CLIENTS` at once; every so manieth client also sends one that it abandons."""
    found: list[Any] = [None] * len(pairs)
    waiting = iter(enumerate(pairs))

    async def client() -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
            for index, (prompt, completion) in waiting:
                body = {"query": [prompt + completion], "prompts": [prompt], "labels": [None]}
                if index % vanish_every == 0:
                    await abandon(http, body)
                answer = await http.post("/get_reward", json=body)
                found[index] = answer.json()["rewards"][0] if answer.status_code == 200 else answer.text

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return found


async def abandon(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(0.002):
            await http.post("/get_reward", json=body)
    except (TimeoutError, httpx2.RequestError):
        pass


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_request_is_lost_and_none_mixed_up(serve, tiny_model_dir, count):
    pairs = texts(count)
    engine = RewardEngine.from_pretrained(tiny_model_dir, options=ExtractionOptions(precision="float32"))
    batches = engine.stream(Judgment(prompt, [completion]) for prompt, completion in pairs)
    expected = [float(reward) for batch in batches for reward in batch.moments.mean[:, 0]]
    assert len(set(expected)) > 0.99 * count
    with serve(tiny_model_dir) as server:
        found = asyncio.run(ask_all(server.url, pairs, vanish_every=50))
        metrics = server.service.metrics.registry
        assert metrics.get_sample_value("vrm_requests_total", {"route": "/get_reward", "status": "200"}) >= count
        assert metrics.get_sample_value("vrm_batch_texts_count") < count / 4
        limit = time.monotonic() + 10
        while metrics.get_sample_value("vrm_pending_texts") and time.monotonic() < limit:
            time.sleep(0.01)
        assert metrics.get_sample_value("vrm_pending_texts") == 0
        assert metrics.get_sample_value("vrm_dropped_total", {"reason": "client_gone"}) > 0
    assert [answer for answer in found if not isinstance(answer, float)] == []
    assert found == pytest.approx(expected, abs=2e-5)


def test_a_full_queue_refuses_and_clients_come_back(serve, tiny_model_dir):
    """Back-pressure as a whole: the queue never holds more than it may, and every client gets its answer."""
    policy = RetryPolicy(attempts=50, first_wait=0.01, longest_wait=0.05)

    async def main(url: str) -> list[float]:
        async with AsyncClient(url, retries=policy) as client:
            answers = await asyncio.gather(*(client.score("how do i plan", [word] * 4) for word in WORDS * 4))
        return [answer.rewards[0] for answer in answers]

    with serve(tiny_model_dir, max_queue_texts=16, max_texts=8, queue_delay=0.02) as server:
        found = asyncio.run(main(server.url))
        metrics = server.service.metrics.registry
        assert metrics.get_sample_value("vrm_refused_total") > 0
        assert metrics.get_sample_value("vrm_requests_total", {"route": "/v1/score", "status": "429"}) > 0
        assert metrics.get_sample_value("vrm_batch_texts_bucket", {"le": "16.0"}) == metrics.get_sample_value(
            "vrm_batch_texts_count"
        )
    assert found == pytest.approx(found[: len(WORDS)] * 4, abs=1e-5)


def test_a_request_that_takes_too_long_is_given_up(serve, tiny_model_dir):
    with serve(tiny_model_dir, queue_delay=5, request_timeout=0.2) as server:
        body = {"prompt": "how", "completions": ["a"]}
        answer = httpx2.post(server.url + "/v1/score", json=body, timeout=30)
        assert answer.status_code == 504
        assert answer.json()["error"]["type"] == "timeout"
        assert "no answer within 0.2 s" in answer.json()["error"]["message"]
        assert server.service.metrics.registry.get_sample_value("vrm_texts_total") == 0
