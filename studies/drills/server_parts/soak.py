"""Ten minutes of moderate load with some who misbehave: memory, open files and threads stay as they are."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from scipy.stats import linregress
from studies.drills.outcome import Outcome
from studies.drills.server_parts.load import MOST_BYTES, Counts, ask, percentiles
from studies.drills.server_parts.serving import Served, served
from studies.drills.server_parts.shapes import Reference, Shape
from studies.drills.server_parts.wire import Connection

MINUTES = 10
A_SECOND = 6
"""Requests."""

WARM = 0.3
"""Share of the time that is left out of the slope: caches fill, and the allocator takes what it will keep."""

MOST_GROWTH = 5.0
"""MiB in ten minutes beyond which the slope is a fault, where its interval leaves zero out."""


async def _clients(
    port: int, shapes: Sequence[Shape], expected: Sequence[Sequence[float]], begun: float, a_second: float
) -> Counts:
    counts, draw, kept = Counts(), random.Random(0), [Connection(port) for _ in range(4)]

    async def once(number: int) -> None:
        # Every other request comes on a connection of its own.
        connection = kept[number % 8] if number % 8 < len(kept) and number % 4 != 3 else Connection(port)
        await ask(connection, number, shapes[number], expected[number], counts, draw)
        if connection not in kept:
            connection.close()

    tasks: list[asyncio.Task[None]] = []
    for number in range(len(shapes)):
        # A kept connection is asked again when its answer is there.
        if number >= 8:
            await tasks[number - 8]
        tasks.append(asyncio.ensure_future(once(number)))
        await asyncio.sleep(max(0.0, begun + (number + 1) / a_second - time.monotonic()))
    await asyncio.gather(*tasks)
    return counts


async def _sampled(server: Served, begun: float, samples: list[tuple[float, float]], every: float) -> None:
    while True:
        samples.append((time.monotonic() - begun, server.memory))
        print(f"{samples[-1][0]:.0f} s, {samples[-1][1]:.1f} MiB", file=sys.stderr)
        await asyncio.sleep(every)


def _held(server: Served) -> tuple[int, int]:
    process = psutil.Process(server.pid)
    return process.num_fds(), process.num_threads()


async def _run(
    server: Served, shapes: Sequence[Shape], expected: Sequence[Sequence[float]], seconds: float
) -> tuple[Counts, list[tuple[float, float]]]:
    samples: list[tuple[float, float]] = []
    begun = time.monotonic()
    watch = asyncio.ensure_future(_sampled(server, begun, samples, max(0.5, seconds / 120)))
    counts = await _clients(server.port, shapes, expected, begun, len(shapes) / seconds)
    watch.cancel()
    return counts, samples


def run(model: Path, work: Path, seed: int, quick: bool) -> list[Outcome]:
    """The slope of memory over the later part of the time, by least squares."""
    seconds = 5.0 if quick else 60.0 * MINUTES
    draw, reference = random.Random(seed), Reference(model)
    shapes = [reference.shape(number, draw) for number in range(int(A_SECOND * seconds))]
    expected = reference.rewards(shapes)
    with served(model, work / "soak.log", ("--max-body", MOST_BYTES)) as server:
        before = _held(server)
        counts, samples = asyncio.run(_run(server, shapes, expected, seconds))
        words, searched = server.planted_words()
        time.sleep(0.5)
        after = _held(server)
    late = [sample for sample in samples if sample[0] > WARM * seconds]
    line = linregress(*zip(*late, strict=True))
    slope, error = 60 * MINUTES * line.slope, 60 * MINUTES * line.stderr
    grows = bool(not quick and slope - 2 * error > 0 and slope > MOST_GROWTH)
    more = sum(now > then + 4 for now, then in zip(after, before, strict=True))
    note = (
        f"{slope:+.2f} MiB in ten minutes (standard error {error:.2f}), "
        f"{samples[0][1]:.0f} to {samples[-1][1]:.0f} MiB; open files {before[0]} to {after[0]}, "
        f"threads {before[1]} to {after[1]}; {percentiles(counts.seconds)}; "
        f"{server.seconds / seconds:.0%} of a processor"
    )
    faults = counts.wrong.total() + grows + more
    return [
        Outcome(
            f"soak of {seconds / 60:.0f} min, {A_SECOND} requests a second", len(shapes), faults, counts.lost, note
        ),
        Outcome("planted words in log and metrics, soak", 1, words, 0, f"{searched:,} bytes"),
    ]
