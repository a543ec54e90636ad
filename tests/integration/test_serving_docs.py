"""What docs/serving.md shows works: its requests, its Python, and the defaults that it names."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import httpx2
import pytest

from vrm.cli.serve import serve as command
from vrm.serve.settings import ServeSettings

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
URL = "http://127.0.0.1:5000"
REQUESTS = re.findall(rf"curl -sS {URL}(\S+) -H 'Content-Type: application/json' -d '(.*?)'\n", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def server(serve, tiny_model_dir):
    with serve(tiny_model_dir) as server:
        yield server


def test_requests(server):
    assert [path for path, _ in REQUESTS] == ["/v1/score", "/v1/explain"]
    for path, body in REQUESTS:
        answer = httpx2.post(server.url + path, json=json.loads(body))
        assert answer.status_code == 200, answer.text


def test_python(server, capsys):
    (snippet,) = (code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "import Client" in code)
    exec(snippet.replace(URL, server.url), {})
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_routes_exist(server):
    routes = httpx2.get(server.url + "/openapi.json").json()["paths"]
    named = set(re.findall(r"`(?:POST )?(/[a-z_/0-9]+)[`?]", PAGE)) | set(re.findall(rf"{URL}(/[a-z_/0-9]+)", PAGE))
    assert named >= {"/v1/score", "/v1/explain", "/get_reward", "/slime/reward", "/classify", "/pooling", "/score"}
    assert named - set(routes) <= {"/docs", "/explore", "/openapi.json"}
    assert all(httpx2.get(server.url + page, follow_redirects=True).is_success for page in ("/docs", "/explore"))


def test_metrics_exist(server):
    exported = httpx2.get(server.url + "/metrics").text
    named = set(re.findall(r"`(vrm_[a-z_]+)", PAGE))
    assert len(named) >= 10
    assert [name for name in named if name.removesuffix("_total") not in exported] == []


def test_defaults():
    settings, options = ServeSettings(), inspect.signature(command).parameters
    named = {
        "max-queue": (f"{settings.max_queue_texts:,} completions", "max_queue", settings.max_queue_texts),
        "timeout": (f"{settings.request_timeout:g} s", "timeout", settings.request_timeout),
        "max-body": ("4 MiB", "max_body", settings.max_body_bytes),
        "max-texts": (f"{settings.max_texts} completions", "max_texts", settings.max_texts),
        "max-characters": (f"{settings.max_characters:,} of", "max_characters", settings.max_characters),
        "token-budget": (f"{settings.batch_tokens:,} |", "token_budget", settings.batch_tokens),
        "queue-delay": (f"{1e3 * settings.queue_delay:g} ms", "queue_delay", 1e3 * settings.queue_delay),
    }
    assert settings.max_body_bytes == 4 * 1024 * 1024
    for option, (words, parameter, value) in named.items():
        assert re.search(rf"`--{option}` \| {re.escape(words)}", PAGE), option
        assert options[parameter].default == value, option
    assert f"fewer completions ({settings.max_explained})" in PAGE
