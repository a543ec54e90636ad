"""One connection of the server: how long a client may take, and how much it may send, before a request is there.

uvicorn waits for the head of a request as long as its client likes, and keeps all of it, however large it grows.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""Time for the head of a request, and for the rest of a body whose answer is out already."""

MOST_HEAD = 1 << 16
"""Bytes of a head, and of what stands beside a body in chunks."""

CHUNKING = 8
"""Bytes beside each byte of a body, at most: a chunk of one byte has five."""


class NotHttpError(Exception):
    """A request that is refused before anything is done for it; the parser answers 400 and closes the connection."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes connections whose clients take too long or send too much."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._fed = self._body = self._head = 0
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless there is too much beside the body."""
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head()
        self._fed += len(data)
        super().data_received(data)
        if self._fed - self._body > MOST_HEAD + CHUNKING * self._body and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.send_400_response("The head of the request is too large.")
            else:
                self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins; what was read of it so far is at most one piece."""
        self._fed = self._body = self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Raise NotHttpError where it makes the head too large."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Raise NotHttpError where it makes the head, or what follows a body in chunks, too large."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Raise NotHttpError for a version that has no heads, as HTTP/0.9."""
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            raise NotHttpError
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count it."""
        self._body += len(body)
        super().on_body(body)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MOST_HEAD:
            raise NotHttpError

    def _wait_for_head(self) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _too_late(self) -> None:
        self._limit = None
        if not self.transport.is_closing():
            self.transport.close()
