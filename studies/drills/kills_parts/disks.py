"""Full disks and read-only ones: small file systems in memory and bind mounts, in a namespace of this process alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studies.drills.kills_parts.forks import run
from studies.drills.kills_parts.killing import Place, Tally, Undisturbed, call_again, differing, half_written

ROOM = "64m"


def namespace() -> list[str] | None:
    """The program that starts another one with mounts of its own; None where this user may not mount."""
    for words in (["unshare", "-m"], ["unshare", "-Urm"]):
        tried = [*words, "sh", "-c", "d=$(mktemp -d) && mount -t tmpfs tmpfs $d && umount $d && rmdir $d"]
        try:
            if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
                return words
        except OSError:
            return None
    return None


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


@contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full(place: Place, whole: Undisturbed, sizes: int, tally: Tally) -> None:
    """Run a command where its disk is full after a part of what it writes; give it room; call it again."""
    written = sum(file.stat().st_size for file in whole.folder.rglob("*") if file.is_file())
    before = sum(file.stat().st_size for file in place.empty().rglob("*") if file.is_file())
    for number in range(sizes):
        size = before + (written - before) * (2 * number + 1) // (2 * sizes)
        place.empty(prepare=False)
        _mount("-t", "tmpfs", "-o", f"size={max(size, 4096)}", "tmpfs", place.folder)
        with _mounted(place.folder):
            try:
                place.subject.prepare(place.folder)
            except OSError:  # what the command is to find there takes the room already
                tally.notes["without room for what is read"] += 1
                continue
            ended = run(place.subject.arguments, place.folder)
            tally.tries += 1
            problem = ended.fault
            if problem is None and ended.code:
                tally.notes["refused"] += 1
                problem = None if "no space left on the device" in ended.words else f"it says: {ended.words[-200:]}"
            _mount("-o", f"remount,size={ROOM}", place.folder)
            _afterwards(place, whole, problem, tally)


def read_only(place: Place, whole: Undisturbed, tally: Tally) -> None:
    """Run a command where nothing can be written; then let it write, and call it again."""
    folder = place.empty()
    _mount("--bind", folder, folder)
    with _mounted(folder):
        _mount("-o", "remount,ro,bind", folder)
        ended = run(place.subject.arguments, folder)
        problem = ended.fault
        if problem is None:
            refused = ended.code == 1 and "read-only file system" in ended.words.lower()
            problem = None if refused else f"exit status {ended.code}: {ended.words[-200:]}"
    tally.tries += 1
    _afterwards(place, whole, problem, tally)


def _afterwards(place: Place, whole: Undisturbed, problem: str | None, tally: Tally) -> None:
    """What is there must not be taken for whole, and a second call must end as if nothing had been."""
    left = half_written(place.subject, place.folder, whole)
    again = left or call_again(place.subject, place.folder) or differing(place.subject, place.folder, whole)
    tally.lost += left is not None
    if problem or again:
        tally.faults += 1
        print(f"{place.subject.name}: fault: {problem or again}", file=sys.stderr, flush=True)
