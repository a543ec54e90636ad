"""The synchronous client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import sleep
from types import TracebackType
from typing import Any

import httpx2

from vrm.client.calls import (
    DEFAULT_TIMEOUT,
    DEFAULT_URL,
    Attempts,
    Call,
    Outcome,
    Response,
    RetryPolicy,
    Text,
    attempt_timeout,
    base_headers,
    checked_url,
    judgment_body,
    read_answer,
)
from vrm.wire.schema import ExplainResponse, ScoreResponse, VersionResponse


class Client:
    """Asks a reward server; safe to share between threads. Close it, or use it as a context manager.

    Args:
        url: of the server, without a path.
        token: that the server wants; None reads the environment variable `VRM_SERVER_TOKEN`.
        timeout: seconds for one attempt.
        retries: when to try again; None is `RetryPolicy()`.
        transport: of httpx2, for tests and proxies.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: RetryPolicy | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url, self.retries = checked_url(url), retries or RetryPolicy()
        self._http = httpx2.Client(
            base_url=self.url, headers=base_headers(token), timeout=attempt_timeout(timeout), transport=transport
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def score(
        self,
        prompt: Text,
        completions: Sequence[Text],
        *,
        kappa: float | None = None,
        reward_scale: str | None = None,
        probabilities: bool = True,
        emphasis: Mapping[str, float] | None = None,
        without: Sequence[str] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> ScoreResponse:
        """Rewards of the completions of a prompt.

        Args:
            prompt: text or messages.
            completions: texts, or lists of messages.
            kappa: >= 0, adds pessimistic rewards.
            reward_scale: `raw` or `standardized`; None: as the model is set.
            probabilities: whether to ask for them; their cost grows with the square of the completions.
            emphasis: {objective: count >= 0}, steering.
            without: objectives left out, steering.
            tools: tool definitions for the model's chat template.

        Raises:
            RefusedError: the request is wrong, or the token; UnavailableError: no answer after all attempts.
        """
        body = judgment_body(
            prompt,
            completions,
            kappa=kappa,
            reward_scale=reward_scale,
            probabilities=None if probabilities else False,
            emphasis=emphasis,
            without=without,
            tools=tools,
        )
        return self._send(Call("POST", "/v1/score", body), ScoreResponse)

    def explain(
        self,
        prompt: Text,
        completions: Sequence[Text],
        *,
        emphasis: Mapping[str, float] | None = None,
        without: Sequence[str] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> ExplainResponse:
        """Why one completion is preferred to another; arguments and errors as for `score`."""
        body = judgment_body(prompt, completions, emphasis=emphasis, without=without, tools=tools)
        return self._send(Call("POST", "/v1/explain", body), ExplainResponse)

    def version(self) -> VersionResponse:
        """What is served: the model, its objectives and limits; errors as for `score`."""
        return self._send(Call("GET", "/version"), VersionResponse)

    def _send(self, call: Call, kind: type[Response]) -> Response:
        attempts = Attempts(self.url, self.retries)
        while True:
            outcome: Outcome
            try:
                outcome = self._http.request(call.method, call.path, json=call.body)
            except httpx2.RequestError as error:
                outcome = error
            step = attempts.next_wait(outcome)
            if isinstance(step, httpx2.Response):
                return read_answer(step, kind)
            sleep(step)
