"""The device that a model runs on."""

from __future__ import annotations

import torch

from vrm.errors import ConfigError


def resolve_device(device: str) -> str:
    """`auto` to cuda, mps or cpu, whichever is there first; ConfigError for a device that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {device!r} cannot be used: {reason}. Use auto, cpu, cuda, cuda:1, mps") from None
    return device
