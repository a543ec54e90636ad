"""Bodies of requests: JSON, and what to say of one that is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from vrm.data import json_text
from vrm.serve.errors import RequestError

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x78\x9c": "zlib"}
"""{first bytes: how a body is compressed}. No JSON begins with one of them."""


class JsonRequest(Request):
    """A request whose errors in JSON say what is wrong with it."""

    async def json(self) -> Any:
        """The body's JSON.

        Raises:
            RequestError: it is in another encoding (415 if the header names it, else 400), no JSON (400), or has a key
                twice (400).
        """
        if not hasattr(self, "_value"):
            self._value = _parsed(await self.body(), _charset(self))
        return self._value


class JsonRoute(APIRoute):
    """A route that takes JSON. It reads the body itself, since FastAPI's error for one is the same in all cases."""

    def get_route_handler(self) -> Handler:
        """The handler of requests."""
        return partial(_read_and_handle, super().get_route_handler())


async def _read_and_handle(handle: Handler, request: Request) -> Response:
    request = JsonRequest(request.scope, request.receive)
    try:
        body = await request.body()
        _check_not_compressed(body, request.headers.get("content-encoding", ""))
        if body and _is_json(request):
            await request.json()
    except ClientDisconnect:
        raise RequestError("the client closed the connection", kind="client_gone") from None
    return await handle(request)


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _charset(request: Request) -> str:
    for parameter in request.headers.get("content-type", "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()[:40]
    return ""


def _check_not_compressed(body: bytes, declared: str) -> None:
    method = declared.strip().lower()[:40]
    if method in ("", "identity"):
        method = next((name for start, name in _COMPRESSED.items() if body.startswith(start)), "")
    if body and method:
        raise RequestError(f"body: it is compressed ({method}), which is not read; send it uncompressed", status=415)


def _parsed(body: bytes, charset: str) -> Any:
    try:
        value, suspect = json_text.loads(body.decode(json.detect_encoding(body)))
        repeated = json_text.repeated_keys(value, suspect)
    except UnicodeDecodeError as error:
        raise _not_unicode(error, charset) from None
    except json.JSONDecodeError as error:
        message = f"body: no JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise RequestError(message, status=400) from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"
        raise RequestError(f"body: {reason}", status=400) from None
    for place, reason in repeated:
        raise RequestError(f"{place[:200]}: {reason.rstrip('.')}", place[:200], status=400)
    return value


def _not_unicode(error: UnicodeDecodeError, charset: str) -> RequestError:
    first, second = error.object[error.start], error.object[error.start + 1 : error.start + 2]
    if first == 0xED and second >= b"\xa0":
        message = f"body: half of a surrogate pair at byte {error.start:,}; repair the text's encoding"
        return RequestError(message, status=400)
    place = f"byte {error.start:,} is 0x{first:02X}"
    if charset and not charset.startswith("utf"):
        return RequestError(f"body: it is {charset} ({place}), and only UTF-8 is read; send it as UTF-8", status=415)
    return RequestError(f"body: not valid UTF-8 ({place}, as in Latin-1); send it as UTF-8", status=400)
