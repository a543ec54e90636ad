"""A tiny random model, the server as a process of its own, and what it says of itself."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from studies.drills.tiny import write_decoder

HOST = "127.0.0.1"
PLANTED = "plantedzebra"
"""A word that stands in every text and header of the drill, and may stand in no log and no metric."""

WORDS = (
    "how",
    "plan",
    "good",
    "day",
    "with",
    "water",
    "sleep",
    "please",
    "help",
    "doctor",
    "no",
    "yes",
    "long",
    "safe",
)
START_LIMIT = 120
END_LIMIT = 60


def make_model(directory: Path) -> Path:
    """A saved reward model on a random Qwen3 of two layers and width 32, whose rewards tell texts apart."""
    from vrm.data.chat import describe_prompts, ensure_chat_template
    from vrm.model import VRMForSequenceClassification, save_model

    backbone = directory / "backbone"
    tokenizer = write_decoder(backbone, [" ".join(WORDS)] * 4, width=32, inner=64, positions=1024)
    ensure_chat_template(tokenizer, "decoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VRMForSequenceClassification.from_backbone(
            str(backbone),
            head="vrm",
            objectives=["helpfulness", "safety", "brevity"],
            num_features=6,
            max_input_tokens=1024,
            **describe_prompts(tokenizer),
        )
        with torch.no_grad():
            for name, weights in model.score.named_parameters():
                if name.endswith("weight") and weights.dim() == 2:
                    weights.mul_(5.0)
    save_model(model, tokenizer, directory / "model")
    return directory / "model"


@dataclass
class Served:
    """A running server.

    Attributes:
        port: on 127.0.0.1.
        pid: of its process.
        log: all that it has printed.
        status: of its end, negative for a signal; None while it runs.
        seconds: of processor time, known at its end.
    """

    port: int
    pid: int
    log: Path
    status: int | None = None
    seconds: float = 0.0

    @property
    def memory(self) -> float:
        """Resident MiB."""
        return psutil.Process(self.pid).memory_info().rss / 2**20

    def terminate(self) -> None:
        """Send SIGTERM, as an orchestrator does."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, limit: float = END_LIMIT) -> int | None:
        """The exit status; None if it has not ended within so many seconds."""
        end = time.monotonic() + limit
        while self.status is None and time.monotonic() < end:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                self.seconds = usage.ru_utime + usage.ru_stime
            else:
                time.sleep(0.01)
        return self.status

    def ask(self, path: str, token: str | None = None) -> str:
        """The answer to a GET, head and body."""
        bearer = "" if token is None else f"Authorization: Bearer {token}\r\n"
        with socket.create_connection((HOST, self.port), timeout=END_LIMIT) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{bearer}Connection: close\r\n\r\n".encode())
            with connection.makefile("rb") as answer:
                return answer.read().decode()

    def metric(self, name: str, token: str | None = None) -> float:
        """The value of a metric by its name with labels; 0 where there is none."""
        found = re.search(rf"^{re.escape(name)} (\S+)", self.ask("/metrics", token), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def planted_words(self, token: str | None = None) -> tuple[int, int]:
        """How often the planted word stands in log and metrics, and how many bytes were searched."""
        text = self.log.read_text(errors="replace") + self.ask("/metrics", token)
        return text.lower().count(PLANTED), len(text)


@contextmanager
def served(model: Path, log: Path, options: Sequence[object] = ()) -> Iterator[Served]:
    """`vrm serve` in a fork of this process, which has imported what it needs; killed at the end if it runs still."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    arguments = ["serve", str(model), "--port", str(port), "--device", "cpu", "--threads", "1", *map(str, options)]
    sys.stdout.flush()
    sys.stderr.flush()
    log.parent.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        os._exit(_serve(arguments, log))
    server = Served(port, pid, log)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        if server.status is None:
            server.terminate()
        if server.wait() is None:
            os.kill(pid, signal.SIGKILL)
            server.wait()


def _serve(arguments: list[str], log: Path) -> int:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout = sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    os.environ.pop("VRM_SERVER_TOKEN", None)
    from vrm.cli.main import main

    try:
        main(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BaseException:
        traceback.print_exc()
        return 70
    finally:
        sys.stderr.flush()
    return 0


def _wait_until_ready(server: Served) -> None:
    limit = time.monotonic() + START_LIMIT
    while True:
        if server.wait(0.02) is not None or time.monotonic() > limit:
            raise RuntimeError(f"the server did not start: {server.log.read_text()[-2000:]}")
        try:
            if " 200 " in server.ask("/ready").partition("\r\n")[0]:
                return
        except OSError:
            time.sleep(0.05)
