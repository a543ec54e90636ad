"""Many clients at once, some of whom misbehave; and ten times as many requests as the server can answer."""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from studies.drills.outcome import Outcome
from studies.drills.server_parts.serving import PLANTED, Served, served
from studies.drills.server_parts.shapes import Reference, Shape, is_right
from studies.drills.server_parts.wire import Answer, Connection, request

MOST_BYTES = 1 << 16
MISBEHAVING = ("cancelled", "slow", "oversized", "malformed")
"""What one request in a hundred is, each."""

BROKEN = (
    b'{"prompt": "%s", "completions": [' % PLANTED.encode(),
    b'{"prompt": 1, "completions": "%s"}' % PLANTED.encode(),
    b'{"prompt": "\xff%s", "completions": ["a"]}' % PLANTED.encode(),
    b'{"prompt": "a", "%s": 1, "completions": ["a"]}' % PLANTED.encode(),
    b"[" * 50_000,
    b"",
)


@dataclass
class Counts:
    """What became of requests.

    Attributes:
        sent: of each kind.
        wrong: answered otherwise than promised, of each kind.
        lost: of the ordinary and slow ones, not answered at all.
        seconds: from request to answer of the ordinary ones.
        words: the first wrong answers.
    """

    sent: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    seconds: list[float] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def judge(self, kind: str, shape: Shape, answer: Answer, expected: Sequence[float]) -> None:
        """Count the answer to a request that wants rewards."""
        if answer.status == 0:
            self.lost += 1
        elif answer.status != 200 or not is_right(shape, answer.json(), expected):
            self.note(kind, f"{shape.path}: {answer.status} {answer.body[:200]!r}")

    def note(self, kind: str, words: str) -> None:
        """Count an answer that should have been another."""
        self.wrong[kind] += 1
        self.words.append(f"{kind}: {words}")


def kind_of(number: int) -> str:
    """One in a hundred is of each misbehaving kind."""
    return MISBEHAVING[number % 100 // 25] if number % 25 == 7 else "ordinary"


async def ask_all(
    port: int, shapes: Sequence[Shape], expected: Sequence[Sequence[float]], clients: int, draw: random.Random
) -> Counts:
    """Every request once, by so many clients, each on a connection of its own and with one request at a time."""
    counts = Counts()
    waiting = iter(range(len(shapes)))

    async def client() -> None:
        connection = Connection(port)
        for number in waiting:
            await ask(connection, number, shapes[number], expected[number], counts, draw)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return counts


async def ask(
    connection: Connection,
    number: int,
    shape: Shape,
    expected: Sequence[float],
    counts: Counts,
    draw: random.Random,
) -> None:
    """Send a request of the kind that its number has, and count what becomes of it."""
    kind = kind_of(number)
    counts.sent[kind] += 1
    whole = request(shape.path, shape.content)
    if kind == "cancelled":
        await connection.send(whole)
        await asyncio.sleep(draw.uniform(0, 0.05))
        connection.close()
    elif kind == "slow":
        cuts = sorted(draw.sample(range(1, len(whole)), 8))
        pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        counts.judge(kind, shape, await connection.ask(*pieces, pause=0.25), expected)
    elif kind == "oversized":
        content = shape.content + b" " * MOST_BYTES
        answer = await connection.ask(request(shape.path, content, chunked=number % 8 == 7))
        if answer.status != 413:
            counts.note(kind, f"{answer.status}")
    elif kind == "malformed":
        answer = await connection.ask(request(shape.path, BROKEN[number // 100 % len(BROKEN)]))
        if answer.status not in (400, 422):
            counts.note(kind, f"{answer.status} {answer.body[:200]!r}")
    else:
        start = time.monotonic()
        answer = await connection.ask(whole)
        counts.seconds.append(time.monotonic() - start)
        counts.judge(kind, shape, answer, expected)


def percentiles(seconds: Sequence[float]) -> str:
    """Median, 90th and 99th percentile in ms."""
    cuts = statistics.quantiles(seconds, n=100)
    return ", ".join(f"p{place} {1e3 * cuts[place - 1]:,.0f}" for place in (50, 90, 99)) + " ms"


async def _pending_in_the_end(server: Served) -> float:
    for _ in range(100):
        pending = await asyncio.to_thread(server.metric, "vrm_pending_texts")
        if not pending:
            break
        await asyncio.sleep(0.1)
    return pending


@dataclass
class Round:
    """What a round found, as it is kept.

    Attributes:
        sent, wrong: by kind.
        lost: requests.
        seconds: of each ordinary request.
        wall: seconds of all of them.
        processor: seconds of the server.
        pending: texts in the end.
        texts, batches: that the model had.
        words, searched: planted words, and bytes of log and metrics.
    """

    sent: dict[str, int]
    wrong: dict[str, int]
    lost: int
    seconds: list[float]
    wall: float
    processor: float
    pending: float
    texts: float
    batches: float
    words: int
    searched: int


def one_round(reference: Reference, model: Path, log: Path, numbers: range, clients: int, seed: int) -> Round:
    """The requests of these numbers, by all clients, against a server of their own."""
    draw = random.Random(f"{seed} {numbers}")
    shapes = [reference.shape(number, draw) for number in numbers]
    expected = reference.rewards(shapes)
    with served(model, log, ("--max-body", MOST_BYTES)) as server:
        start = time.monotonic()
        counts = asyncio.run(ask_all(server.port, shapes, expected, clients, draw))
        wall = time.monotonic() - start
        pending = asyncio.run(_pending_in_the_end(server))
        words, searched = server.planted_words()
        texts, batches = server.metric("vrm_texts_total"), server.metric("vrm_batch_texts_count")
    for line in counts.words[:5]:
        print(line)
    found = (dict(counts.sent), dict(counts.wrong), counts.lost, counts.seconds)
    return Round(*found, wall, server.seconds, pending, texts, batches, words, searched)


def run(model: Path, work: Path, seed: int, quick: bool) -> list[Outcome]:
    """10,000 requests of 256 clients, in rounds, of which those that are kept are not done again."""
    size, count, clients = (400, 1, 16) if quick else (2_500, 4, 256)
    rounds, reference = [], None
    for number in range(count):
        kept = work / f"load-{number}.json"
        if not kept.exists():
            reference = reference or Reference(model)
            numbers = range(number * size, (number + 1) * size)
            found = one_round(reference, model, work / f"load-{number}.log", numbers, clients, seed)
            kept.write_text(json.dumps(asdict(found)))
        rounds.append(Round(**json.loads(kept.read_text())))
        print(f"load, round {number + 1} of {count}: {rounds[-1].wall:.0f} s", file=sys.stderr)
    explained = [value for number in range(count) for value in _explained(work / f"load-{number}.log")]
    return list(_outcomes(rounds, clients, percentiles(explained)))


def _explained(log: Path) -> list[float]:
    """Seconds of the explanations, by the server's log: they have a thread of their own, and take longer."""
    return [float(found) / 1e3 for found in re.findall(r" POST /v1/explain 200 (\S+) ms", log.read_text())]


def _outcomes(rounds: Sequence[Round], clients: int, explained: str) -> Iterator[Outcome]:
    sent, wrong = Counter[str](), Counter[str]()
    for each in rounds:
        sent.update(each.sent)
        wrong.update(each.wrong)
    seconds = [value for each in rounds for value in each.seconds]
    pending = sum(each.pending for each in rounds)
    rate = sent.total() / sum(each.wall for each in rounds)
    batch = sum(each.texts for each in rounds) / max(sum(each.batches for each in rounds), 1)
    processor = 1e3 * sum(each.processor for each in rounds) / sent.total()
    notes = {
        "ordinary": f"{clients} clients, seven routes; {percentiles(seconds)}; "
        f"explanations among them {explained}; {rate:,.0f} a second, "
        f"{batch:,.0f} texts a batch; {processor:.1f} ms of the server's processor a request",
        "cancelled": f"{pending:.0f} texts pending in the end",
        "slow": "nine pieces in two seconds, answered",
        "oversized": "413",
        "malformed": "400 or 422",
    }
    lost = sum(each.lost for each in rounds)
    for kind, note in notes.items():
        faults = wrong[kind] + (int(pending) if kind == "cancelled" else 0)
        yield Outcome(f"requests, {kind}", sent[kind], faults, lost if kind == "ordinary" else 0, note)
    words, searched = (sum(values) for values in zip(*((each.words, each.searched) for each in rounds), strict=True))
    yield Outcome("planted words in log and metrics, load", len(rounds), words, 0, f"{searched:,} bytes")
