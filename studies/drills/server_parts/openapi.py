"""Requests that schemathesis makes of the OpenAPI document, right and wrong ones: no 5xx, and errors of one form."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
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

CASES = {"POST": 100, "GET": 60}
"""Cases of each mode, right and wrong, of an operation."""

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


def check(operation: Any, mode: GenerationMode, examples: int) -> tuple[Counter[int], list[str]]:
    """Statuses of so many generated requests, the same at each call, and what is wrong with answers."""
    statuses, wrong = Counter[int](), []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call()
        statuses[response.status_code] += 1
        if response.status_code >= 500:
            wrong.append(f"{response.status_code}: {response.text[:300]}")
        elif response.status_code >= 400 and response.json()["error"]["code"] != response.status_code:
            wrong.append(f"{response.status_code} in another form: {response.text[:300]}")

    with suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parameters
        ask()
    return statuses, wrong


def run(model: Path, work: Path, seed: int, quick: bool) -> list[Outcome]:
    """Each operation in both modes; goes on from those that are kept."""
    document = document_of(model)
    statuses, wrong, paths = Counter[int](), 0, set()
    for operation in operations(document):
        for mode in GenerationMode:
            method = operation.method.upper()
            kept = work / f"openapi-{method}{operation.path.replace('/', '-')}-{mode.value}.json"
            if not kept.exists():
                counts, words = check(operation, mode, 2 if quick else CASES[method])
                kept.write_text(json.dumps({"statuses": counts, "wrong": words}))
            found = json.loads(kept.read_text())
            print(f"{kept.stem}: {found['statuses']}, {found['wrong'][:2]}", file=sys.stderr)
            statuses.update({int(status): count for status, count in found["statuses"].items()})
            wrong += len(found["wrong"])
            paths.add((method, operation.path))
    note = f"{len(paths)} operations; " + ", ".join(
        f"{status}: {count:,}" for status, count in sorted(statuses.items())
    )
    return [Outcome("schemathesis, the whole document", statuses.total(), wrong, 0, note)]
