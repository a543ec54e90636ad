"""Around every request: the path's prefix, HEAD, the server's name, the token, the body's size, metrics and the log."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from vrm.serve.errors import RequestError, error_response, plain_error
from vrm.serve.hosts import is_allowed
from vrm.serve.metrics import ServeMetrics
from vrm.serve.settings import ServeSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

LOGGER = logging.getLogger("vrm.serve")

OPEN_ROUTES = frozenset(("/health", "/ready"))
"""Answered without a token: orchestrators ask them, and they say nothing about the model."""

OPEN_PAGE = "/explore"
"""What files of a page begin with that is the same for every model: browsers send no token with what they open."""


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class UnderPrefix:
    """Takes requests with and without the prefix of a proxy: some proxies take it off, others leave it."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if self._prefix and scope["type"] == "http":
            path: str = scope["path"]
            whole = path if path.startswith(f"{self._prefix}/") else self._prefix + path
            scope = {**scope, "root_path": self._prefix, "path": whole}
        await self._app(scope, receive, send)


class WithoutBody:
    """Answers HEAD as GET, without the body: load balancers ask `/health` so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, without_body)


class Observe:
    """Counts and logs each answer by its route, and answers 500 to errors that nobody expected.

    Neither the log nor that answer has any text of a request: of an exception it gives the type and the places in the
    code, since messages quote what they complain about.
    """

    def __init__(self, app: ASGIApp, metrics: ServeMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            LOGGER.error("%s in\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            if status:  # half of an answer is out: the connection ends, and the client sees that it does
                return
            answer = plain_error(500, "internal", f"the server failed ({type(error).__name__}); its log says where")
            await answer(scope, receive, watched)
        finally:
            self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # The route and not the path: a path may say anything, and every new one would be a new time series.
        route = str(getattr(scope.get("route"), "path", "unmatched"))
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        level = logging.DEBUG if route in (*OPEN_ROUTES, "/metrics") else logging.INFO
        LOGGER.log(level, "%s %s %d %.1f ms", scope["method"], route, status, 1e3 * seconds)


class KnownHosts:
    """Refuses requests under a name that is not the server's: a page in a browser may have pointed its own name here.

    `/health` and `/ready` are answered under any name, since orchestrators ask by names and addresses of their own.
    Starlette's middleware for this takes no addresses, and says nothing about what to do.
    """

    def __init__(self, app: ASGIApp, patterns: Sequence[str]) -> None:
        self._app, self._patterns = app, patterns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and _path(scope) not in OPEN_ROUTES:
            hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            refusal = self._refusal(hosts, scope["http_version"])
            if refusal is not None:
                error = RequestError(refusal, "Host", kind="unknown_host")
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, hosts: Sequence[str], version: str) -> str | None:
        if not hosts and version == "1.0":  # no browser sends it, and programs that do need no name
            return None
        if len(hosts) != 1:
            return f"the header Host must be there once, and is there {len(hosts)} times"
        if is_allowed(hosts[0], self._patterns):
            return None
        name = re.sub(r"[^\w.:\[\]-]", "?", hosts[0][:100])
        return (
            f"Host: this server does not go by the name '{name}'. Ask it by its address, or start it with "
            "--allowed-host and the name without the port. Behind a proxy that is the name which the proxy sends on. "
            "Without the check, any page in a browser could read a server that asks for no token, by DNS rebinding"
        )


class Gate:
    """Refuses requests without the token, before anything is read, and bodies that are too large or too slow."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app, self._settings = app, settings
        self._token = None if settings.token is None else settings.token.strip().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        path = _path(scope)
        is_open = path in OPEN_ROUTES or path == OPEN_PAGE or path.startswith(f"{OPEN_PAGE}/")
        if not is_open and not self._admits(headers.get(b"authorization", b"")):
            message = "this server wants a token: send the header 'Authorization: Bearer TOKEN' with the right one"
            await error_response(RequestError(message, kind="unauthorized"))(scope, receive, send)
            return
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._settings.max_body_bytes:
            await error_response(self._too_large(int(length)))(scope, receive, send)
            return
        await self._app(scope, self._watched(receive), send)

    def _admits(self, authorization: bytes) -> bool:
        if self._token is None:
            return True
        scheme, _, token = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)

    def _too_large(self, size: int) -> RequestError:
        message = f"body: {size:,} bytes; at most {self._settings.max_body_bytes:,} are read"
        return RequestError(message, kind="body_too_large")

    def _watched(self, receive: Receive) -> Receive:
        # A body in chunks does not say its length before.
        size, is_whole, limit = 0, False, self._settings.request_timeout
        end = asyncio.get_running_loop().time() + limit

        async def watched() -> Message:
            nonlocal size, is_whole
            try:
                # What comes after the body says that the client is gone, and may take its time.
                async with asyncio.timeout_at(None if is_whole else end):
                    message = await receive()
            except TimeoutError:
                raise RequestError(f"body: it was not whole after {limit:g} s", kind="body_too_slow") from None
            size += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if size > self._settings.max_body_bytes:
                raise self._too_large(size)
            return message

        return watched
