"""HTTP by hand: whole requests, pieces of them, and what is none, over connections that are kept or dropped."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from studies.drills.server_parts.serving import HOST, PLANTED

ANSWER_LIMIT = 120.0


@dataclass(frozen=True)
class Answer:
    """A response.

    Attributes:
        status: of HTTP; 0 where the connection was closed without a whole one.
        headers: by their names in small letters.
        body: its bytes.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


CLOSED = Answer(0)


def request(path: str, body: bytes, token: str | None = None, *, chunked: bool = False) -> bytes:
    """The bytes of a POST of JSON."""
    bearer = "" if token is None else f"Authorization: Bearer {token}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nX-Note: {PLANTED}\r\n{bearer}"
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    pieces = [body[start : start + 4096] for start in range(0, len(body), 4096)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


async def read_answer(reader: asyncio.StreamReader, limit: float = ANSWER_LIMIT) -> Answer:
    """The next response of a connection; `CLOSED` where it ends or breaks off. Raises TimeoutError."""
    try:
        async with asyncio.timeout(limit):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return CLOSED
    return Answer(int(first.split()[1]), headers, body)


class Connection:
    """A client's connection, opened when it is needed and kept as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, *pieces: bytes, pause: float = 0.0) -> asyncio.StreamReader:
        """Write pieces with pauses between; the stream of answers. A connection that was closed is opened anew."""
        if self._streams is None or self._streams[0].at_eof() or self._streams[1].is_closing():
            self.close()
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        for number, piece in enumerate(pieces):
            if number and pause:
                await asyncio.sleep(pause)
            writer.write(piece)
            try:
                await writer.drain()
            except ConnectionError:
                break
        return reader

    async def ask(self, *pieces: bytes, pause: float = 0.0) -> Answer:
        """Write a request and read its answer; once more on a new connection where a kept one was just closed."""
        kept = self._streams is not None
        answer = await read_answer(await self.send(*pieces, pause=pause))
        if answer.status == 0 and kept:
            self.close()
            answer = await read_answer(await self.send(*pieces, pause=pause))
        if answer.status == 0 or answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Close it without waiting for anything."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
