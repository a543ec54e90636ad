"""Processor time of what the server does with a request beside the model: HTTP, tokenizing, the answer.

python -m studies.serving_steps [--backbone embedded | decoder | --model DIR]

Milliseconds a request of `/get_reward` with one query, the least of several rounds, so that other work on the machine
hardly counts. *Together* is a step for the requests of one batch, *one by one* a step for each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.serving_inputs import Sizes, Text, make_model, make_texts

from vrm.cli.console import quiet_libraries
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.rewards import RewardView, RowRewards
from vrm.serve.app import create_app
from vrm.serve.metrics import ServeMetrics
from vrm.serve.service import Service, until_gone
from vrm.serve.settings import ServeSettings
from vrm.serve.shares import Share
from vrm.serve.texts import Formatted, RequestTokenizer

REQUESTS = 32
ROUNDS = 8


def least(work: Callable[[], Any]) -> float:
    """Milliseconds of processor time a request."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        work()
        seconds.append(time.thread_time() - start)
    return 1e3 * min(seconds) / REQUESTS


def steps(engine: RewardEngine, texts: list[Text]) -> dict[str, float]:
    """Tokenizing and answering, one by one and together, and the model."""
    tokenize = RequestTokenizer(engine, ServeSettings(), ServeMetrics())
    view = RewardView(engine.model.config)
    requests = [[Formatted(text.prompt + text.completion, text.prompt, "query")] for text in texts[:REQUESTS]]
    judged = [found[0] for found in tokenize(requests) if isinstance(found, list)]
    assert len(judged) == REQUESTS
    batch = engine.judge_tokenized(judged)
    return {
        "tokenizing, one by one": least(lambda: [tokenize([request]) for request in requests]),
        "tokenizing, together": least(lambda: tokenize(requests)),
        "the model": least(lambda: engine.judge_tokenized(judged)),
        "answer, one by one": least(lambda: [list(view(batch.row(index)).rows()) for index in range(REQUESTS)]),
        "answer, together": least(lambda: [share.rewards(view) for share in Share.of(batch, [1] * REQUESTS)]),
    }


async def http(engine: RewardEngine, text: Text) -> float:
    """The event loop's share: the request read, checked and sent on, and its answer written."""
    service = Service(engine)
    rows = list(RewardView(engine.model.config)(engine.judge([Judgment(text.prompt, [text.completion])])).rows())

    async def judged() -> list[RowRewards]:
        await asyncio.sleep(0)
        return rows

    service.rewards = lambda request, items, choice: until_gone(request, judged(), service.metrics)  # type: ignore[method-assign]
    app = create_app(service)
    query = {"query": [text.prompt + text.completion], "prompts": [text.prompt], "labels": [None]}
    seconds = []
    async with app.router.lifespan_context(app):
        for _ in range(ROUNDS):
            start = time.process_time()
            for _ in range(REQUESTS):
                await _post(app, json.dumps(query).encode())
            seconds.append(time.process_time() - start)
    return 1e3 * min(seconds) / REQUESTS


async def _post(app: Any, body: bytes) -> None:
    """A request without a network."""
    received, sent = [{"type": "http.request", "body": body}], []

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": "POST", "path": "/get_reward", "query_string": b"", "headers": headers}
    await app(scope | {"http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80)}, receive, send)
    assert sent[0]["status"] == 200, sent


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=["embedded", "decoder"], default="decoder")
    parser.add_argument("--model", type=Path, help="a model directory, in place of a new model with a random head")
    arguments = parser.parse_args()
    quiet_libraries()
    cases = make_texts(Sizes())
    with tempfile.TemporaryDirectory() as name:
        model = arguments.model or make_model(arguments.backbone, Path(name), cases["own prompts"])
        engine = RewardEngine.from_pretrained(model, options=ExtractionOptions(precision="float32"))
    print("| texts | step | processor, ms a request |\n|---|---|---:|")
    for case, texts in cases.items():
        found = {"HTTP": asyncio.run(http(engine, texts[0])), **steps(engine, texts)}
        for step, milliseconds in found.items():
            print(f"| {case} | {step} | {milliseconds:.2f} |")


if __name__ == "__main__":
    main()
