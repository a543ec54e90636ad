"""Published benchmarks by name: their files in, examples to be judged out, and their own figures from the rewards.

A benchmark's module is imported when the benchmark is used.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from vrm.benchmarks import published
from vrm.benchmarks.base import Benchmark, BenchmarkExample, ExampleRewards, LoadedBenchmark, Summary
from vrm.benchmarks.outcomes import Figure, Outcomes, Term
from vrm.data.columns import suggestion
from vrm.errors import ConfigError

__all__ = [
    "Benchmark",
    "BenchmarkExample",
    "ExampleRewards",
    "Figure",
    "LoadedBenchmark",
    "Outcomes",
    "Summary",
    "Term",
    "benchmark_names",
    "get_benchmark",
]

_FURTHER = {"bon": "vrm.benchmarks.best_of_n"}
"""Benchmarks that are no published test set: users give the data."""


def benchmark_names() -> list[str]:
    """Names that `vrm evaluate` knows."""
    return [*sorted(module.name.replace("_", "-") for module in iter_modules(published.__path__)), *_FURTHER]


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        ConfigError: there is none.
    """
    names = benchmark_names()
    if name not in names:
        raise ConfigError(f"there is no benchmark '{name}'.{suggestion(name, names)} There are: {', '.join(names)}")
    module = _FURTHER.get(name) or f"{published.__name__}.{name.replace('-', '_')}"
    return cast(Benchmark, import_module(module).BENCHMARK)
