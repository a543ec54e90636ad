"""Measuring: facts about the machine, sides in processes of their own, memory of a step, repetitions in turn."""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
"""Clocks of a comparison; the time that a process computes, over its threads, moves less when others compute too."""
STATUS = Path("/proc/self/status")


def autocast(precision: str, device: str = "cpu") -> AbstractContextManager[None]:
    """The precision of both sides: float32, or float32 weights with matrix products in bfloat16."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def environment() -> dict[str, Any]:
    """What a figure depends on, and is not measured."""
    facts: dict[str, Any] = {"python": platform.python_version(), "processor": processor()}
    for package in ("torch", "transformers", "trl", "accelerate", "vrm"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "absent"
    facts["instructions"] = torch.backends.cpu.get_cpu_capability()
    facts |= {"threads": torch.get_num_threads(), "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def processor() -> str:
    """Name of the CPU as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def matrix_rate(precision: str, device: str = "cpu", size: int = 2048, seconds: float = 1.0) -> float:
    """Floating-point operations a second of square matrix products: what this machine gives at best.

    Args:
        precision: one of `PRECISIONS`.
        device: `cpu` or `cuda`.
        size: rows and columns.
        seconds: how long to measure; the best of all repetitions counts, since anything else only takes away.
    """
    left, right = (torch.randn(size, size, dtype=PRECISIONS[precision], device=device) for _ in range(2))
    best, until = float("inf"), time.perf_counter() + seconds
    with torch.inference_mode():
        left @ right
        while best == float("inf") or time.perf_counter() < until:
            synchronize(device)
            started = time.perf_counter()
            left @ right
            synchronize(device)
            best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def synchronize(device: str) -> None:
    """Wait for a GPU; a CPU has no queue."""
    if device == "cuda":
        torch.cuda.synchronize()


class Alone:
    """Calls a function of an importable module in a fresh process: its memory is its own, its caches are cold.

    Attributes:
        here: call in this process instead; for toy sizes, where nothing is measured and starting takes longest.
    """

    def __init__(self, here: bool = False) -> None:
        self.here = here

    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The function's result; what it raises is raised here."""
        if self.here:
            return function(*arguments)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *arguments).result()


class PeakMemory:
    """Bytes above what the process held at `start`, at their highest since.

    On Linux the resident set, whose high-water mark the kernel keeps and can reset; elsewhere the process' maximum so
    far, which is not reset and thus only right in a fresh process. On CUDA what the allocator gave out.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device, self.baseline = device, 0

    def start(self) -> None:
        """Take the baseline."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.baseline = torch.cuda.memory_allocated()
            return
        if STATUS.exists():
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        self.baseline = self._resident("VmRSS")

    def bytes(self) -> int:
        """The highest since `start`, less the baseline."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() - self.baseline
        return max(self._resident("VmHWM") - self.baseline, 0)

    @staticmethod
    def _resident(field: str) -> int:
        if STATUS.exists():
            for line in STATUS.read_text(encoding="utf-8").splitlines():
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_turn(
    sides: Mapping[str, Callable[[], Result]], rounds: int, say: Callable[[str], None] | None = None
) -> dict[str, list[Result]]:
    """Run every side once a round, A B A B: what drifts on the machine meets all of them."""
    results: dict[str, list[Result]] = {name: [] for name in sides}
    for turn in range(1, rounds + 1):
        for name, run in sides.items():
            results[name].append(run())
            if say is not None:
                say(f"round {turn} of {rounds}: {name}")
    return results


@dataclass(frozen=True)
class Spread:
    """Median and range of repetitions."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])

    @classmethod
    def of_ratios(cls, over: Iterable[float], under: Iterable[float]) -> Spread:
        """Of the ratios within each round, never over another round's figure; NaN over 0, which toy sizes have."""
        return cls.of(above / below if below else math.nan for above, below in zip(over, under, strict=True))

    def text(self, digits: int = 2) -> str:
        """`1.50 (1.48..1.53)`."""
        shown = f"{self.median:,.{digits}f}"
        if self.lowest == self.highest:
            return shown
        return f"{shown} ({self.lowest:,.{digits}f}..{self.highest:,.{digits}f})"


def timed(run: Callable[[], Any], device: str = "cpu", clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call, by a clock of `CLOCKS`."""
    synchronize(device)
    started = clock()
    run()
    synchronize(device)
    return clock() - started


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)
