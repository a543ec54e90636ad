"""Compiling the layers of a backbone with `torch.compile`, those too that are recomputed in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vrm.errors import ConfigError, in_one_line
from vrm.model.attention import PACKED_ATTENTION, packed_attention


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
    count = backbone.config.get_text_config().num_hidden_layers
    lists = [found for found in backbone.modules() if isinstance(found, nn.ModuleList) and len(found) == count]
    if not lists:
        raise ConfigError(f"{type(backbone).__name__} has no list of its {count} layers, so they cannot be compiled")
    ALL_ATTENTION_FUNCTIONS.register(PACKED_ATTENTION, torch.compiler.disable(packed_attention))
    run = torch.compile(_run, dynamic=True, backend=backend)
    for layer in lists[0]:
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
