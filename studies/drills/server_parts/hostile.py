"""Requests that are none, wrong tokens, and clients that never end: each gets a 4xx or a closed connection."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from studies.drills.outcome import Outcome
from studies.drills.server_parts.serving import HOST, PLANTED, Served, served
from studies.drills.server_parts.wire import request

TOKEN = "the-token-of-this-drill"
MOST_BYTES = 1 << 16
TIMEOUT = 6
"""Of the server, in seconds: a body has as long to arrive."""

ANSWER_SECONDS = 20
PATIENCE = 30
"""Seconds after which a connection that is open still is a fault; the server gives a head ten."""

MOST_GROWTH = 64.0
"""MiB that endless senders together may cost the server."""

BODY = b'{"prompt": "%s", "completions": ["a"]}' % PLANTED.encode()
INNER = f"GET /v1/models HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
"""The request that a smuggler wants to have answered."""


@dataclass(frozen=True)
class Case:
    """Bytes, and what they are."""

    name: str
    content: bytes


def _post(*lines: str, body: bytes = BODY, end: str = "\r\n") -> bytes:
    head = ["POST /v1/score HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json"]
    return (end.join([*head, f"Authorization: Bearer {TOKEN}", f"X-Note: {PLANTED}", *lines]) + 2 * end).encode() + body


def _get(*lines: str, first: str = "GET /version HTTP/1.1", host: str = f"Host: {HOST}") -> bytes:
    head = [first, *([host] if host else []), f"Authorization: Bearer {TOKEN}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")


def lengths() -> Iterator[Case]:
    """Two lengths, or one that is no number: where proxy and server differ, the rest is a request of its own."""
    size = f"Content-Length: {len(BODY)}"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    yield Case("CL+TE", _post(size, "Transfer-Encoding: chunked", body=chunked + INNER))
    yield Case("TE+CL", _post("Transfer-Encoding: chunked", "Content-Length: 4", body=chunked + INNER))
    yield Case("CL+TE in disguise", _post(size, "Transfer-Encoding:\tchunked", body=chunked + INNER))
    for value in ("xchunked", "chunked, identity", "identity, chunked, identity", "cow", "\x0bchunked", '"chunked"'):
        yield Case("TE", _post(f"Transfer-Encoding: {value}", body=chunked + INNER))
    yield Case("TE twice", _post("Transfer-Encoding: chunked", "Transfer-Encoding: cow", body=chunked + INNER))
    yield Case("TE with a space", _post("Transfer-Encoding : chunked", size, body=chunked + INNER))
    yield Case("CL twice", _post(size, "Content-Length: 0", body=BODY + INNER))
    yield Case("CL twice, equal", _post(size, size, body=BODY + INNER))
    for value in ("+38", "-1", "0x26", "38, 0", "38 38", "38abc", "9" * 30, "", "1e1", "٣٨"):
        yield Case("CL", _post(f"Content-Length: {value}", body=BODY + INNER))
    for start in (b"0x26", b"-1", b"F" * 17, b"26 ", b"zz", b"26;" + b"a" * 40 + b"\n", b""):
        chunk = start + b"\r\n" + BODY + b"\r\n0\r\n\r\n" + INNER
        yield Case("size of a chunk", _post("Transfer-Encoding: chunked", body=chunk))
    yield Case("chunk too long", _post("Transfer-Encoding: chunked", body=b"5\r\n" + BODY + b"\r\n0\r\n\r\n" + INNER))


def lines() -> Iterator[Case]:
    """Lines that end or begin otherwise than the standard says, and first lines that are none."""
    size = f"Content-Length: {len(BODY)}"
    yield Case("bare LF", _post(size, end="\n"))
    yield Case("bare LF before TE", _post(f"X-A: b\nTransfer-Encoding: chunked\r\n{size}"))
    for value in ("a\rb", "a\x00b", "a\r\r\nb: c", "a\n\nGET / HTTP/1.1"):
        yield Case("control character", _post(f"X-A: {value}", size))
    yield Case("folded line", _post("X-A: b", " Transfer-Encoding: chunked", size))
    for name in ("X A", "", "X\x00A", "X[A]", "X(A)"):
        yield Case("name of a header", _post(f"{name}: b", size))
    yield Case("no Host", _get(host=""))
    yield Case("two Hosts", _get(f"Host: {PLANTED}.example"))
    yield Case("foreign Host", _get("", host=f"Host: {PLANTED}.example").replace(b"\r\n\r\n\r\n", b"\r\n\r\n"))
    for first in ("GET /version", "GET /version HTTP/9.9", "GET /version HTTP/1.1 x"):
        yield Case("first line", _get(first=first))
    for first in (
        "GE\x00T /version HTTP/1.1",
        "get /version HTTP/1.1",
        "GET /ver sion HTTP/1.1",
        "GET version HTTP/1.1",
    ):
        yield Case("first line", _get(first=first))
    yield Case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    yield Case("TLS", bytes.fromhex("160301020001000 1fc0303".replace(" ", "")) + bytes(range(200)))


def large() -> Iterator[Case]:
    """Heads and bodies beyond all measure, whole ones."""
    yield Case("header of 1 MB", _get(f"X-A: {'a' * 1_000_000}"))
    yield Case("20,000 headers", _get(*(f"X-{number}: {PLANTED}" for number in range(20_000))))
    yield Case("URL of 1 MB", _get(first=f"GET /{'a' * 1_000_000} HTTP/1.1"))
    yield Case("body over the limit", request("/v1/score", b" " * (MOST_BYTES + 1), TOKEN))
    yield Case("chunks over the limit", request("/v1/score", b" " * (MOST_BYTES + 1), TOKEN, chunked=True))
    yield Case("length over the limit", _post("Expect: 100-continue", f"Content-Length: {1 << 40}", body=b""))


def tokens() -> Iterator[Case]:
    """Whoever has no token, or nearly one."""
    near = (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "", TOKEN + "\x80", PLANTED, "x" * 50_000, f"{TOKEN} {TOKEN}")
    for value in (*(f"Bearer {each}" for each in near), TOKEN, f"Basic {TOKEN}", f"Bearer{TOKEN}", f"Bearer,{TOKEN}"):
        for path in ("/version", "/metrics", "/v1/models", "/openapi.json", "/v1/rows"):
            yield Case(
                "token", f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {value}\r\n\r\n".encode("latin-1")
            )
    for path in ("//version", "/./version", "/health/../version", "/explore/../version", "/explore/%2e%2e/version"):
        yield Case("token", f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    yield Case("no token", request("/v1/score", BODY))
    yield Case("token in the URL", request(f"/v1/score?token={TOKEN}", BODY))


async def ends_badly(port: int, pieces: list[bytes]) -> bool:
    """Whether the server answers once, with 4xx, or closes the connection without a word."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except ConnectionError:
        return False
    answer = b""
    try:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(0.01)
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    # Silence is no refusal: it has to answer or to close. After an answer it may have another one for a second.
    is_closed = False
    try:
        while not is_closed:
            async with asyncio.timeout(1 if b"\r\n\r\n" in answer else ANSWER_SECONDS):
                part = await reader.read(1 << 16)
            answer, is_closed = answer + part, not part
    except TimeoutError:
        pass
    except ConnectionError:
        is_closed = True
    writer.close()
    statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    return (is_closed or bool(statuses)) and len(statuses) <= 1 and all(400 <= status < 500 for status in statuses)


async def tried(port: int, cases: list[Case], rounds: int, draw: random.Random) -> dict[str, list[int]]:
    """{what was tried: [tries, faults]}, each case whole at first and then cut at a random place."""
    found: dict[str, list[int]] = {}
    waiting = iter([(case, number) for number in range(rounds) for case in cases])

    async def client() -> None:
        for case, number in waiting:
            place = draw.randrange(1, len(case.content)) if number else len(case.content)
            good = await ends_badly(port, [case.content[:place], case.content[place:]])
            counts = found.setdefault(case.name, [0, 0])
            counts[0] += 1
            counts[1] += not good

    await asyncio.gather(*(client() for _ in range(16)))
    return found


# Clients that never end

_START = (
    f"POST /v1/score HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nAuthorization: Bearer {TOKEN}\r\n"
)
_CHUNKED = f"{_START}Transfer-Encoding: chunked\r\n\r\n".encode()
LARGE = b"a" * 65_536
DRIPPING: dict[str, tuple[bytes, bytes]] = {
    "nothing is sent": (b"", b""),
    "head, byte by byte": (f"GET /health HTTP/1.1\r\nHost: {HOST}\r\nX-A: ".encode(), b"a"),
    "head, line by line": (f"GET /health HTTP/1.1\r\nHost: {HOST}\r\n".encode(), b"X-A: b\r\n"),
    "second head on a kept connection": (
        f"GET /health HTTP/1.1\r\nHost: {HOST}\r\n\r\nGET /health HTTP/1.1\r\nX-A: ".encode(),
        b"a",
    ),
    "body, byte by byte": (f"{_START}Content-Length: 60000\r\n\r\n".encode(), b" "),
    "body in chunks, byte by byte": (_CHUNKED, b"1\r\n \r\n"),
    "body that stops": (f"{_START}Content-Length: 60000\r\n\r\n{{".encode(), b""),
}
"""{what a slow client does: (what it sends at once, what it sends every half second)}."""

ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "header": (f"GET /health HTTP/1.1\r\nHost: {HOST}\r\nX-A: ".encode(), LARGE),
    "headers": (f"GET /health HTTP/1.1\r\nHost: {HOST}\r\n".encode(), b"X-A: " + LARGE + b"\r\n"),
    "URL": (b"GET /", LARGE),
    "body in chunks": (_CHUNKED, b"%x\r\n%s\r\n" % (len(LARGE), LARGE)),
    "body with a length": (f"{_START}Content-Length: {1 << 40}\r\n\r\n".encode(), LARGE),
    "extension of a chunk": (_CHUNKED + b"1;", LARGE),
    "trailers": (_CHUNKED + b"0\r\n", b"X-A: " + LARGE + b"\r\n"),
}
"""{what never ends: (how it begins, how it goes on)}."""


async def seconds_until_closed(port: int, start: bytes, piece: bytes, pause: float, limit: float = PATIENCE) -> float:
    """How long the server keeps a connection whose client goes on sending; infinite if it still does after `limit`."""
    reader, writer = await asyncio.open_connection(HOST, port)
    begun = time.monotonic()
    closed = asyncio.ensure_future(_until_end(reader))
    try:
        writer.write(start)
        while not closed.done() and time.monotonic() - begun < limit:
            writer.write(piece)
            try:
                async with asyncio.timeout(1):
                    await writer.drain()
            except TimeoutError:  # the server reads no more, and has not closed it yet
                pass
            await asyncio.wait([closed], timeout=pause)
    except ConnectionError:
        return time.monotonic() - begun
    finally:
        closed.cancel()
        writer.transport.abort()
    return time.monotonic() - begun if closed.done() and not closed.cancelled() else float("inf")


async def _until_end(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(1 << 16):
            pass
    except ConnectionError:
        pass


@dataclass
class Beside:
    """An ordinary client beside all that: its requests, and those that were not answered within five seconds."""

    asked: int = 0
    failed: int = 0


@asynccontextmanager
async def beside(port: int) -> AsyncIterator[Beside]:
    """Ask twice a second until the end."""
    found = Beside()

    async def client() -> None:
        while True:
            found.asked += 1
            try:
                async with asyncio.timeout(5):
                    reader, writer = await asyncio.open_connection(HOST, port)
                    writer.write(request("/v1/score", BODY, TOKEN))
                    found.failed += b" 200 " not in await reader.readline()
                    writer.close()
            except (TimeoutError, OSError):
                found.failed += 1
            await asyncio.sleep(0.5)

    task = asyncio.ensure_future(client())
    try:
        yield found
    finally:
        task.cancel()


async def never_ending(server: Served, count: int) -> dict[str, list[float]]:
    """{what was done: seconds until each connection was closed}, all at once."""
    tries = {f"slow {name}": (start, piece, 0.5) for name, (start, piece) in DRIPPING.items()}
    tries |= {f"endless {name}": (start, piece, 0.02) for name, (start, piece) in ENDLESS.items()}
    numbers = {name: count if name.startswith("slow") else max(1, count // 4) for name in tries}
    waiting = {
        name: [asyncio.ensure_future(seconds_until_closed(server.port, *how)) for _ in range(numbers[name])]
        for name, how in tries.items()
    }
    return {name: list(await asyncio.gather(*each)) for name, each in waiting.items()}


def run(model: Path, work: Path, seed: int, quick: bool) -> list[Outcome]:
    """All of it against one server with a token."""
    file = work / "token"
    file.write_text(TOKEN)
    options = ("--token-file", file, "--max-body", MOST_BYTES, "--timeout", TIMEOUT, "--allowed-host", "a.example")
    with served(model, work / "hostile.log", options) as server:
        return asyncio.run(_run(server, random.Random(seed), quick))


async def _run(server: Served, draw: random.Random, quick: bool) -> list[Outcome]:
    outcomes = []
    async with beside(server.port) as ordinary:
        groups = {
            "two lengths, or none that can be read (CL and TE, doubled, chunks)": (lengths(), 20),
            "lines, first lines and names that HTTP has not": (lines(), 20),
            "heads and bodies over the limits": (large(), 5),
            "a wrong token, or none": (tokens(), 5),
        }
        for name, (cases, rounds) in groups.items():
            found = await tried(server.port, list(cases), 2 if quick else rounds, draw)
            outcomes.append(_outcome(name, found))
        before = server.memory
        seconds = await never_ending(server, 1 if quick else 20)
        growth = server.memory - before
    for kind, words in (
        ("slow", "clients that send too slowly, or nothing"),
        ("endless", "heads and bodies without end"),
    ):
        each = {name.removeprefix(f"{kind} "): values for name, values in seconds.items() if name.startswith(kind)}
        open_still = {
            name: [len(values), sum(value == float("inf") for value in values)] for name, values in each.items()
        }
        longest = max((value for values in each.values() for value in values if value < float("inf")), default=0.0)
        note = f"closed after {longest:.1f} s at most" + (f"; {growth:.0f} MiB more" if kind == "endless" else "")
        outcomes.append(_outcome(words, open_still, note))
    if growth > MOST_GROWTH:
        outcomes.append(Outcome("memory under endless senders", 1, 1, 0, f"{growth:.0f} MiB more"))
    words_found, searched = server.planted_words(TOKEN)
    outcomes.append(
        Outcome("an ordinary client beside all these", ordinary.asked, ordinary.failed, 0, "within 5 s each")
    )
    outcomes.append(
        Outcome("planted words in log and metrics, hostile clients", 1, words_found, 0, f"{searched:,} bytes")
    )
    return outcomes


def _outcome(name: str, found: dict[str, list[int]], note: str = "") -> Outcome:
    bad = [f"{what}: {faults}" for what, (_, faults) in found.items() if faults]
    tries, faults = (sum(counts[place] for counts in found.values()) for place in (0, 1))
    return Outcome(name, tries, faults, 0, "; ".join(filter(None, [note, *bad])))
