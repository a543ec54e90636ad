"""Compiling the layers of a backbone with `torch.compile`: whether a run does it, and how."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vrm.choices import Parallel, Tuning
from vrm.config import RunConfig
from vrm.errors import ConfigError, in_one_line
from vrm.model.attention import PACKED_ATTENTION, packed_attention
from vrm.model.backbones import layers_of

COMPILED = "the backbone's layers are compiled; the first steps and the first evaluation take longer for it"
EAGER = "the backbone's layers are not compiled, which makes steps slower: "

PAYS_AFTER = 2e11
"""Judgments of a run, over all epochs, times parameters of the layers, from which compiling pays on a CPU.

It takes up to 40 s and saves an eighth to a quarter of the time: 20,000 judgments for ten million parameters take
twenty minutes on two cores.
"""


def compiles(config: RunConfig, num_rows: int, num_parameters: int, device: str) -> tuple[bool, str | None]:
    """Whether to compile, and what to tell the user.

    `auto` compiles on a CPU, where gains were measured, in runs that are long enough, if there is a working compiler
    and every process holds the model whole.

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
    whole = config.train.parallel != Parallel.FSDP
    if config.model.tuning == Tuning.FROZEN or asked is False or (asked == "auto" and not (pays and whole)):
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


def compile_layers(backbone: Any, backend: str = "inductor") -> None:
    """Compile every layer of a backbone in place, for lengths that change; names of weights stay.

    Attention over packed rows is left out: its calls differ with every batch, and each would be compiled anew. Turn
    gradient checkpointing on before.

    Args:
        backbone: a `transformers` model.
        backend: of `torch.compile`.

    Raises:
        ConfigError: if the layers cannot be found.
    """
    layers = layers_of(backbone)
    ALL_ATTENTION_FUNCTIONS.register(PACKED_ATTENTION, torch.compiler.disable(packed_attention))
    run = torch.compile(_run, dynamic=True, backend=backend)
    for layer in layers:
        layer.compile(dynamic=True, backend=backend)
        recompute = getattr(layer, "_gradient_checkpointing_func", None)
        if recompute is not None:
            layer._gradient_checkpointing_func = torch.compiler.disable(partial(_recompute, recompute, run))


def _run(function: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any], *states: Any) -> Any:
    return function(*given, *states, **named)


def _recompute(recompute: Callable[..., Any], run: Callable[..., Any], layer: partial[Any], *states: Any) -> Any:
    """Checkpointing takes a layer's bare forward out of its compiled call, so it is given a compiled one."""
    if isinstance(layer.func, FunctionType):
        layer = partial(run, layer.func, layer.args, layer.keywords)
    return recompute(layer, *states)


@lru_cache
def compiler_problem(device: str) -> str | None:
    """Why `torch.compile` does not work for a kind of device, or None; found by compiling something small.

    Args:
        device: `cpu` or `cuda`.
    """
    try:
        torch.compile(_probe, dynamic=True)(torch.ones(8, device=device))
    except Exception as error:  # every compiler fails in its own way
        return in_one_line(error)
    return None


def _probe(values: Tensor) -> Tensor:
    return torch.sin(values) + 1
