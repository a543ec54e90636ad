"""Lines of a table made one after the other and kept, so that an interrupted drill goes on behind the last."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from studies.drills.outcome import Outcome, Setting
from studies.drills.rows_parts.reading import Tally


def in_pieces(setting: Setting, lines: Mapping[str, Callable[[Path, Tally], None]]) -> Sequence[Outcome]:
    """The lines by name, each made in a folder of its own; what went wrong goes to stderr. At the end all is removed.

    Args:
        setting: its `work` holds what is kept, and goes.
        lines: does the tries of a line and counts them.
    """
    outcomes, work = [], setting.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    for number, (name, do) in enumerate(lines.items()):
        kept = work / f"line-{number}.json"
        if not kept.exists():
            folder = work / str(number)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            tally = Tally()
            do(folder, tally)
            shutil.rmtree(folder)
            _say(name, tally)
            outcome = Outcome(name, tally.tries, tally.faults, tally.lost, f"{tally.refused:,} refused by name")
            kept.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
        outcomes.append(Outcome(**json.loads(kept.read_text(encoding="utf-8"))))
    shutil.rmtree(work)
    return outcomes


def _say(name: str, tally: Tally) -> None:
    print(f"{name}: {tally.tries:,} tries, {tally.faults} faults, {tally.lost} lost", file=sys.stderr)
    for what, count in tally.examples.most_common():
        print(f"{count:>6}  {what}", file=sys.stderr, flush=True)
