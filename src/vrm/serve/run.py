"""Running the application with uvicorn: its address, its end and its log."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from vrm.errors import ConfigError
from vrm.serve.app import create_app
from vrm.serve.explorer import Explored
from vrm.serve.service import Service

GRACE = 10
"""Seconds beyond the limit of a request that a server has to answer what it accepted."""


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one.

    Raises:
        ConfigError: if the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}. Choose another --host or --port"
        ) from None
    return bound


def url_of(bound: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve_forever(
    service: Service,
    bound: socket.socket,
    log_level: str = "info",
    explored: Explored | None = None,
    when_ready: Callable[[], object] | None = None,
) -> bool:
    """Serve until SIGINT or SIGTERM, then answer what was accepted and return; a second signal ends it at once.

    Args:
        service: the model and its limits.
        bound: the socket to listen on.
        log_level: a `LogLevel`; `info` logs every request: its route, status and time, nothing that it said.
        explored: what the page `/explore` has beside the model.
        when_ready: called in a thread of its own once requests are taken.

    Returns:
        Whether everything that was accepted has been answered.
    """
    log_to_stderr(log_level)
    server = _server(uvicorn_config(service, explored), when_ready)
    # uvicorn raises the signal that stopped it once more, for the process's own handler; an ordered end is no failure.
    earlier = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[bound])
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    return not server.force_exit


def uvicorn_config(service: Service, explored: Explored | None = None) -> Any:
    """How uvicorn runs the application; arguments as of `serve_forever`."""
    import uvicorn

    from vrm.serve.connections import GuardedProtocol

    return uvicorn.Config(
        create_app(service, explored),
        http=GuardedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(service.settings.request_timeout) + GRACE,
    )


def _server(config: Any, when_ready: Callable[[], object] | None) -> Any:
    import uvicorn

    class Telling(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if when_ready is not None and self.started:
                threading.Thread(target=when_ready, name="vrm-ready", daemon=True).start()

    return Telling(config)


def log_to_stderr(level: str) -> None:
    """The server's log, from a `LogLevel` on, goes to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, least in (("vrm.serve", level.upper()), ("uvicorn.error", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(least)
