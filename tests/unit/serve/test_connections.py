"""Connections of clients that take too long or send too much are closed, and others are answered meanwhile."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from vrm.client import Client
from vrm.serve import connections

HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = b"a" * 65_536


@pytest.fixture(scope="module")
def server(serve, tiny_model_dir) -> Iterator:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "HEAD_SECONDS", 0.3)
        with serve(tiny_model_dir, request_timeout=1.0, max_body_bytes=1 << 16) as running:
            yield running


@pytest.fixture
def connection(server) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as opened:
        yield opened


def until_closed(connection: socket.socket, piece: bytes) -> bytes:
    """What the server sends to a client that goes on sending, until it closes the connection."""
    answer, limit = b"", time.monotonic() + 5
    connection.settimeout(0.05)
    while time.monotonic() < limit:
        try:
            if not (part := connection.recv(1 << 16)):
                return answer
            answer += part
        except TimeoutError:
            pass
        except ConnectionError:
            return answer
        try:
            connection.sendall(piece)
        except TimeoutError:
            pass
        except ConnectionError:
            return answer
    pytest.fail(f"the connection is open still; answered so far: {answer[:200]!r}")


@pytest.mark.parametrize(
    ("start", "piece"),
    [(b"", b""), (b"\r\n", b"\r\n"), (HEAD + b"X-A: ", b"a"), (HEAD, b"X-A: b\r\n"), (HEAD + b"\r\n", b"\r\n")],
    ids=["nothing", "empty lines", "one header", "many headers", "empty lines after an answer"],
)
def test_a_head_has_its_time(server, connection, start, piece):
    connection.sendall(start)
    until_closed(connection, piece)
    with Client(server.url) as client:
        assert len(client.score("how", ["a"]).rewards) == 1


@pytest.mark.parametrize("start", [POST + b"Content-Length: 1000\r\n\r\n", CHUNKED], ids=["a length", "chunks"])
@pytest.mark.parametrize("piece", [b"", b"1\r\n \r\n"])
def test_a_body_has_its_time(server, connection, start, piece):
    connection.sendall(start)
    answer = until_closed(connection, piece)
    assert answer.startswith(b"HTTP/1.1 408 ")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert (error["type"], error["message"]) == ("body_too_slow", "body: it was not whole after 1 s")


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        (b"GET /", LARGE, b"400"),
        (HEAD + b"X-A: ", LARGE, b"400"),
        (HEAD, b"X-A: b\r\n" * 5_000, b"400"),
        (CHUNKED + b"1;", LARGE, b""),
        (CHUNKED + b"0\r\n", b"X-A: " + LARGE + b"\r\n", b""),
        (CHUNKED, b"10000\r\n" + LARGE + b"\r\n", b"413"),
        (POST + b"Content-Length: 1000000000\r\n\r\n", LARGE, b"413"),
    ],
    ids=["URL", "header", "headers", "extension of a chunk", "trailers", "chunks", "a length"],
)
def test_what_has_no_end_is_cut_off(server, connection, start, piece, status):
    connection.sendall(start)
    answer = until_closed(connection, piece)
    # A client that is still sending may lose the answer with the connection.
    assert not answer or answer.startswith(b"HTTP/1.1 " + status)


def test_requests_on_a_kept_connection_are_answered_past_that_time(server, connection):
    body = b'{"prompt": "how", "completions": ["a"]}'
    for _ in range(4):
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body))
        time.sleep(0.2)
        connection.sendall(body)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    connection.sendall(2 * (HEAD + b"X-A: " + 60_000 * b"a" + b"\r\n\r\n"))
    answer = b""
    while answer.count(b"HTTP/1.1 200 ") < 2 or not answer.endswith(b"}"):
        answer += connection.recv(1 << 16)


def test_a_request_without_a_version_is_refused(connection):
    connection.sendall(b"GET /version\r\nHost: 127.0.0.1\r\n\r\n")
    assert until_closed(connection, b"").startswith(b"HTTP/1.1 400 ")
