"""Whether a run compiles the layers of its backbone."""

from __future__ import annotations

from vrm.config import RunConfig
from vrm.errors import ConfigError
from vrm.model.compiling import compiler_problem

PAYS_AFTER = 10_000
"""Judgments of a run, over all epochs, from which compiling wins its own time back on a CPU."""


def compiles(config: RunConfig, num_rows: int, device: str) -> tuple[bool, str | None]:
    """Whether to compile, and what to tell the user.

    `auto` compiles on a CPU, where gains were measured, in runs that are long enough, if there is a working compiler.

    Args:
        config: the run.
        num_rows: training rows.
        device: `cpu` or `cuda`, where it trains.

    Raises:
        ConfigError: if compiling is asked for and the compiler does not work.
    """
    asked = config.model.compile
    pays = device == "cpu" and num_rows * config.train.epochs >= PAYS_AFTER
    if config.model.tuning == "frozen" or asked is False or (asked == "auto" and not pays):
        return False, None
    problem = compiler_problem(device)
    if problem is None:
        return True, "the backbone's layers are compiled; the first steps and the first evaluation take longer for it"
    if asked is True:
        raise ConfigError(f"model.compile: the compiler does not work on this machine ({problem})")
    return False, f"the backbone's layers are not compiled, which makes steps slower: {problem}"
