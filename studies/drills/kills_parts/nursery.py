"""All lines of the drill `kills`, in one process that has imported everything: `studies.drills.kills` starts it.

Each line is kept when it is done, so that a drill that was interrupted goes on with the next.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from studies.drills.kills_parts import caches, disks
from studies.drills.kills_parts.forks import warm_up
from studies.drills.kills_parts.inputs import Inputs, make_inputs
from studies.drills.kills_parts.killing import (
    Place,
    Tally,
    Undisturbed,
    at_random_moments,
    before_renames,
    killed,
)
from studies.drills.kills_parts.subjects import Subject, subjects
from studies.drills.outcome import Outcome

KEPT = "outcomes.json"


@dataclass(frozen=True)
class Sizes:
    """Tries of each line.

    Attributes:
        moments, beside: kills at random moments, of a command and of a variant of one.
        renames: kills before renamings, at most.
        disks: sizes of a full disk.
        damaged, decoder: damages of each cache.
        twice, one_cache: pairs of commands, for each command and for the one cache.
        every: each so many-th command takes part in what is done to all.
        rows: to be scored.
    """

    moments: int = 50
    beside: int = 20
    renames: int = 5
    disks: int = 2
    damaged: int = 4
    decoder: int = 4
    twice: int = 1
    one_cache: int = 2
    every: int = 1
    rows: int = 700


QUICK = Sizes(1, 1, 1, 1, 1, 0, 1, 1, 5, 300)
Line = tuple[str, Callable[[], Outcome | None]]


class Nursery:
    """What the lines share.

    Args:
        work: directory of the drill.
        seed: of all that is drawn.
        quick: a toy size.
        mounts: whether this process may mount.
    """

    def __init__(self, work: Path, seed: int, quick: bool, mounts: bool) -> None:
        self.work, self.seed, self.mounts = work, seed, mounts
        self.sizes = QUICK if quick else Sizes()
        self.inputs: Inputs = make_inputs(work / "inputs", self.sizes.rows)
        self.subjects = subjects(self.inputs)
        self._undisturbed: dict[str, Undisturbed] = {}

    def place(self, subject: Subject) -> Place:
        """The directory of a command's tries."""
        return Place(self.work / "tries" / str(self.subjects.index(subject)) / "try", subject)

    def whole(self, subject: Subject) -> Undisturbed:
        """What a command leaves undisturbed, run when it is asked for first."""
        if subject.name not in self._undisturbed:
            whole = self._undisturbed[subject.name] = self.place(subject).undisturbed()
            print(f"  undisturbed: {whole.seconds:.1f} s of the processor", file=sys.stderr, flush=True)
        return self._undisturbed[subject.name]

    def lines(self) -> Iterator[Line]:
        """All lines, by name."""
        for subject in self.subjects:
            yield f"{subject.name}: killed at random moments", lambda subject=subject: self._random(subject)
        for subject in self.subjects:
            yield f"{subject.name}: killed before each renaming", lambda subject=subject: self._renames(subject)
        if self.mounts:
            yield "every command above: disk full", self._full
            yield "every command above: directory read-only", self._read_only
        yield from self._caches()
        yield "every command above: twice at once on one output", self._twice
        yield "two trainings at once on one cache of features and rows", self._one_cache

    def _random(self, subject: Subject) -> Outcome:
        whole = self.whole(subject)
        moments = at_random_moments(whole, self.sizes.moments if subject.main else self.sizes.beside, self.seed)
        return killed(self.place(subject), whole, moments).outcome("")

    def _renames(self, subject: Subject) -> Outcome | None:
        whole = self.whole(subject)
        tally = killed(self.place(subject), whole, before_renames(whole, self.sizes.renames))
        return tally.outcome("") if tally.tries else None

    def _full(self) -> Outcome:
        tally = Tally()
        for subject in self._some():
            disks.full(self.place(subject), self.whole(subject), self.sizes.disks, tally)
        return tally.outcome("", "a tmpfs of a part of what is written")

    def _read_only(self) -> Outcome:
        tally = Tally()
        for subject in self._some():
            disks.read_only(self.place(subject), self.whole(subject), tally)
        return tally.outcome("", "a bind mount")

    def _some(self) -> list[Subject]:
        return self.subjects[:: self.sizes.every]

    def _caches(self) -> Iterator[Line]:
        names = {"feature extraction": ("cache", "features"), "`train`, frozen, rows on the disk": ("rows", "rows")}
        for subject in self.subjects:
            if subject.name in names:
                folder, words = names[subject.name]
                for flips, how in ((True, "a bit flipped"), (False, "a file cut")):
                    yield f"cache of {words}: {how}", lambda s=subject, f=folder, b=flips: self._damaged(s, f, b)
        if self.sizes.decoder:
            yield "converted decoder: a bit flipped or a file cut", self._decoder

    def _damaged(self, subject: Subject, folder: str, flips: bool) -> Outcome:
        tally = caches.damaged(self.place(subject), self.whole(subject), folder, flips, self.sizes.damaged, self.seed)
        return tally.outcome("")

    def _decoder(self) -> Outcome | None:
        tally = caches.decoder(self.sizes.decoder, self.seed)
        return None if tally is None else tally.outcome("")

    def _twice(self) -> Outcome:
        tally = Tally()
        for subject in self._some():
            caches.together(self.place(subject), self.whole(subject), None, self.sizes.twice, tally)
        return tally.outcome("")

    def _one_cache(self) -> Outcome:
        tally = Tally()
        subject = next(each for each in self.subjects if "rows on the disk" in each.name)
        other = [*subject.arguments, "--set", "output_dir=other"]
        caches.together(self.place(subject), self.whole(subject), other, self.sizes.one_cache, tally)
        return tally.outcome("")


def main() -> None:
    """Go through the lines that are not kept yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--mounts", action="store_true")
    options = parser.parse_args()
    kept = options.work / KEPT
    done: dict[str, dict[str, object] | None] = json.loads(kept.read_text()) if kept.exists() else {}
    nursery = Nursery(options.work, options.seed, options.quick, options.mounts)
    warm_up(nursery.inputs.model)
    for name, line in nursery.lines():
        if name not in done:
            print(name, file=sys.stderr, flush=True)
            begun = time.monotonic()
            outcome = line()
            print(f"  {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
            done[name] = None if outcome is None else {**asdict(outcome), "drill": name}
            ordered = {name: done[name] for name, _ in nursery.lines() if name in done}
            kept.write_text(json.dumps(ordered, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
