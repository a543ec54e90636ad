"""What both clients share: the calls as requests, answers as typed results, connections, and when to try again."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from vrm.errors import ConfigError, RefusedError, ServerError, UnavailableError, check_choice
from vrm.wire import TOKEN_VARIABLE
from vrm.wire.schema import ErrorResponse, ExplainResponse, ScoreResponse, VersionResponse

DEFAULT_URL = "http://127.0.0.1:5000"
DEFAULT_TIMEOUT = 180.0
SESSION = "X-Session-ID"
RETRIED_STATUS = frozenset((429, 502, 503, 504))

Text = str | Sequence[Mapping[str, Any]]
"""A plain text, or chat messages."""

Response = TypeVar("Response", bound=BaseModel)
Http = TypeVar("Http", httpx2.Client, httpx2.AsyncClient)
Transport = TypeVar("Transport", httpx2.BaseTransport, httpx2.AsyncBaseTransport)


@dataclass(frozen=True)
class RetryPolicy:
    """When to try again, and how long to wait before: after connection errors, timeouts, 429, 502, 503 and 504.

    Waits grow exponentially with a random part, so that clients that were refused together do not come back together;
    a `Retry-After` of the server is the least wait.

    Attributes:
        attempts: in all, the first one included.
        first_wait: seconds before the second attempt, about.
        longest_wait: seconds before any attempt, at most; a longer `Retry-After` is cut to it.

    Raises:
        ConfigError: for fewer than one attempt, or a negative wait.
    """

    attempts: int = 5
    first_wait: float = 0.25
    longest_wait: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_wait < 0 or self.longest_wait < 0:
            raise ConfigError(f"a retry policy has at least one attempt and waits of 0 s or more, got {self}")

    def wait_before(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait before an attempt (2 is the second), given what the server asked for."""
        wait = self.first_wait * 2 ** (attempt - 2) * random.uniform(0.75, 1.25)
        return min(max(wait, retry_after or 0.0), self.longest_wait)


@dataclass(frozen=True)
class Call(Generic[Response]):
    """A request, and the type of its answer."""

    method: str
    path: str
    answer: type[Response]
    body: dict[str, Any] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """`X-Session-ID` is a hash of the prompt: proxies send requests with equal ones to one of several servers."""
        if self.body is None or "prompt" not in self.body:
            return {}
        text = json.dumps(self.body["prompt"], sort_keys=True)
        return {SESSION: hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}


class JudgmentOptions(TypedDict, total=False):
    """What any judgment may be asked with; None is as good as left out.

    Attributes:
        emphasis: {objective: count >= 0}, steering.
        without: objectives left out, steering.
        rater: whose judgments are asked for, a name that the served model knows.
        tools: tool definitions for the model's chat template.
    """

    emphasis: Mapping[str, float] | None
    without: Sequence[str] | None
    rater: str | None
    tools: Sequence[Mapping[str, Any]] | None


class ScoreOptions(JudgmentOptions, total=False):
    """What rewards may be asked with besides.

    Attributes:
        kappa: >= 0, adds pessimistic rewards.
        risk: `pessimistic` with kappa, `exponential` with beta.
        beta: > 0, adds effective rewards; not with kappa.
        reward_scale: `raw` or `standardized`; as the model is set by default.
        probabilities: False leaves them out; their cost grows with the square of the completions.
    """

    kappa: float | None
    risk: str | None
    beta: float | None
    reward_scale: str | None
    probabilities: bool | None


class ExplainOptions(JudgmentOptions, total=False):
    """What an explanation may be asked with besides.

    Attributes:
        sentences: True adds what each sentence of a completion adds to its reward.
        posterior: True adds the distributions, from which rewards under any steering follow without the server.
    """

    sentences: bool | None
    posterior: bool | None


def score_call(prompt: Text, completions: Sequence[Text], options: ScoreOptions) -> Call[ScoreResponse]:
    """Rewards of the completions of a prompt."""
    return Call("POST", "/v1/score", ScoreResponse, _body(prompt, completions, options, ScoreOptions))


def explain_call(prompt: Text, completions: Sequence[Text], options: ExplainOptions) -> Call[ExplainResponse]:
    """Why one completion is preferred to another."""
    return Call("POST", "/v1/explain", ExplainResponse, _body(prompt, completions, options, ExplainOptions))


VERSION_CALL = Call("GET", "/version", VersionResponse)


def _body(prompt: Text, completions: Sequence[Text], options: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    if isinstance(completions, str):
        raise ConfigError("completions must be a list of texts, not one text: put it into a list")
    for name in options:
        check_choice("an option", name, kind.__annotations__)
    body = {"prompt": _plain(prompt), "completions": [_plain(completion) for completion in completions]}
    return body | {name: value for name, value in options.items() if value is not None}


def _plain(text: Text) -> Any:
    return text if isinstance(text, str) else [dict(message) for message in text]


def read_answer(response: httpx2.Response, kind: type[Response]) -> Response:
    """The typed result of an answer that is not to be retried.

    Raises:
        RefusedError: for a 4xx; UnavailableError for 429 and 5xx; ServerError if the body is not what was asked for.
    """
    if response.is_success:
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:5])
            raise ServerError(
                f"{response.url} does not answer as a reward server does (wrong or missing: {fields}); "
                "is it `vrm serve`, and not much older than this client?",
                response.status_code,
            ) from None
    raise failure(response)


def failure(response: httpx2.Response) -> ServerError:
    """The error of an answer that is no success, with the server's own words where it has some."""
    status = response.status_code
    try:
        detail = ErrorResponse.model_validate_json(response.content).error
        message, param = detail.message, detail.param
    except ValidationError:
        message, param = response.reason_phrase or "no reason given", None
    kind = RefusedError if 400 <= status < 500 and status != 429 else UnavailableError
    return kind(f"{response.url}: {status}: {message}", status, param)


Outcome = httpx2.Response | httpx2.RequestError
"""What an attempt ends with."""


class Attempts:
    """The attempts at one call, counted; the clients do the sending and the waiting.

    Args:
        url: of the server, for messages.
        policy: how often, and how long to wait between.
    """

    def __init__(self, url: str, policy: RetryPolicy) -> None:
        self._url, self._policy, self._made = url, policy, 0

    def next_wait(self, outcome: Outcome) -> float | httpx2.Response:
        """Seconds to wait before the next attempt; or the answer, if it is the one to be read.

        Raises:
            UnavailableError: the last attempt got no answer at all.
        """
        self._made += 1
        last = self._made == self._policy.attempts
        if isinstance(outcome, httpx2.Response):
            if last or outcome.status_code not in RETRIED_STATUS:
                return outcome
            return self._policy.wait_before(self._made + 1, _retry_after(outcome))
        if last:
            reason = f"{type(outcome).__name__}: {outcome}".removesuffix(": ")
            raise UnavailableError(
                f"{self._url} does not answer ({reason}; attempts: {self._made}). Is `vrm serve` running there, and "
                "is it ready (GET /ready)?"
            ) from outcome
        return self._policy.wait_before(self._made + 1, None)


def _retry_after(response: httpx2.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


class Connection(Generic[Http, Transport]):
    """What a client is made of; its subclasses send.

    Args:
        url: of the server, without a path.
        token: that the server wants; None reads the environment variable `VRM_SERVER_TOKEN`.
        timeout: seconds for one attempt.
        retries: when to try again; None is `RetryPolicy()`.
        transport: of httpx2, for tests and proxies.

    Raises:
        ConfigError: the URL does not begin with http:// or https://.
    """

    _library: type[Http]

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: RetryPolicy | None = None,
        transport: Transport | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is no URL of a server: it must begin with http:// or https://")
        self.url, self.retries = url.rstrip("/"), retries or RetryPolicy()
        # Waiting for one of the client's own connections to be free does not count as time of an attempt.
        limit = httpx2.Timeout(timeout, pool=None)
        make: Any = self._library
        self._http: Http = make(base_url=self.url, headers=_headers(token), timeout=limit, transport=transport)


def _headers(token: str | None) -> dict[str, str]:
    token = token if token is not None else os.environ.get(TOKEN_VARIABLE)
    return {"Authorization": f"Bearer {token.strip()}"} if token else {}
