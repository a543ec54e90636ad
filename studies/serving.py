"""Throughput and latency of `vrm serve` beside `vrm score`, and beside a server of OpenRLHF's design.

python -m studies.serving [--backbone embedded | decoder | --model DIR] [--json FILE] [--quick]

Sixty-four clients send one query each at a time, as OpenRLHF's rollouts do. Three ways to judge the same texts with the
same model and engine settings, in turn, several times over:

    vrm score   the library on all texts at once, loading apart: what batching could reach
    vrm serve   the server, asked over HTTP
    blocking    a server that judges a request as it comes, one at a time, in its event loop: OpenRLHF's design

Two kinds of texts: every prompt its own, and sixteen completions of each of a few long prompts. The table has the
processor time of each way beside its speed: other work on the machine disturbs that less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import psutil
from fastapi import FastAPI, Request
from studies.serving_inputs import QUICK, Sizes, Text, make_model, make_texts

from vrm.cli.console import quiet_libraries

HOST = "127.0.0.1"
START_LIMIT = 120


@dataclass
class Measured:
    """One way to judge one kind of texts: medians over rounds; latencies of all rounds; all times in milliseconds.

    `processor` is the time of the process that judges and `clients` that of the clients, a text.
    """

    case: str
    way: str
    texts_per_second: float
    processor: float
    clients: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


# The three ways


def score_directly(model: Path) -> Callable[[list[Text]], None]:
    """The library as `vrm score` uses it."""
    from vrm.data.schema import Judgment
    from vrm.inference.engine import RewardEngine
    from vrm.inference.extraction import ExtractionOptions
    from vrm.inference.score import Scorer, ScoringRow

    engine = RewardEngine.from_pretrained(model, options=ExtractionOptions(precision="float32"))

    def run(texts: list[Text]) -> None:
        rows = (ScoringRow(0, {}, Judgment(text.prompt, [text.completion])) for text in texts)
        assert sum(map(len, Scorer(engine).stream(rows))) == len(texts)

    return run


def serve_blocking(model: str, port: int) -> None:
    """A server of OpenRLHF's design: the handler judges its request alone, and nothing else runs meanwhile."""
    import uvicorn

    from vrm.data.formatted import FormattedTokenizer
    from vrm.inference.engine import RewardEngine
    from vrm.inference.extraction import ExtractionOptions

    engine = RewardEngine.from_pretrained(model, options=ExtractionOptions(precision="float32"))
    tokenizer = FormattedTokenizer(engine.tokenizer, wrap_text=engine.model.config.conversational)
    app = FastAPI()

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/get_reward")
    async def get_reward(request: Request) -> dict[str, list[float]]:
        body = await request.json()
        rewards = []
        for query, prompt in zip(body["query"], body["prompts"], strict=True):
            tokenized = engine.tokenize.fit(tokenizer.tokenize(query, prompt))
            rewards.append(float(engine.judge_tokenized([tokenized]).moments.mean[0, 0]))
        return {"rewards": rewards, "scores": rewards}

    uvicorn.run(app, host=HOST, port=port, log_level="warning")


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def processor_seconds(self) -> float:
        """Processor time that it has taken so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def wait(self) -> None:
        """Return when it answers; end the program with its log if it never will."""
        limit = time.monotonic() + START_LIMIT
        while not _is_ready(self.url):
            if self.process.poll() is not None or time.monotonic() > limit:
                raise SystemExit(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.1)


@contextmanager
def server(command: list[str], log: Path) -> Iterator[Server]:
    """A server that begins to start."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    with log.open("w") as file:
        arguments = [sys.executable, *command, "--port", str(port)]
        process = subprocess.Popen(arguments, stdout=file, stderr=file, cwd=Path(__file__).parents[1])
    try:
        yield Server(f"http://{HOST}:{port}", process, log)
    finally:
        process.terminate()
        process.wait(timeout=START_LIMIT)


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(url + "/ready").status_code == 200
    except httpx2.TransportError:
        return False


async def ask_all(url: str, texts: list[Text], clients: int) -> list[float]:
    """Every text once, one a request and one at a time for each client; seconds of each request."""
    seconds: list[float] = []
    waiting = iter(texts)

    async def client() -> None:
        async with connected(url) as ask:
            for text in waiting:
                body = {"query": [text.prompt + text.completion], "prompts": [text.prompt], "labels": [None]}
                start = time.perf_counter()
                status, answer = await ask("/get_reward", json.dumps(body).encode())
                if status != 200:
                    raise SystemExit(f"{url} answers {status}: {answer.decode()}")
                assert len(json.loads(answer)["rewards"]) == 1
                seconds.append(time.perf_counter() - start)

    await asyncio.gather(*(client() for _ in range(clients)))
    assert len(seconds) == len(texts)
    return seconds


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Callable[[str, bytes], Awaitable[tuple[int, bytes]]]]:
    """A connection that is kept: `ask(path, body)` posts JSON and gives status and body of the answer.

    Written out, since what a client library does would be taken from the cores that the server shares.
    """
    host = url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))

    async def ask(path: str, body: bytes) -> tuple[int, bytes]:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        lengths = [field.split(":")[1] for field in fields if field.lower().startswith("content-length:")]
        return int(status.split()[1]), await reader.readexactly(int(lengths[0]))

    try:
        yield ask
    finally:
        writer.close()
        await writer.wait_closed()


# Measuring


def measure(model: Path, cases: dict[str, list[Text]], sizes: Sizes, logs: Path) -> list[Measured]:
    """All ways on all cases, in turn within a round, so that whatever else the machine does falls on all of them."""
    runs: dict[tuple[str, str], list[Run]] = {}
    serve = ["-m", "vrm.cli.main", "serve", str(model), "--device", "cpu", "--log-level", "warning"]
    blocking = ["-m", "studies.serving", "--blocking-server", str(model)]
    with server(serve, logs / "serve.log") as batched, server(blocking, logs / "blocking.log") as one_by_one:
        directly = score_directly(model)
        batched.wait()
        one_by_one.wait()
        ways = {"vrm score": None, "vrm serve": batched, "blocking": one_by_one}
        for case, texts in cases.items():
            for asked in ways.values():  # to warm up
                _once(asked, texts[: sizes.clients], sizes, directly)
            for _ in range(sizes.rounds):
                for way, asked in ways.items():
                    runs.setdefault((case, way), []).append(_once(asked, texts, sizes, directly))
    return [_summary(*key, found) for key, found in runs.items()]


@dataclass(frozen=True)
class Run:
    """All texts once: texts a second, milliseconds of processor time a text, and seconds of each request."""

    rate: float
    processor: float
    clients: float | None
    seconds: list[float]


def _once(asked: Server | None, texts: list[Text], sizes: Sizes, directly: Callable[[list[Text]], None]) -> Run:
    start, here, there = time.perf_counter(), time.process_time(), asked.processor_seconds() if asked else 0.0
    seconds: list[float] = []
    if asked:
        seconds = asyncio.run(ask_all(asked.url, texts, sizes.clients))
    else:
        directly(texts)
    rate = len(texts) / (time.perf_counter() - start)
    own = 1e3 * (time.process_time() - here) / len(texts)
    if not asked:
        return Run(rate, own, None, seconds)
    return Run(rate, 1e3 * (asked.processor_seconds() - there) / len(texts), own, seconds)


def _summary(case: str, way: str, runs: list[Run]) -> Measured:
    clients = [run.clients for run in runs if run.clients is not None]
    measured = Measured(
        case,
        way,
        statistics.median(run.rate for run in runs),
        statistics.median(run.processor for run in runs),
        statistics.median(clients) if clients else None,
    )
    seconds = [value for run in runs for value in run.seconds]
    if len(seconds) > 1:
        cuts = statistics.quantiles((1e3 * value for value in seconds), n=100, method="inclusive")
        measured.p50, measured.p90, measured.p99 = cuts[49], cuts[89], cuts[98]
    return measured


def ratios(measured: list[Measured]) -> dict[str, dict[str, float]]:
    """{case: throughput of `vrm serve` against `vrm score` and against the blocking server}."""
    rate = {(row.case, row.way): row.texts_per_second for row in measured}
    return {
        case: {way: rate[case, "vrm serve"] / rate[case, way] for way in ("vrm score", "blocking")}
        for case in dict.fromkeys(row.case for row in measured)
    }


def table(measured: list[Measured]) -> str:
    """A Markdown table."""
    times_faster = ratios(measured)
    lines = [
        "| texts | way | texts/s | serve / this | processor, ms a text | clients' | p50 ms | p90 ms | p99 ms |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in measured:
        ratio = times_faster[row.case].get(row.way)
        cells = [
            row.case,
            row.way,
            f"{row.texts_per_second:.1f}",
            "" if ratio is None else f"{ratio:.2f}",
            f"{row.processor:.1f}",
            "" if row.clients is None else f"{row.clients:.1f}",
            *("" if value is None else f"{value:.0f}" for value in (row.p50, row.p90, row.p99)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, and write everything as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=["embedded", "decoder"], default="embedded")
    parser.add_argument("--model", type=Path, help="a model directory, in place of a new model with a random head")
    parser.add_argument("--rounds", type=int, help="of each way on each kind of texts; default: 3")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a toy size, to see that everything works")
    parser.add_argument("--blocking-server", metavar="MODEL", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.blocking_server:
        serve_blocking(arguments.blocking_server, arguments.port)
        return
    quiet_libraries()
    # Stopped from outside, it still ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sizes = QUICK if arguments.quick else Sizes()
    sizes = replace(sizes, rounds=arguments.rounds or sizes.rounds)
    cases = make_texts(sizes)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        model = (
            arguments.model.resolve()
            if arguments.model
            else make_model(arguments.backbone, directory, [*cases["own prompts"]])
        )
        measured = measure(model, cases, sizes, directory)
    print(table(measured))
    if arguments.json:
        document: dict[str, Any] = {
            "backbone": str(arguments.model or arguments.backbone),
            "cores": os.cpu_count(),
            "sizes": asdict(sizes),
            "measured": [asdict(row) for row in measured],
            "ratios": ratios(measured),
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
