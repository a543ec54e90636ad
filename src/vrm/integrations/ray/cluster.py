"""A cluster to work on: one that runs already, or processes of this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from vrm.errors import ConfigError, ModelError
from vrm.integrations.ray.windows import COLUMN
from vrm.ray_session import LOCAL, Roll, ray_session
from vrm.threads import free_cores

_FOR_READING = 1
"""Cores that workers leave to whatever reads a dataset: without any it would wait for ever."""


@dataclass(frozen=True)
class Workers:
    """The workers of a run.

    Attributes:
        count: of processes, each with a model of its own.
        threads: that a worker computes in, on the CPU.
        device: `cpu`, or `cuda`, where every worker has one GPU.
    """

    count: int
    threads: int
    device: str

    @property
    def resources(self) -> dict[str, float]:
        """What Ray reserves for one of them."""
        return {"num_cpus": self.threads, "num_gpus": 1 if self.device == "cuda" else 0}

    def ask_one(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """The answer of one worker, a process that ends with it.

        Raises:
            ModelError: it has died or failed.
        """
        import ray

        with _failures():
            return ray.get(ray.remote(question).options(**self.resources).remote(*arguments))

    def keep(self, value: Any) -> Any:
        """Put a value into the cluster's memory, where workers read it by `kept`."""
        import ray

        return ray.put(value)

    def stream(self, read: Callable[..., Any], given: Mapping[str, Any], work: type, *arguments: Any) -> Iterator[Any]:
        """What workers make of each object that is read, in order, while it is read; memory does not grow.

        A worker that dies is replaced, and what it had in hand is done again.

        Args:
            read: called once in a process of this node with an empty batch and `given`; yields batches (`batch_of`).
            given: keyword arguments of `read`.
            work: class that is made once in every worker, and called with batches of one object.
            *arguments: of the class.

        Raises:
            ModelError: a worker cannot be made, or fails.
        """
        import ray
        from ray.data import ActorPoolStrategy, DataContext
        from ray.exceptions import RayError

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = DataContext.get_current().copy()
        context.execution_options.preserve_order = True
        context.target_max_block_size = 1  # each object is a block, and a task, of its own
        context.enable_progress_bars = context.print_on_execution_start = False
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        with DataContext.current(context), _failures():
            # Without a core of its own: it waits for the workers most of the time.
            items = ray.data.from_items([0]).map_batches(read, fn_kwargs=dict(given), num_cpus=0, label_selector=here)
            roll = _new_roll()
            answers = items.map_batches(
                _signing(work),
                fn_constructor_args=(roll, *arguments),
                batch_size=1,
                batch_format="numpy",
                compute=ActorPoolStrategy(size=self.count),
                **self.resources,
            )
            try:
                for row in answers.iter_rows():
                    yield row[COLUMN]
            finally:
                with suppress(RayError):  # of a cluster that is gone: what has ended the run is told
                    for worker in [*ray.get(roll.signed.remote()), roll]:
                        ray.kill(worker)


def _new_roll() -> Any:
    import ray

    return ray.remote(Roll).options(num_cpus=0).remote()


def _signing(work: type) -> type:
    """The class, whose objects sign a roll first; without the roll of a run that has ended they cannot be made."""

    class Signing(work):  # type: ignore[misc]
        def __init__(self, roll: Any, *arguments: Any) -> None:
            import ray

            ray.get(roll.sign.remote(ray.get_runtime_context().current_actor))
            super().__init__(*arguments)

    Signing.__name__ = Signing.__qualname__ = work.__name__  # Ray names the workers by it
    return Signing


def kept(value: Any) -> Any:
    """The value behind what `Workers.keep` gave."""
    import ray

    return ray.get(value)


@contextmanager
def ray_workers(
    address: str = LOCAL, count: int | None = None, threads: int | None = None, device: str = "auto"
) -> Iterator[Workers]:
    """Workers of a cluster, which is left as it was; a local one, of processes on this machine, ends with the block.

    Where Ray runs in this process already, its cluster is used, whatever the address says.

    Args:
        address: `local`, `auto` for the cluster that this machine is a node of, or HOST:PORT of its head.
        count: of workers; None for one a GPU, and without GPUs one for every `threads` cores, where a cluster that
            runs already keeps one core to read with.
        threads: of a worker on the CPU; None for one.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no cluster answers, it has no GPU although one is asked for, or a device is not allowed.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device {device!r}: workers of a cluster take auto, cpu or cuda, a GPU of their own each")
    threads = threads or 1
    here = count or max(free_cores() // threads, 1)
    with ray_session(address, threads * here + _FOR_READING):
        import ray

        yield _workers(count, threads, device, ray.cluster_resources())


def _workers(count: int | None, threads: int, device: str, resources: Mapping[str, float]) -> Workers:
    gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    room = gpus if device == "cuda" else cores // threads
    if count is None:
        count = room if device == "cuda" else max((cores - _FOR_READING) // threads, min(room, 1))
    if not 1 <= count <= room:
        has = f"{gpus} GPUs" if device == "cuda" else f"{cores} cores"
        each = "one GPU" if device == "cuda" else f"{threads} of them"
        raise ConfigError(f"{count or 1} workers with {each} each do not fit a cluster with {has}")
    return Workers(count, threads, device)


_CAUSED = "The above exception was the direct cause"
"""In Ray's messages behind the traceback of what a worker has raised; advice on Ray's settings follows."""


@contextmanager
def _failures() -> Iterator[None]:
    """Errors of Ray, in a line, which names what a worker has raised."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        lines = [line.strip() for line in str(error).partition(_CAUSED)[0].splitlines() if line.strip()]
        raise ModelError(f"the cluster failed: {lines[-1] if lines else type(error).__name__}") from error
