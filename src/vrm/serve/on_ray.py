"""The application in several replicas on a Ray cluster, behind Ray Serve's proxy.

Requests with equal `X-Session-ID` go to one replica, as long as the replicas are the same: `vrm.client` sends a hash of
the prompt there, so that requests which share a prompt meet in one batch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from vrm.choices import OnOverlongServed, Precision
from vrm.errors import ConfigError, ModelError
from vrm.inference.devices import resolve_device
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.serve.app import create_app
from vrm.serve.run import GRACE, log_to_stderr
from vrm.serve.service import Service
from vrm.serve.settings import ServeSettings

APPLICATION = "vrm"
"""Its name on the cluster: deploying another model under it replaces the replicas, one after the other."""

_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"


@dataclass(frozen=True)
class ReplicaSettings:
    """How a replica loads the model.

    Attributes:
        model: directory that every node can read, or Hub name.
        on_overlong: one of `vrm.choices.OnOverlongServed`.
        precision: one of `vrm.choices.Precision`.
        device: `auto`, `cpu` or `cuda`.
        threads: of a replica on the CPU, each with a core of its own; on a GPU it has the GPU.
        log_level: one of `vrm.choices.LogLevel`, for Ray's log of the replica; texts are in none.
    """

    model: str
    on_overlong: str = OnOverlongServed.TRUNCATE
    precision: str = Precision.FLOAT32
    device: str = "auto"
    threads: int = 1
    log_level: str = "info"


class Replica:
    """One replica: the application of `vrm serve` around a model of its own.

    Raises:
        CheckpointError: it cannot be loaded; NumericsError: it judges a text with a reward that is not finite.
    """

    def __init__(self, how: ReplicaSettings, settings: ServeSettings) -> None:
        import torch

        log_to_stderr(how.log_level)
        torch.set_num_threads(how.threads)
        engine = RewardEngine.from_pretrained(
            how.model,
            device=resolve_device(how.device),
            options=ExtractionOptions(how.precision, settings.batch_tokens),
            on_overlong=how.on_overlong,
        )
        self._service = Service(engine, settings)
        self._service.try_model()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, which Serve starts and stops with the replica."""
        return create_app(self._service)

    def check_health(self) -> None:
        """Serve asks regularly, and replaces a replica that raises."""
        if not self._service.batcher.accepting:
            raise ModelError("the model's thread has ended")


def deploy(how: ReplicaSettings, settings: ServeSettings, count: int, host: str, port: int) -> str:
    """Serve with so many replicas on the cluster that this process is connected to; returns when all are ready.

    If the cluster serves already, its replicas are replaced one after the other: each answers what it has
    accepted, and the others go on.

    Args:
        how: of each replica.
        settings: the same.
        count: of replicas.
        host: of the proxy; it and the port are those of the first call, until Serve is shut down.
        port: of the proxy.

    Returns:
        The URL.

    Raises:
        ConfigError: the cluster has no room for them, or cannot start them.
    """
    import ray
    from ray import serve

    for name in ("ray.serve", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    on_gpu = how.device == "cuda" or (how.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    deployment: Any = serve.deployment(
        name="replica",
        num_replicas=count,
        ray_actor_options={"num_cpus": how.threads, "num_gpus": int(on_gpu)},
        # The application refuses what is too much itself, with 429 and Retry-After.
        max_ongoing_requests=2 * settings.max_queue_texts,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=settings.request_timeout + GRACE,
        request_router_config={"request_router_class": _ROUTER},
        logging_config={"enable_access_log": False},
    )(serve.ingress()(Replica))
    serve.start(http_options={"host": host, "port": port}, logging_config={"enable_access_log": False})
    try:
        serve.run(deployment.bind(how, settings), name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        raise ConfigError(f"the cluster could not start {count} replicas: {_reason(error)}") from None
    return f"http://{host}:{port}{settings.root_path}"


def shut_down() -> None:
    """End the replicas, each after it has answered what it accepted."""
    from ray import serve

    serve.delete(APPLICATION)


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
