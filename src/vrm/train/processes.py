"""What a process of a run is: the one that speaks and writes, and the device that it trains on."""

from __future__ import annotations

import os
import sys

import torch


def is_main_process() -> bool:
    """Whether this process writes files and messages; of several, `torchrun` numbers them, the first does."""
    return int(os.environ.get("RANK", "0")) == 0


def say(text: str) -> None:
    """Print to stderr, once for all processes; stdout belongs to results."""
    if is_main_process():
        print(text, file=sys.stderr)


def training_device() -> torch.device:
    """The device on which the trainer puts the model of this process."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def to_training_device(module: torch.nn.Module) -> None:
    """Move a module to the GPU on which the trainer will put it; without one it stays where it is."""
    device = training_device()
    if device.type == "cuda":
        module.to(device)
