"""Ten times as many requests as the server can answer: it refuses at once what is too much, and answers the rest."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from studies.drills.outcome import Outcome
from studies.drills.server_parts.load import MOST_BYTES, Counts, ask_all, percentiles
from studies.drills.server_parts.serving import WORDS, Served, served
from studies.drills.server_parts.shapes import Reference, Shape, is_right, native
from studies.drills.server_parts.wire import Connection, request

MOST_WAITING = 64
TEXTS = 8
"""Completions of a request."""

DIFFERENT = 100
"""Requests, which come again and again."""

LENGTH = 100
"""Words of a completion: the model is what limits the server, and not the drill."""


def long_shapes(count: int, draw: random.Random) -> list[Shape]:
    """Requests that cost the model something."""
    texts = [
        [f"{number} {part} {' '.join(draw.choices(WORDS, k=LENGTH))}" for part in range(TEXTS)]
        for number in range(count)
    ]
    return [native(f"{number} how do i plan ", each) for number, each in enumerate(texts)]


async def offered(
    port: int, shapes: Sequence[Shape], expected: Sequence[Sequence[float]], rate: float
) -> tuple[Counts, Counter[int], float]:
    """Send requests at a rate, whether or not others are answered; what became of them, statuses, and the rate."""
    counts, statuses = Counts(), Counter[int]()
    free: list[Connection] = []

    async def ask(number: int) -> None:
        connection = free.pop() if free else Connection(port)
        start = time.monotonic()
        answer = await connection.ask(request(shapes[number].path, shapes[number].content))
        free.append(connection)
        statuses[answer.status] += 1
        if answer.status == 200:
            counts.seconds.append(time.monotonic() - start)
            if not is_right(shapes[number], answer.json(), expected[number]):
                counts.note("accepted", f"{answer.body[:200]!r}")
        elif answer.status == 0:
            counts.lost += 1
        elif answer.status != 429 or int(answer.headers.get("retry-after", "0")) < 1:
            counts.note("refused", f"{answer.status} {answer.body[:200]!r}")

    begun = time.monotonic()
    tasks = []
    for number in range(len(shapes)):
        tasks.append(asyncio.ensure_future(ask(number)))
        await asyncio.sleep(max(0.0, begun + (number + 1) / rate - time.monotonic()))
    reached = len(shapes) / (time.monotonic() - begun)
    await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return counts, statuses, reached


async def _most_waiting(server: Served, found: list[float]) -> None:
    while True:
        found.append(await asyncio.to_thread(server.metric, "vrm_pending_texts"))
        await asyncio.sleep(0.2)


async def _run(
    server: Served, shapes: list[Shape], expected: list[list[float]], sizes: tuple[int, int]
) -> list[Outcome]:
    first, many = sizes
    begun = time.monotonic()
    calm = await ask_all(server.port, shapes[:first], expected[:first], 4, random.Random(0))
    capacity = first / (time.monotonic() - begun)
    waiting: list[float] = []
    watch = asyncio.ensure_future(_most_waiting(server, waiting))
    counts, statuses, reached = await offered(server.port, shapes[first:many], expected[first:many], 10 * capacity)
    watch.cancel()
    after = await ask_all(server.port, shapes[many:], expected[many:], 4, random.Random(0))
    beyond = sum(value > MOST_WAITING for value in waiting)
    for line in (counts.words + calm.words + after.words)[:5]:
        print(line)
    note = (
        f"capacity {capacity:.0f} a second, offered {reached:.0f}; {statuses[200]:,} answered "
        f"({percentiles(counts.seconds)}), {statuses[429]:,} refused with 429; "
        f"at most {max(waiting):.0f} of {MOST_WAITING} texts waiting"
    )
    faults = sum(counts.wrong.values()) + beyond
    calmer = calm.wrong.total() + after.wrong.total()
    return [
        Outcome("requests at ten times the capacity", many - first, faults, counts.lost, note),
        Outcome(
            "requests before and after that", len(shapes) - many + first, calmer, calm.lost + after.lost, "all answered"
        ),
    ]


def run(model: Path, work: Path, seed: int, quick: bool) -> list[Outcome]:
    """At a capacity that is measured first."""
    first, many, last = (20, 100, 20) if quick else (100, 2_000, 100)
    reference = Reference(model)
    once = long_shapes(min(first, DIFFERENT), random.Random(seed))
    rewards = reference.rewards(once)
    shapes, expected = (list(islice(cycle(values), first + many + last)) for values in (once, rewards))
    limits = ("--max-queue", MOST_WAITING, "--max-texts", TEXTS, "--max-body", MOST_BYTES)
    with served(model, work / "pressure.log", limits) as server:
        return asyncio.run(_run(server, shapes, expected, (first, first + many)))
