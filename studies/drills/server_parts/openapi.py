"""Requests that schemathesis makes of the OpenAPI document, right and wrong ones: no 5xx, and errors of one form."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from studies.drills.outcome import Outcome

from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.serve.app import create_app
from vrm.serve.browsing import Browsed, summaries_of
from vrm.serve.explorer import Explored
from vrm.serve.service import Service
from vrm.serve.settings import ServeSettings

CASES = 20_000
"""Requests that must differ; rounds under seed after seed go on until there are so many."""

A_ROUND = 250
"""Cases of each mode, right and wrong, of an operation in a round; an operation with few parameters has fewer."""

ROWS = [Judgment("how do i plan", ["very good", "no"], category="advice", line=1), Judgment("why", ["so"], line=2)]


def document_of(model: Path) -> Any:
    """The OpenAPI document of a server with rows to browse, asked in this process."""
    engine = RewardEngine.from_pretrained(model)
    browsed = Browsed("rows.jsonl", ROWS, summaries_of(engine, ROWS), "")
    # The test client believes to ask this host.
    service = Service(engine, ServeSettings(queue_delay=0, allowed_hosts=("testserver",)))
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(service, Explored(browsed)))


def operations(document: Any) -> list[Any]:
    """All of them."""
    return [found.ok() for found in document.get_all_operations()]


@dataclass
class Found:
    """What came of generated requests.

    Attributes:
        statuses: of the answers, counted.
        wrong: what is wrong with answers, in words.
        digests: of the requests, each once.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)

    def add(self, other: Found) -> None:
        """Count others too."""
        self.statuses.update(other.statuses)
        self.wrong += other.wrong
        self.digests |= other.digests


def check(operation: Any, mode: GenerationMode, examples: int, seed: int = 0) -> Found:
    """Make so many requests, the same ones under the same seed, and look at the answers."""
    found = Found()

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call()
        found.statuses[response.status_code] += 1
        found.digests.add(_digest(response.request))
        if response.status_code >= 500:
            found.wrong.append(f"{response.status_code}: {response.text[:300]}")
        elif response.status_code >= 400 and response.json()["error"]["code"] != response.status_code:
            found.wrong.append(f"{response.status_code} in another form: {response.text[:300]}")

    with suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parameters
        ask()
    return found


def _digest(request: Any) -> str:
    """Of what a server sees of a request, without schemathesis' own number of it."""
    headers = sorted((name.lower(), value) for name, value in request.headers.items())
    seen = [request.method, request.url, request.body, [each for each in headers if "schemathesis" not in each[0]]]
    return hashlib.sha256(repr(seen).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _kept(file: Path, operation: Any, mode: GenerationMode, examples: int, seed: int) -> Found:
    """What was found under a seed, by this call or an earlier one."""
    if not file.exists():
        found = check(operation, mode, examples, seed)
        kept = {"statuses": dict(found.statuses), "wrong": found.wrong, "digests": sorted(found.digests)}
        file.write_text(json.dumps(kept))
        print(f"{file.stem}: {dict(found.statuses)}, {found.wrong[:2]}", file=sys.stderr)
    kept = json.loads(file.read_text())
    statuses = Counter({int(status): count for status, count in kept["statuses"].items()})
    return Found(statuses, kept["wrong"], set(kept["digests"]))


def run(model: Path, work: Path, seed: int, quick: bool) -> list[Outcome]:
    """Rounds over each operation in both modes; goes on from those that are kept."""
    examples, wanted = (2, 1) if quick else (A_ROUND, CASES)
    document = document_of(model)
    each: dict[tuple[str, str], Found] = {}
    rounds, before, distinct = 0, -1, 0
    while before < distinct < wanted:
        for operation in operations(document):
            name = (operation.method.upper(), operation.path)
            for mode in GenerationMode:
                stem = f"openapi-{seed + rounds}-{name[0]}{name[1].replace('/', '-')}-{mode.value}"
                found = _kept(work / f"{stem}.json", operation, mode, examples, seed + rounds)
                each.setdefault(name, Found()).add(found)
        rounds += 1
        before, distinct = distinct, sum(len(found.digests) for found in each.values())
        print(f"openapi: round {rounds}, {distinct:,} different requests", file=sys.stderr)
    return [_outcome(each, rounds, examples)]


def _outcome(each: dict[tuple[str, str], Found], rounds: int, examples: int) -> Outcome:
    """The line of the table."""
    total = Found()
    for found in each.values():
        total.add(found)
    few = [(name, len(found.digests)) for name, found in each.items() if len(found.digests) < rounds * examples]
    words = ", ".join(f"{status}: {count:,}" for status, count in sorted(total.statuses.items()))
    note = f"{len(each)} operations, {len(total.digests):,} different requests under {rounds} seeds; {words}"
    if few:
        least = sum(count for _, count in few)
        note += f"; {len(few)} operations with few or no parameters have only {least:,} different requests"
    return Outcome("schemathesis, the whole document", total.statuses.total(), len(total.wrong), 0, note)
