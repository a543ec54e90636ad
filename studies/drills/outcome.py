"""What a drill found: lines of one table, kept as JSON beside what they depend on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studies.evidence.tables import markdown
from studies.speed.measure import environment

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Outcome:
    """One line of the table.

    Attributes:
        drill: what was done to what, in a few words.
        tries: how often.
        faults: tries that ended otherwise than promised; 0 is what is wanted.
        lost: rows, requests or files that were lost, doubled, or taken for whole when they were not.
        note: what else was counted, for a reader of the table.
    """

    drill: str
    tries: int
    faults: int
    lost: int
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """What a drill is given.

    Attributes:
        work: a directory of its own, empty or left by an earlier call.
        seed: of all that is random.
        quick: a toy size, for the tests.
    """

    work: Path
    seed: int = 0
    quick: bool = False


@dataclass(frozen=True)
class Drill:
    """One drill.

    Attributes:
        title: of its part of the page.
        run: does everything, ends by itself.
    """

    title: str
    run: Callable[[Setting], Sequence[Outcome]]


def document(name: str, drill: Drill, setting: Setting) -> dict[str, Any]:
    """Run a drill; what it found and what that depends on."""
    wall, processor = time.perf_counter(), time.process_time()
    outcomes = drill.run(setting)
    return {
        "title": drill.title,
        "command": f"python -m studies.drills {name}" + (f" --seed {setting.seed}" if setting.seed else ""),
        "quick": setting.quick,
        "environment": environment(),
        "seconds": round(time.perf_counter() - wall),
        "processor_seconds_of_this_process": round(time.process_time() - processor),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }


def write(found: dict[str, Any], path: Path) -> None:
    """Keep a document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def table(found: dict[str, Any]) -> str:
    """The table of a document, as the page has it."""
    head = ["drill", "tries", "faults", "lost", "note"]
    lines = [[row["drill"], *(f"{row[key]:,}" for key in head[1:4]), row["note"]] for row in found["outcomes"]]
    return markdown([head, *lines])
