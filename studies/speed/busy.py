"""Busy neighbours for measurements beside other work: processes that compute without end, as a second run would."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

SIZE = 256
"""Rows and columns of the matrices that a neighbour multiplies."""


@contextmanager
def neighbours(processes: int, threads: int = 2) -> Iterator[None]:
    """Run so many processes, each with threads that never wait, until the block ends."""
    context = multiprocessing.get_context("spawn")
    started = [context.Event() for _ in range(processes)]
    running = [context.Process(target=keep_busy, args=(threads, event), daemon=True) for event in started]
    for process in running:
        process.start()
    try:
        for event in started:
            event.wait()
        yield
    finally:
        for process in running:
            process.terminate()
            process.join()


def keep_busy(threads: int, started: multiprocessing.synchronize.Event) -> None:
    """Multiply matrices in so many threads; they need neither each other nor Python's lock."""
    torch.set_num_threads(1)

    def multiply() -> None:
        left, right = torch.rand(2, SIZE, SIZE)
        while True:
            torch.mm(left, right)

    workers = [threading.Thread(target=multiply, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    started.set()
    for worker in workers:
        worker.join()


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started in the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
