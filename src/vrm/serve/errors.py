"""Errors of requests. Their messages repeat no text of the request, since they may end in a log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from vrm.errors import VrmError
from vrm.wire.schema import AS_MESSAGES, AS_TEXT, ErrorDetail, ErrorResponse

TEXT_FIELDS = frozenset(
    ("prompt", "completions", "query", "prompts", "labels", "response", "label", "input", "messages", "tools")
)
"""Fields whose values are users' texts: errors give their sizes, never their contents."""

_SHOWN_CHARACTERS = 60


class RequestError(VrmError):
    """A request that gets an error for an answer.

    Attributes:
        status: of HTTP.
        kind: a word for programs.
        param: the field that is wrong, or None.
        retry_after: seconds after which it is worth trying again, or None.
    """

    status, kind = 422, "invalid_request"

    def __init__(self, message: str, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.param, self.retry_after = param, retry_after


class TooLargeError(RequestError):
    """The body has too many bytes."""

    status, kind = 413, "body_too_large"


class UnauthorizedError(RequestError):
    """The request bears no token, or a wrong one."""

    status, kind = 401, "unauthorized"


class BusyError(RequestError):
    """The queue is full."""

    status, kind = 429, "queue_full"


class StoppingError(RequestError):
    """The server is shutting down."""

    status, kind = 503, "stopping"


class TimeLimitError(RequestError):
    """The request took longer than it may."""

    status, kind = 504, "timeout"


class ClientGoneError(RequestError):
    """The client closed the connection. Nobody reads this answer; the status is for metrics and the log."""

    status, kind = 499, "client_gone"


class ComputationError(RequestError):
    """The model failed on this request."""

    status, kind = 500, "computation_failed"


def error_response(error: RequestError) -> JSONResponse:
    """The answer for an error."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    return plain_error(error.status, error.kind, str(error), error.param, headers)


def plain_error(
    status: int, kind: str, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An answer in the one form that errors have."""
    body = ErrorResponse(error=ErrorDetail(message=message, type=kind, param=param, code=status))
    return JSONResponse(body.model_dump(), status_code=status, headers=dict(headers or {}))


def invalid_body(error: RequestValidationError) -> JSONResponse:
    """The answer for a body or query of a wrong form; it names field, value and the allowed values of each problem."""
    problems = error.errors()
    if any(isinstance(problem.get("input"), bytes) for problem in problems):
        return plain_error(422, "invalid_request", "body: send it with the header Content-Type: application/json")
    messages = [f"{place(problem['loc']) or 'body'}: {problem['msg']}{_value(problem)}" for problem in problems]
    shown = "; ".join(messages[:5]) + (f"; and {len(messages) - 5} more" if len(messages) > 5 else "")
    malformed = any(problem["type"] == "json_invalid" for problem in problems)
    return plain_error(400 if malformed else 422, "invalid_request", shown, place(problems[0]["loc"]) or None)


def place(location: Iterable[Any]) -> str:
    """`prompt[0].role` for the place ("body", "prompt", "as_messages", 0, "role")."""
    path = ""
    for step in tuple(location)[1:]:
        if step not in (AS_TEXT, AS_MESSAGES):
            path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path[:200]


def _value(problem: Mapping[str, Any]) -> str:
    location, value = tuple(problem["loc"]), problem.get("input")
    if problem["type"] in ("missing", "json_invalid", "extra_forbidden"):
        return ""
    top = location[1] if len(location) > 1 else None
    # A body that is no object at all, or a list of texts, must not come back either.
    private = top is None or top in TEXT_FIELDS or isinstance(value, list | dict)
    return f" (got {size_of(value) if private else _shortened(value)})"


def size_of(value: Any) -> str:
    """Kind and size of a value, in words that do not repeat it."""
    if isinstance(value, str):
        return f"a text of {len(value):,} characters"
    if isinstance(value, Mapping):
        return f"an object of {len(value):,} keys"
    if isinstance(value, Sequence):
        return f"a list of {len(value):,}"
    return "null" if value is None else str(value)


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 3] + "..."
