"""Tries of one command: killed, looked at, called again, compared with an undisturbed run."""

from __future__ import annotations

import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from studies.drills.kills_parts.forks import Ended, Kill, run
from studies.drills.kills_parts.subjects import Results, Subject
from studies.drills.outcome import Outcome


@dataclass
class Undisturbed:
    """What a command does and leaves where nothing happens to it.

    Attributes:
        folder: where it has left it.
        results: of it.
        seconds: of the processor.
        changes: what it does to files, in order, as audit events.
    """

    folder: Path
    results: Results
    seconds: float
    changes: list[str]


@dataclass
class Tally:
    """Counts of one line of the table."""

    tries: int = 0
    faults: int = 0
    lost: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def outcome(self, name: str, *words: str) -> Outcome:
        """The line."""
        told = [f"{count} {what}" for what, count in self.notes.items() if count]
        return Outcome(name, self.tries, self.faults, self.lost, "; ".join([*words, *told]))


class Place:
    """The directory in which a command runs each time, beside what it left undisturbed."""

    def __init__(self, folder: Path, subject: Subject) -> None:
        self.folder, self.subject = folder, subject

    def empty(self, prepare: bool = True) -> Path:
        """The directory as the command finds it, or with nothing in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if prepare:
            self.subject.prepare(self.folder)
        return self.folder

    def undisturbed(self) -> Undisturbed:
        """Run the command three times: for what it leaves, for what it does to files, and for its time once more.

        The time is the least of the two unwatched runs, since a kill that comes too late disturbs nothing.

        Raises:
            RuntimeError: it fails, or two runs differ.
        """
        log, left = self.folder.with_suffix(".log"), self.folder.with_suffix(".left")
        plain = run(self.subject.arguments, self.empty())
        results = self.subject.results(self.folder)
        seconds = min(plain.seconds, run(self.subject.arguments, self.empty()).seconds)
        watched = run(self.subject.arguments, self.empty(), log=log)
        if plain.code or watched.code or not results:
            raise RuntimeError(f"{self.subject.name} does not run: {(plain.words or watched.words)[-2000:]}")
        again = self.subject.results(self.folder)
        if again != results:
            differing = [name for name in results | again if results.get(name) != again.get(name)]
            raise RuntimeError(f"{self.subject.name}: two undisturbed runs differ in {differing}")
        shutil.rmtree(left, ignore_errors=True)
        self.folder.rename(left)
        events = [line.partition(" ")[0] for line in log.read_text(encoding="utf-8").splitlines()]
        return Undisturbed(left, results, seconds, events)


def at_random_moments(whole: Undisturbed, count: int, seed: int) -> Iterator[Kill]:
    """Moments of the processor's time, evenly spread over that of the undisturbed run."""
    chance = random.Random(seed)
    for number in range(count):
        yield Kill(seconds=whole.seconds * (number + chance.random()) / count)


def before_renames(whole: Undisturbed, most: int) -> Iterator[Kill]:
    """Renamings of something that is written: all, or so many, evenly spread."""
    count = whole.changes.count("os.rename")
    chosen = range(count) if count <= most else [number * count // most for number in range(most)]
    yield from (Kill(change=number + 1, kind="os.rename") for number in chosen)


def killed(place: Place, whole: Undisturbed, kills: Iterator[Kill]) -> Tally:
    """Kill and call again, once for each moment."""
    tally = Tally()
    for kill in kills:
        before = _sizes(place.empty())
        ended = run(place.subject.arguments, place.folder, kill)
        tally.tries += 1
        if ended.was_killed:
            tally.notes["after something was written"] += _sizes(place.folder) != before
        else:
            tally.notes["at their end before the kill"] += 1
        judge(place, whole, ended, tally)
    return tally


def _sizes(folder: Path) -> dict[Path, int]:
    """Of all files."""
    return {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}


def judge(place: Place, whole: Undisturbed, ended: Ended, tally: Tally) -> None:
    """Look at what a disturbed command has left, call it again, and compare."""
    subject, folder = place.subject, place.folder
    problem = None if ended.was_killed else ended.fault
    if problem is None:
        problem = half_written(subject, folder, whole)
        tally.lost += problem is not None
    if problem is None:
        problem = call_again(subject, folder)
    if problem is None:
        problem = differing(subject, folder, whole)
        tally.lost += problem is not None
    if any(folder.rglob(".vrm-*")):
        tally.notes["with hidden files left"] += 1
    if problem is not None:
        tally.faults += 1
        print(f"{subject.name}: fault: {problem}", file=sys.stderr, flush=True)


def differing(subject: Subject, folder: Path, whole: Undisturbed) -> str | None:
    """Which results are not those of the undisturbed run."""
    results = subject.results(folder)
    names = sorted(name for name in results | whole.results if results.get(name) != whole.results.get(name))
    return f"other results: {', '.join(names)}" if names else None


def half_written(subject: Subject, folder: Path, whole: Undisturbed) -> str | None:
    """What lies there under its own name and is not whole."""
    if subject.partial is not None:
        return subject.partial(folder, whole.folder)
    try:
        left = subject.results(folder)
    except ValueError as error:
        return f"half a document: {error}"
    return None if not left or left == whole.results else f"half there: {sorted(left)}"


def call_again(subject: Subject, folder: Path) -> str | None:
    """Make the further calls until one ends well; why none did, else None."""
    words = ""
    for arguments in subject.again or (subject.arguments,):
        ended = run(arguments, folder)
        if ended.fault is not None:
            return f"{' '.join(arguments[:1])} again: {ended.fault}"
        words = ended.words
        if ended.code == 0 or subject.done in words:
            return None
    return f"called again it ends with: {words.strip().splitlines()[-1]}"
