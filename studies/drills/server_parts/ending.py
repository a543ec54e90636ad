"""SIGTERM in the middle of work: what was accepted is answered, and the process ends with status 0."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path

from studies.drills.outcome import Outcome
from studies.drills.server_parts.serving import Served, served
from studies.drills.server_parts.shapes import Reference, Shape, is_right
from studies.drills.server_parts.wire import Answer, Connection, request

CLIENTS = 40
DELAY_MS = 300
"""How long requests wait for others: so that all of them are accepted and none answered when the signal comes."""


async def _once(
    server: Served, shapes: Sequence[Shape], expected: Sequence[Sequence[float]], wait: float
) -> tuple[int, int, int]:
    """Requests that were accepted and not answered, answered wrongly, and came later and got no word."""
    connections = [Connection(server.port) for _ in shapes]

    def ask(number: int) -> asyncio.Future[Answer]:
        return asyncio.ensure_future(connections[number].ask(request(shapes[number].path, shapes[number].content)))

    accepted = list(map(ask, range(CLIENTS)))
    seen = 0.0
    while seen < CLIENTS and not any(task.done() for task in accepted):
        seen = await asyncio.to_thread(server.metric, "vrm_pending_requests")
    await asyncio.sleep(wait)
    late = list(map(ask, range(CLIENTS, CLIENTS + 5)))
    server.terminate()
    await asyncio.sleep(0.05)
    later = list(map(ask, range(CLIENTS + 5, len(shapes))))
    answers = await asyncio.gather(*accepted)
    lost = sum(answer.status == 0 for answer in answers)
    wrong = sum(
        answer.status != 200 or not is_right(shape, answer.json(), values)
        for answer, shape, values in zip(answers, shapes, expected, strict=False)
        if answer.status
    )
    # Those that came with the signal may be accepted, refused or find nobody; they may not be answered wrongly.
    others = await asyncio.gather(*late, *later, return_exceptions=True)
    odd = sum(
        not isinstance(answer, OSError) and (isinstance(answer, BaseException) or answer.status not in (0, 200, 503))
        for answer in others
    )
    return lost, wrong, odd


def run(model: Path, work: Path, seed: int, quick: bool) -> list[Outcome]:
    """A server a try."""
    tries = 1 if quick else 20
    draw, reference = random.Random(seed), Reference(model)
    lost = faults = 0
    seconds = []
    for number in range(tries):
        shapes = [reference.shape(100 * number + place + 1, draw) for place in range(CLIENTS + 10)]
        expected = reference.rewards(shapes)
        with served(model, work / f"ending-{number}.log", ("--queue-delay", DELAY_MS)) as server:
            gone, wrong, odd = asyncio.run(_once(server, shapes, expected, draw.uniform(0, 0.4)))
            begun = time.monotonic()
            status = server.wait()
            seconds.append(time.monotonic() - begun)
        in_words = "everything that was accepted has been answered" in server.log.read_text()
        lost += gone
        faults += (wrong + odd + (status != 0) + (not in_words)) > 0
    note = f"{tries * CLIENTS:,} accepted requests; status 0, at most {max(seconds):.1f} s after the last answer"
    return [Outcome(f"SIGTERM with {CLIENTS} accepted requests", tries, faults, lost, note)]
