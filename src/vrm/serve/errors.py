"""Errors of requests. Their messages repeat no text of the request, since they may end in a log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from vrm.errors import VrmError
from vrm.wire.schema import AS_LIST, AS_MESSAGES, AS_TEXT, ErrorDetail, ErrorResponse

TEXT_FIELDS = {
    *("prompt", "completions", "query", "prompts", "labels", "response", "label", "input", "messages", "tools"),
    *("text_1", "queries", "data_1", "text_2", "documents", "items", "data_2"),
}
"""Fields whose values are users' texts: errors give their sizes, never their contents."""

_SHOWN_CHARACTERS = 60


STATUS = {
    "invalid_request": 422,
    "body_too_large": 413,
    "body_too_slow": 408,
    "unauthorized": 401,
    "unknown_host": 400,
    "queue_full": 429,
    "stopping": 503,
    "timeout": 504,
    "computation_failed": 500,
    "client_gone": 499,
}
"""{kind of an error: status of HTTP}. Nobody reads the answer of 499: its status is for metrics and the log."""


class RequestError(VrmError):
    """A request that gets an error for an answer.

    Attributes:
        param: the field that is wrong, or None.
        kind: a key of `STATUS`, a word for programs.
        status: of HTTP; that of the kind unless another is given.
        retry_after: seconds after which it is worth trying again, or None.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        *,
        kind: str = "invalid_request",
        status: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.param, self.kind, self.retry_after = param, kind, retry_after
        self.status = status or STATUS[kind]


def error_response(error: RequestError) -> JSONResponse:
    """The answer for an error."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else {}
    if error.kind == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 408:
        headers["Connection"] = "close"
    if error.status == 415:
        headers["Accept-Encoding"] = "identity"
    return plain_error(error.status, error.kind, str(error), error.param, headers)


def plain_error(
    status: int, kind: str, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An answer in the one form that errors have."""
    # Names of fields may hold half of a surrogate pair, which no answer can be written with.
    message, param = _writable(message), None if param is None else _writable(param)
    body = ErrorResponse(error=ErrorDetail(message=message, type=kind, param=param, code=status))
    return JSONResponse(body.model_dump(), status_code=status, headers=dict(headers or {}))


def invalid_body(error: RequestValidationError) -> JSONResponse:
    """The answer for a body or query of a wrong form; it names field, value and the allowed values of each problem."""
    problems = error.errors()
    if any(isinstance(problem.get("input"), bytes) for problem in problems):
        return plain_error(422, "invalid_request", "body: send it with the header Content-Type: application/json")
    broken = [problem for problem in problems if problem["type"] == "string_unicode"]
    messages = [f"{place(problem['loc']) or 'body'}: {_reason(problem)}" for problem in broken or problems]
    shown = "; ".join(messages[:5]) + (f"; and {len(messages) - 5} more" if len(messages) > 5 else "")
    return plain_error(400 if broken else 422, "invalid_request", shown, place((broken or problems)[0]["loc"]) or None)


def _reason(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "string_unicode":
        return "it holds half of a surrogate pair; repair the text's encoding"
    if problem["type"] == "extra_forbidden" and problem["loc"][-1] in ("text_1", "queries", "data_1"):
        return "no field of this route; vLLM's shape is answered at POST /score"
    return f"{problem['msg']}{_value(problem)}"


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def place(location: Iterable[Any]) -> str:
    """`prompt[0].role` for the place ("body", "prompt", "as_messages", 0, "role")."""
    path = ""
    for step in tuple(location)[1:]:
        if step not in (AS_TEXT, AS_MESSAGES, AS_LIST):
            path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path[:200]


def _value(problem: Mapping[str, Any]) -> str:
    location, value = tuple(problem["loc"]), problem.get("input")
    if problem["type"] in ("missing", "extra_forbidden"):
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
