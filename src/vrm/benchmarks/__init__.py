"""Published benchmarks by name: their files in, examples to be judged out, and their own figures from the rewards.

A benchmark's module is imported when the benchmark is used.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

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
        ConfigError: there is none, or its file holds no `BENCHMARK`, or one of another name than the file's.
    """
    names = benchmark_names()
    if name not in names:
        raise ConfigError(f"there is no benchmark '{name}'.{suggestion(name, names)} There are: {', '.join(names)}")
    module = import_module(_FURTHER.get(name) or f"{published.__name__}.{name.replace('-', '_')}")
    benchmark = getattr(module, "BENCHMARK", None)
    if not isinstance(benchmark, Benchmark):
        what = "none" if benchmark is None else f"a {type(benchmark).__name__} of that name"
        raise ConfigError(
            f"{module.__file__}: the file of a benchmark holds a `FileBenchmark` called BENCHMARK; this has {what}. "
            "Code that several benchmarks share belongs elsewhere"
        )
    if benchmark.name != name:
        raise ConfigError(
            f"{module.__file__}: the name of its BENCHMARK is '{benchmark.name}', but has to be that of the file with "
            f"- for _, '{name}': rename either"
        )
    return benchmark
