"""Published benchmarks by name: their files in, examples to be judged out, and their own figures from the rewards."""

from vrm.evaluate.benchmarks.base import (
    Benchmark,
    BenchmarkExample,
    ExampleRewards,
    LoadedBenchmark,
    Summary,
)
from vrm.evaluate.benchmarks.outcomes import Figure, Outcomes, Term
from vrm.evaluate.benchmarks.registry import BENCHMARKS, benchmark_names, get_benchmark
from vrm.evaluate.resampling import ResampleOptions

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkExample",
    "ExampleRewards",
    "Figure",
    "LoadedBenchmark",
    "Outcomes",
    "ResampleOptions",
    "Summary",
    "Term",
    "benchmark_names",
    "get_benchmark",
]
