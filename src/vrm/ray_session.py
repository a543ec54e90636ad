"""A connection to a Ray cluster: one that runs already, or one of processes on this machine; needs the extra `ray`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from vrm.errors import ConfigError, MissingExtraError

LOCAL = "local"
"""The address of a cluster that is started on this machine."""

_LOOPBACK = "127.0.0.1"

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # Ray's C++ part writes to our stderr
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment variables that are set before Ray is loaded, where the user has not set them."""


@contextmanager
def ray_session(address: str, cores: int) -> Iterator[None]:
    """Connect to a cluster, and leave it at the end; a local one ends with the block.

    Where Ray runs in this process already, its cluster is used, whatever the address says, and left as it was.

    Args:
        address: `local`, `auto` for the cluster that this machine is a node of, or HOST:PORT of its head.
        cores: that a local cluster says to have.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no cluster answers.
    """
    if find_spec("ray") is None:
        raise MissingExtraError("ray", "ray", "work on a Ray cluster")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    earlier = signal.getsignal(signal.SIGTERM)
    _start(address, cores)
    # Ray's own handler would abort, with a report of a crash, and leave its processes.
    _on_sigterm(lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        ray.shutdown()
        _on_sigterm(earlier)


def _on_sigterm(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)


def _start(address: str, cores: int) -> None:
    import ray

    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        how |= {"num_cpus": cores, "include_dashboard": False, "_node_ip_address": _LOOPBACK}
    try:
        with _without_stderr():
            ray.init(address, **how)
    except (ConnectionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"no Ray cluster at {address!r}: {reason}. Use local, auto or HOST:PORT") from None


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Nothing is written to descriptor 2 meanwhile: Ray's C++ part says there how it was told to be quiet."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Roll:
    """The workers of a run, which sign when they are made, so that it can end them.

    Ray Data ends its workers when nothing refers to them any more, which may be long after an error: its frames, and
    batches that were made and not taken in, refer to them. The process that keeps the roll imports this module, and so
    neither torch nor a model.
    """

    def __init__(self) -> None:
        self._workers: list[Any] = []

    def sign(self, worker: Any) -> None:
        """Add a worker."""
        self._workers.append(worker)

    def signed(self) -> list[Any]:
        """All that have signed."""
        return self._workers
