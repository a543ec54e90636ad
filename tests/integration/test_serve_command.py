"""`vrm serve` as a process: where it listens, what it answers and logs, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from vrm.cli.main import main
from vrm.client import Client
from vrm.errors import RefusedError

SECRET = "verysecretsentence"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@contextmanager
def process(directory: Path, log: Path, *options: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A running server and its URL, read off its own words."""
    command = [sys.executable, "-m", "vrm.cli.main", "serve", str(directory), "--port", "0", "--device", "cpu"]
    with log.open("w") as file:
        server = subprocess.Popen([*command, *options], stderr=file, stdout=file)
    try:
        limit = time.monotonic() + 90
        while not (found := re.search(r"serving \S+ on (\S+)", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < limit, log.read_text()
            time.sleep(0.05)
        assert httpx2.get(f"{found[1]}/ready").status_code == 200  # it says so once requests are taken
        yield server, found[1]
    finally:
        server.kill()
        server.wait()


def metric(url: str, name: str) -> float:
    lines = httpx2.get(url + "/metrics").text.splitlines()
    return float(next((line.rpartition(" ")[2] for line in lines if line.startswith(name + " ")), "0"))


def vanish(url: str, body: dict[str, Any]) -> None:
    """Send a request and close the connection without waiting for the answer."""
    host, port = url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    head = f"POST /v1/score HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)


def test_a_server_from_its_start_to_its_end(tiny_decoder_dir, tmp_path):
    """One process for everything that needs one: starting it is what takes the time."""
    log, rows, output = tmp_path / "log.txt", tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    texts = [f"{SECRET} number {index}" for index in range(20)]
    rows.write_text("".join(json.dumps({"prompt": "how do i plan", "completion": text}) + "\n" for text in texts))
    assert run("score", tiny_decoder_dir, rows, "-o", output, "--device", "cpu") == 0
    expected = [json.loads(line)["rewards"][0] for line in output.read_text().splitlines()]

    with process(tiny_decoder_dir, log, "--queue-delay", "400") as (server, url), Client(url) as client:
        assert url.startswith("http://127.0.0.1:")
        assert client.version().model == "/".join(tiny_decoder_dir.parts[-2:])

        # Clients that vanish cost the model nothing, and the others get their own answers.
        def score(text: str) -> float:
            return client.score("how do i plan", [text]).rewards[0]

        with ThreadPoolExecutor(20) as pool:
            answers = [pool.submit(score, text) for text in texts]
            for index in range(5):
                vanish(url, {"prompt": "gone", "completions": [f"{SECRET} {index}"]})
            assert [answer.result() for answer in answers] == pytest.approx(expected, abs=1e-5)
        limit = time.monotonic() + 10
        while metric(url, 'vrm_dropped_total{reason="client_gone"}') < 5 and time.monotonic() < limit:
            time.sleep(0.05)
        assert metric(url, 'vrm_dropped_total{reason="client_gone"}') == 5
        assert metric(url, "vrm_texts_total") == len(texts)
        assert metric(url, "vrm_batch_texts_count") < 10

        with pytest.raises(RefusedError, match="kappa"):
            client.score(SECRET, [SECRET], kappa=-1)

        # What was accepted is answered after the signal.
        with ThreadPoolExecutor(20) as pool:
            answers = [pool.submit(score, text) for text in texts]
            limit = time.monotonic() + 10
            while metric(url, "vrm_pending_requests") < len(texts) and time.monotonic() < limit:
                pass
            server.send_signal(signal.SIGTERM)
            assert [answer.result() for answer in answers] == pytest.approx(expected, abs=1e-5)
        assert server.wait(timeout=30) == 0
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(url + "/health")

    written = log.read_text()
    assert "stopped; everything that was accepted has been answered" in written
    assert len(re.findall(r"POST /v1/score 200", written)) == 2 * len(texts)
    assert "POST /v1/score 422" in written
    assert SECRET not in written
    assert "Traceback" not in written


def test_a_client_that_sends_half_a_body_holds_nobody_up(serve, tiny_model_dir):
    with serve(tiny_model_dir) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            with Client(server.url) as client:
                assert len(client.score("how", ["a"]).rewards) == 1
        assert metric(server.url, "vrm_pending_requests") == 0


# Arguments


@pytest.fixture
def started(monkeypatch):
    """What `vrm serve` would have served: the service and its socket's address."""
    found: list[tuple[Any, tuple[str, int]]] = []

    def keep(service, bound, log_level, when_ready):
        found.append((service, bound.getsockname()[:2]))
        bound.close()
        print("requests are taken from here on", file=sys.stderr)
        when_ready()
        return True

    monkeypatch.setattr("vrm.serve.run.serve_forever", keep)
    monkeypatch.delenv("VRM_SERVER_TOKEN", raising=False)
    return found


def test_options_reach_the_server(tiny_model_dir, started, capsys):
    options = {
        "--queue-delay": 2,
        "--token-budget": 100,
        "--max-queue": 50,
        "--timeout": 3,
        "--max-body": 1000,
        "--max-texts": 5,
        "--max-characters": 60,
        "--name": "mine",
        "--on-overlong": "error",
        "--root-path": "/reward/",
        "--cors-origin": "https://example.org",
        "--allowed-host": "reward.example.org",
    }
    assert run("serve", tiny_model_dir, "--port", 0, *(part for pair in options.items() for part in pair)) == 0
    ((service, (host, port)),) = started
    settings = service.settings
    assert (host, port > 0) == ("127.0.0.1", True)
    assert (settings.queue_delay, settings.batch_tokens, settings.max_queue_texts) == (0.002, 100, 50)
    assert (settings.request_timeout, settings.max_body_bytes, settings.max_texts) == (3, 1000, 5)
    assert (settings.max_characters, settings.name, settings.token) == (60, "mine", None)
    assert (settings.root_path, settings.cors_origins) == ("/reward", ("https://example.org",))
    assert settings.host_patterns == ("reward.example.org",)
    assert (service.engine.options.token_budget, service.engine.tokenize.on_overlong) == (100, "error")
    told = capsys.readouterr().err
    assert "warning" not in told
    _, taken, later = told.partition("requests are taken")
    assert taken
    assert f"serving mine on http://127.0.0.1:{port}/reward (" in later


def test_the_token_is_read_from_a_file_or_the_environment(tiny_model_dir, started, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("from-the-file\n")
    monkeypatch.setenv("VRM_SERVER_TOKEN", "from-the-environment")
    assert run("serve", tiny_model_dir, "--port", 0) == 0
    assert run("serve", tiny_model_dir, "--port", 0, "--token-file", file) == 0
    assert [service.settings.token for service, _ in started] == ["from-the-environment", "from-the-file"]


def test_an_open_address_without_a_token_is_warned_of(tiny_model_dir, started, capsys, monkeypatch):
    assert run("serve", tiny_model_dir, "--port", 0, "--host", "0.0.0.0") == 0
    told = capsys.readouterr().err
    assert "0.0.0.0 may be reached from elsewhere, and no token is asked for" in told
    assert f"under these names: localhost, {socket.gethostname().lower()}; see --allowed-host" in told
    monkeypatch.setenv("VRM_SERVER_TOKEN", "secret")
    assert run("serve", tiny_model_dir, "--port", 0, "--host", "0.0.0.0") == 0
    assert [service.settings.host_patterns for service, _ in started] == [(socket.gethostname().lower(),), ("*",)]
    assert "warning" not in capsys.readouterr().err


def test_what_cannot_be_is_said_before_the_model_is_loaded(tiny_model_dir, started, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("serve", tiny_model_dir, "--port", port) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert run("serve", tiny_model_dir, "--port", 0, "--token-file", empty) == 1
    assert "is empty: a token is needed" in capsys.readouterr().err
    assert run("serve", tmp_path / "nothing", "--port", 0) == 1
    assert "there is no such directory" in capsys.readouterr().err
    assert run("serve", tiny_model_dir, "--port", 0, "--max-texts", 10, "--max-queue", 5) == 1
    assert "must not exceed max_queue_texts" in capsys.readouterr().err
    assert run("serve", tiny_model_dir, "--root-path", "reward") == 1
    assert "root_path: 'reward' is no prefix of a path" in capsys.readouterr().err
    assert run("serve", tiny_model_dir, "--cors-origin", "https://a.example", "--cors-origin", "b.example") == 1
    assert "cors_origins: 'b.example' is no origin" in capsys.readouterr().err
    assert run("serve", tiny_model_dir, "--allowed-host", "a.example:80") == 1
    assert "allowed_hosts: 'a.example:80' is no name of a host" in capsys.readouterr().err
    assert started == []


def test_without_the_extra_it_says_what_to_install(tiny_model_dir, started, monkeypatch, capsys):
    monkeypatch.setattr("vrm.cli.checks.find_spec", lambda name: None)
    assert run("serve", tiny_model_dir) == 1
    assert "pip install 'vrm[serve]'" in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--port", "70000"), ("--on-overlong", "drop"), ("--log-level", "loud")])
def test_wrong_arguments_are_usage_errors(tiny_model_dir, options):
    assert run("serve", tiny_model_dir, *options) == 2
