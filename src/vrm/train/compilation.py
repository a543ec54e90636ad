"""Whether a run compiles the layers of its backbone."""

from __future__ import annotations

from typing import Any

import torch

from vrm.choices import Tuning
from vrm.config import RunConfig
from vrm.errors import ConfigError
from vrm.model.compiling import compile_layers, compiler_problem

COMPILED = "the backbone's layers are compiled; the first steps and the first evaluation take longer for it"
EAGER = "the backbone's layers are not compiled, which makes steps slower: "

PAYS_AFTER = 2e11
"""Judgments of a run, over all epochs, times parameters of the layers, from which compiling pays on a CPU.

It takes up to 40 s and saves an eighth to a quarter of the time: 20,000 judgments for ten million parameters take
twenty minutes on two cores.
"""


def compiles(config: RunConfig, num_rows: int, num_parameters: int, device: str) -> tuple[bool, str | None]:
    """Whether to compile, and what to tell the user.

    `auto` compiles on a CPU, where gains were measured, in runs that are long enough, if there is a working compiler.

    Args:
        config: the run.
        num_rows: training rows.
        num_parameters: of the backbone without its embeddings.
        device: `cpu` or `cuda`, where it trains.

    Raises:
        ConfigError: if compiling is asked for and the compiler does not work.
    """
    asked = config.model.compile
    pays = device == "cpu" and num_rows * config.train.epochs * num_parameters >= PAYS_AFTER
    if config.model.tuning == Tuning.FROZEN or asked is False or (asked == "auto" and not pays):
        return False, None
    problem = compiler_problem(device)
    if problem is None:
        return True, COMPILED
    if asked is True:
        raise ConfigError(f"model.compile: the compiler does not work on this machine ({problem})")
    return False, EAGER + problem


def compile_backbone(backbone: Any, asked: bool | str) -> str | None:
    """Compile its layers as `compiles` has decided; tells why a backbone of a run on `auto` remains as it is.

    On `auto`, what the compiler cannot translate later is run as it is, with a warning of torch's.

    Raises:
        ConfigError: if compiling was asked for and the backbone has no layers that can be found.
    """
    try:
        compile_layers(backbone)
    except ConfigError as error:
        if asked is True:
            raise
        return EAGER + str(error)
    if asked == "auto":
        torch._dynamo.config.suppress_errors = True
    return None
