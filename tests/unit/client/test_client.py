"""The clients: typed results, retries, loud errors; no server and no waiting."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import httpx2
import pytest

from vrm.client import AsyncClient, Client, RetryPolicy
from vrm.client import calls as calls_module
from vrm.errors import ConfigError, RefusedError, ServerError, UnavailableError, VrmError

SCORE = {
    "model": "tiny",
    "reward_scale": "raw",
    "rewards": [0.5, -0.25],
    "reward_std": [0.1, 0.2],
    "objective_weights": {"safety": 1.0},
    "total_concentration": 3.0,
    "objective_scores": [{"safety": 0.5}, {"safety": -0.25}],
    "probabilities": [[0.5, 0.7], [0.3, 0.5]],
    "truncated": False,
    "tokens": 12,
}
VERSION = {
    "version": "0.1.0",
    "model": "tiny",
    "head": "vrm",
    "objectives": ["safety"],
    "reward_scale": "raw",
    "max_input_tokens": 128,
    "on_overlong": "truncate",
}


def problem(status: int, message: str, param: str | None = None, headers: dict | None = None) -> httpx2.Response:
    body = {"error": {"message": message, "type": "x", "param": param, "code": status}}
    return httpx2.Response(status, json=body, headers=headers)


class Script:
    """A transport's handler that plays answers or exceptions in turn, the last one again and again."""

    def __init__(self, *steps: Any):
        self.steps, self.requests = list(steps), []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        step = self.steps[min(len(self.requests), len(self.steps)) - 1]
        if isinstance(step, Exception):
            raise step
        if isinstance(step, httpx2.Response):  # a response is read once, so every answer is a new one
            return httpx2.Response(step.status_code, headers=step.headers, content=step.content)
        return httpx2.Response(200, json=step)


@pytest.fixture(params=["sync", "async"])
def ask(request, monkeypatch):
    """ask(script, method, *arguments, client options): one call by either client; `ask.waits` are its sleeps."""
    waits: list[float] = []

    async def no_sleep(seconds: float) -> None:
        waits.append(seconds)

    # The clients' own names, not `time.sleep`: other threads of the process sleep too.
    monkeypatch.setattr("vrm.client.clients.sleep", waits.append)
    monkeypatch.setattr("vrm.client.clients.pause", no_sleep)

    def ask(script: Script, method: str, *arguments: Any, options: dict | None = None, **keywords: Any) -> Any:
        transport = httpx2.MockTransport(script)
        if request.param == "sync":
            with Client("http://server", transport=transport, **(options or {})) as client:
                return getattr(client, method)(*arguments, **keywords)

        async def main() -> Any:
            async with AsyncClient("http://server/", transport=transport, **(options or {})) as client:
                return await getattr(client, method)(*arguments, **keywords)

        return asyncio.run(main())

    ask.waits = waits
    return ask


def test_score_sends_what_was_given_and_returns_typed_results(ask):
    script = Script(SCORE)
    result = ask(
        script, "score", "p", ["a", "b"], kappa=1.0, emphasis={"safety": 2}, without=["x"], probabilities=False
    )
    (request,) = script.requests
    assert (request.method, request.url.path) == ("POST", "/v1/score")
    assert json.loads(request.content) == {
        "prompt": "p",
        "completions": ["a", "b"],
        "kappa": 1.0,
        "emphasis": {"safety": 2},
        "without": ["x"],
        "probabilities": False,
    }
    assert result.rewards == [0.5, -0.25]
    assert result.probabilities[0][1] == 0.7
    assert result.pessimistic_rewards is None


def test_messages_are_sent_as_messages(ask):
    script = Script(SCORE)
    ask(script, "score", [{"role": "user", "content": "p"}], [[{"role": "assistant", "content": "a"}]])
    body = json.loads(script.requests[0].content)
    assert body == {
        "prompt": [{"role": "user", "content": "p"}],
        "completions": [[{"role": "assistant", "content": "a"}]],
    }


def test_version(ask):
    script = Script(VERSION)
    assert ask(script, "version").objectives == ["safety"]
    assert script.requests[0].url.path == "/version"


@pytest.mark.parametrize(
    "trouble",
    [
        problem(429, "full"),
        problem(503, "stopping"),
        problem(504, "slow"),
        httpx2.Response(502, text="bad gateway"),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        httpx2.RemoteProtocolError("gone"),
    ],
)
def test_what_may_pass_is_tried_again_with_growing_waits(ask, trouble):
    script = Script(trouble, trouble, trouble, SCORE)
    assert ask(script, "score", "p", ["a"]).tokens == 12
    assert len(script.requests) == 4
    first, second, third = ask.waits
    assert 0.75 * 0.25 <= first <= 1.25 * 0.25
    assert 0.75 * 0.5 <= second <= 1.25 * 0.5
    assert 0.75 * 1.0 <= third <= 1.25 * 1.0


def test_retry_after_is_the_least_wait_up_to_the_longest(ask):
    script = Script(problem(429, "full", headers={"Retry-After": "7"}), SCORE)
    ask(script, "score", "p", ["a"])
    script = Script(problem(429, "full", headers={"Retry-After": "500"}), SCORE)
    ask(script, "score", "p", ["a"], options={"retries": RetryPolicy(longest_wait=9)})
    assert ask.waits == [7.0, 9.0]


def test_the_last_attempt_is_loud(ask):
    policy = {"retries": RetryPolicy(attempts=3)}
    script = Script(problem(429, "the queue is full"))
    with pytest.raises(UnavailableError, match="429: the queue is full") as caught:
        ask(script, "score", "p", ["a"], options=policy)
    assert (caught.value.status, len(script.requests)) == (429, 3)
    script = Script(httpx2.ConnectError("connection refused"))
    with pytest.raises(UnavailableError, match=r"ConnectError: connection refused; attempts: 3\)\. Is `vrm serve` run"):
        ask(script, "score", "p", ["a"], options=policy)
    assert len(script.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 413, 422])
def test_a_refused_request_is_not_sent_again(ask, status):
    script = Script(problem(status, "kappa: must be >= 0", "kappa"))
    with pytest.raises(RefusedError, match=f"{status}: kappa: must be") as caught:
        ask(script, "score", "p", ["a"])
    assert (caught.value.status, caught.value.param, len(script.requests)) == (status, "kappa", 1)
    assert isinstance(caught.value, ValueError)


def test_a_failure_of_the_server_is_not_sent_again(ask):
    script = Script(httpx2.Response(500, text="oh"))
    with pytest.raises(UnavailableError, match="500: Internal Server Error"):
        ask(script, "score", "p", ["a"])
    assert len(script.requests) == 1


@pytest.mark.parametrize("answer", [{"hello": "world"}, httpx2.Response(200, text="<html>")])
def test_an_answer_of_another_program_is_an_error(ask, answer):
    with pytest.raises(ServerError, match="does not answer as a reward server does"):
        ask(Script(answer), "score", "p", ["a"])


def test_a_hash_tells_proxies_which_requests_share_a_prompt(ask):
    script = Script(SCORE)
    for prompt in ("p", "p", "q", [{"role": "user", "content": "p"}], [{"content": "p", "role": "user"}]):
        ask(script, "score", prompt, ["a"])
    text, again, other, messages, reordered = [request.headers["X-Session-ID"] for request in script.requests]
    assert text == again != other
    assert messages == reordered != text


def test_the_token_is_sent(ask, monkeypatch):
    monkeypatch.delenv("VRM_SERVER_TOKEN", raising=False)
    script = Script(SCORE)
    ask(script, "score", "p", ["a"])
    ask(script, "score", "p", ["a"], options={"token": "secret"})
    monkeypatch.setenv("VRM_SERVER_TOKEN", "from-the-environment\n")
    ask(script, "score", "p", ["a"])
    sent = [request.headers.get("Authorization") for request in script.requests]
    assert sent == [None, "Bearer secret", "Bearer from-the-environment"]


def test_one_text_is_not_a_list_of_texts(ask):
    script = Script(SCORE)
    with pytest.raises(ConfigError, match="put it into a list"):
        ask(script, "score", "p", "a")
    assert script.requests == []


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_url_without_scheme_is_an_error(client):
    with pytest.raises(ConfigError, match="must begin with http://"):
        client("localhost:5000")


@pytest.mark.parametrize("fields", [{"attempts": 0}, {"first_wait": -1}, {"longest_wait": -1}])
def test_a_policy_that_makes_no_sense_is_an_error(fields):
    with pytest.raises(ConfigError, match="at least one attempt"):
        RetryPolicy(**fields)


def test_all_errors_are_of_the_tree():
    assert issubclass(ServerError, VrmError)
    assert {429, 502, 503, 504} == calls_module.RETRIED_STATUS


@pytest.mark.parametrize("module", ["vrm.client", "vrm.integrations.verl", "vrm.wire.schema"])
def test_the_client_is_light(module):
    code = (
        f"import sys, {module}, vrm.client; vrm.client.Client if '{module}' != 'vrm.wire.schema' else None\n"
        "found = [name for name in ('torch', 'transformers', 'numpy', 'fastapi') if name in sys.modules]\n"
        "print(found); sys.exit(bool(found))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_without_httpx2_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['httpx2'] = None\n"
        "import vrm.client, vrm.wire.schema\n"
        "try: vrm.client.Client\n"
        "except ImportError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'vrm[client]'" in result.stdout
