"""Published benchmarks by name: their files in, examples to be judged out, and their own figures from the rewards."""

from vrm.benchmarks.base import (
    Benchmark,
    BenchmarkExample,
    ExampleRewards,
    LoadedBenchmark,
    Summary,
)
from vrm.benchmarks.outcomes import Figure, Outcomes, Term
from vrm.benchmarks.registry import benchmark_names, get_benchmark

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
