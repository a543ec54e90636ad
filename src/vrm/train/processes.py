"""What a process of a run is: the one that speaks and writes, and the device that it trains on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from vrm.errors import LostProcessError, in_one_line


def is_main_process() -> bool:
    """Whether this process writes files and messages; of several, `torchrun` numbers them, the first does."""
    return int(os.environ.get("RANK", "0")) == 0


def say(text: str) -> None:
    """Print to stderr, once for all processes; stdout belongs to results."""
    if is_main_process():
        print(text, file=sys.stderr)


@contextmanager
def among_others() -> Iterator[None]:
    """Around what exchanges messages with the other processes of a run.

    Raises:
        LostProcessError: in place of torch's error about a message that did not get through.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise LostProcessError(
            f"another process of this run has ended or does not answer ({in_one_line(error)}). "
            "Its own messages say why; go on with --resume"
        ) from error


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
