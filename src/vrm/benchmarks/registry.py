"""Benchmarks by name. Modules are imported when their benchmark is used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from vrm.benchmarks.base import Benchmark
from vrm.data.columns import suggestion
from vrm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a benchmark is (`module` has the `variable`), and its line in the list."""

    module: str
    summary: str
    variable: str = "BENCHMARK"

    @property
    def exists(self) -> bool:
        """Whether the module is part of this installation."""
        return find_spec(self.module) is not None


BENCHMARKS = {
    "rewardbench": Entry("vrm.benchmarks.rewardbench", "RewardBench: Chat, Chat Hard, Safety, Reasoning"),
    "rewardbench2": Entry("vrm.benchmarks.rewardbench2", "RewardBench 2: best of 4 in five domains, and Ties"),
    "rm-bench": Entry("vrm.benchmarks.rm_bench", "RM-Bench: 3 x 3 styles; easy, normal, hard by domain"),
    "rmb": Entry("vrm.benchmarks.rmb", "RMB: helpfulness and harmlessness, pairwise and best-of-n"),
    "judgebench": Entry("vrm.benchmarks.judgebench", "JudgeBench: right against wrong answers, by task"),
    "llmbar": Entry("vrm.benchmarks.llmbar", "LLMBar: instruction following, natural and adversarial"),
    "autoj": Entry("vrm.benchmarks.autoj", "Auto-J Eval-P: pairs with ties, by scenario"),
    "pandalm": Entry("vrm.benchmarks.pandalm", "PandaLM test set: pairs with ties, three annotators"),
    "hh-rlhf": Entry("vrm.benchmarks.hh_rlhf", "HH-RLHF, test split: people's choices, helpful and harmless"),
    "mt-bench-human": Entry("vrm.benchmarks.mt_bench", "MT-Bench human judgments: pairs with ties, by turn"),
    "ppe": Entry("vrm.benchmarks.ppe", "PPE: human preference, and correctness best-of-k sets"),
    "bon": Entry("vrm.benchmarks.best_of_n", "Best-of-n: prompts with many completions and a gold score (bon=FILE)"),
}


def benchmark_names() -> list[str]:
    """Names that `vrm evaluate` knows."""
    return [name for name, entry in BENCHMARKS.items() if entry.exists]


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        ConfigError: there is none.
    """
    names = benchmark_names()
    if name not in names:
        raise ConfigError(f"there is no benchmark '{name}'.{suggestion(name, names)} There are: {', '.join(names)}")
    entry = BENCHMARKS[name]
    return cast(Benchmark, getattr(import_module(entry.module), entry.variable))
