"""The two clients: `Client` and `AsyncClient`, for one event loop."""

from __future__ import annotations

from asyncio import sleep as pause
from collections.abc import Sequence
from time import sleep
from typing import Unpack

import httpx2

from vrm.client import calls
from vrm.client.calls import Call, Response, Text
from vrm.wire.schema import ExplainResponse, ScoreResponse, VersionResponse


class Client(calls.Connection[httpx2.Client, httpx2.BaseTransport]):
    """Asks a reward server; safe to share between threads. Close it, or use it as a context manager.

    Arguments are those of `vrm.client.calls.Connection`: `url`, `token`, `timeout`, `retries` and `transport`.
    """

    _library = httpx2.Client

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def score(self, prompt: Text, completions: Sequence[Text], **options: Unpack[calls.ScoreOptions]) -> ScoreResponse:
        """Rewards of the completions of a prompt.

        Args:
            prompt: text or messages.
            completions: texts, or lists of messages.
            **options: kappa, risk, beta, reward_scale, probabilities, emphasis, without and tools; see `ScoreOptions`.

        Raises:
            RefusedError: the request is wrong, or the token; UnavailableError: no answer after all attempts.
        """
        return self.send(calls.score_call(prompt, completions, options))

    def explain(
        self, prompt: Text, completions: Sequence[Text], **options: Unpack[calls.ExplainOptions]
    ) -> ExplainResponse:
        """Why one completion is preferred to another; options of `ExplainOptions`, errors as for `score`."""
        return self.send(calls.explain_call(prompt, completions, options))

    def version(self) -> VersionResponse:
        """What is served: the model, its objectives and limits; errors as for `score`."""
        return self.send(calls.VERSION_CALL)

    def send(self, call: Call[Response]) -> Response:
        """The answer to a call, after as many attempts as the policy allows; errors as for `score`."""
        attempts = calls.Attempts(self.url, self.retries)
        while True:
            outcome: calls.Outcome
            try:
                outcome = self._http.request(call.method, call.path, json=call.body, headers=call.headers)
            except httpx2.RequestError as error:
                outcome = error
            step = attempts.next_wait(outcome)
            if isinstance(step, httpx2.Response):
                return calls.read_answer(step, call.answer)
            sleep(step)


class AsyncClient(calls.Connection[httpx2.AsyncClient, httpx2.AsyncBaseTransport]):
    """Asks a reward server from one event loop. Close it, or use it as an asynchronous context manager.

    Arguments are those of `vrm.client.calls.Connection`: `url`, `token`, `timeout`, `retries` and `transport`.
    """

    _library = httpx2.AsyncClient

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def score(
        self, prompt: Text, completions: Sequence[Text], **options: Unpack[calls.ScoreOptions]
    ) -> ScoreResponse:
        """Rewards of the completions of a prompt; arguments and errors as for `Client.score`."""
        return await self.send(calls.score_call(prompt, completions, options))

    async def explain(
        self, prompt: Text, completions: Sequence[Text], **options: Unpack[calls.ExplainOptions]
    ) -> ExplainResponse:
        """Why one completion is preferred to another; options of `ExplainOptions`, errors as for `score`."""
        return await self.send(calls.explain_call(prompt, completions, options))

    async def version(self) -> VersionResponse:
        """What is served: the model, its objectives and limits; errors as for `score`."""
        return await self.send(calls.VERSION_CALL)

    async def send(self, call: Call[Response]) -> Response:
        """The answer to a call, after as many attempts as the policy allows; errors as for `score`."""
        attempts = calls.Attempts(self.url, self.retries)
        while True:
            outcome: calls.Outcome
            try:
                outcome = await self._http.request(call.method, call.path, json=call.body, headers=call.headers)
            except httpx2.RequestError as error:
                outcome = error
            step = attempts.next_wait(outcome)
            if isinstance(step, httpx2.Response):
                return calls.read_answer(step, call.answer)
            await pause(step)
