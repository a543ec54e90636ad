"""Caches that a disk has changed, and two commands at once on one output or one cache."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path

from studies.drills.kills_parts.forks import Ended, finish, run, start
from studies.drills.kills_parts.killing import Place, Tally, Undisturbed, call_again, differing, half_written
from studies.drills.kills_parts.subjects import Subject, documents, nearly

NAMED = "delete this folder"
"""Words of an error that says what to do about a damaged cache."""


def damaged(place: Place, whole: Undisturbed, cache: str, flips: bool, count: int, seed: int) -> Tally:
    """Change one file of a cache, call the command, and compare what it gives.

    Args:
        place: of the command.
        whole: what it left, its cache too.
        cache: name of the cache's folder in its directory.
        flips: flip one bit; else cut the file.
        count: how often.
        seed: of the file and the place in it.
    """
    tally, chance = Tally(), random.Random(seed)
    for _ in range(count):
        folder = place.empty()
        shutil.copytree(whole.folder / cache, folder / cache)
        file = chance.choice(sorted(file for file in (folder / cache).rglob("*") if file.is_file() and _filled(file)))
        _damage(file, flips, chance)
        ended = run(place.subject.arguments, folder)
        tally.tries += 1
        problem = ended.fault
        if problem is None and ended.code:
            tally.notes["named"] += 1
            problem = None if NAMED in ended.words.lower() else f"{file.name}: {ended.words.strip()[-300:]}"
            shutil.rmtree(folder / cache)
            problem = problem or call_again(place.subject, folder)
        wrong = differing(place.subject, folder, whole)
        if wrong and place.subject.results is documents:
            # What is computed again has other texts beside it, and so other last digits.
            wrong = nearly(folder, whole.folder)
            tally.notes["with other last digits"] += wrong is None
        tally.lost += wrong is not None
        if problem or wrong:
            tally.faults += 1
            print(f"{cache}: fault: {file.name}: {problem or wrong}", file=sys.stderr, flush=True)
    return tally


def _filled(file: Path) -> bool:
    return file.stat().st_size > 0 and not file.name.endswith("lock")


def _damage(file: Path, flips: bool, chance: random.Random) -> None:
    data = bytearray(file.read_bytes())
    place = chance.randrange(len(data))
    if flips:
        data[place] ^= 1 << chance.randrange(8)
    file.write_bytes(data if flips else data[:place])


def decoder(count: int, seed: int) -> Tally | None:
    """Flip bits of the converted decoder and cut its files: each time it must be converted again.

    The conversion is made once in the cache of this process, and its check is asked.
    """
    from vrm.errors import MissingExtraError
    from vrm.model.embedded_files import _is_whole, decoder_path

    try:
        directory = decoder_path()
    except MissingExtraError:
        return None
    tally, chance = Tally(), random.Random(seed)
    files = sorted(file for file in directory.iterdir() if _filled(file))
    for number in range(count):
        file = files[number % len(files)]
        kept = file.with_name("kept")
        shutil.copyfile(file, kept)
        _damage(file, chance.random() < 0.5, chance)
        tally.tries += 1
        if _is_whole(directory):
            tally.faults += 1
            tally.lost += 1
            print(f"decoder: fault: {file.name} is taken for whole", file=sys.stderr, flush=True)
        os.replace(kept, file)
    return tally


def together(place: Place, whole: Undisturbed, other: list[str] | None, count: int, tally: Tally) -> None:
    """Two commands at once, in one directory.

    Args:
        place: of the command.
        whole: what it leaves alone.
        other: arguments of the second one; None for the same.
        count: how often.
        tally: gets the counts.
    """
    subject = place.subject
    for _ in range(count):
        folder = place.empty()
        children = [
            start(subject.arguments, folder),
            start(other or subject.arguments, folder, name="second"),
        ]
        ends = [finish(child, folder, name=name) for child, name in zip(children, ("words", "second"), strict=True)]
        tally.tries += 1
        problem = next(filter(None, (_ended(subject, ended) for ended in ends)), None)
        tally.notes["refused"] += sum(ended.code == 1 for ended in ends)
        problem = problem or half_written(subject, folder, whole)
        problem = problem or (call_again(subject, folder) if ends[0].code else None)
        wrong = differing(subject, folder, whole)
        tally.lost += wrong is not None
        if problem or wrong:
            tally.faults += 1
            print(f"{subject.name} twice: fault: {problem or wrong}", file=sys.stderr, flush=True)


def _ended(subject: Subject, ended: Ended) -> str | None:
    """A command beside another may refuse, in words."""
    refused = subject.done in ended.words or "another process" in ended.words or "exists" in ended.words
    return ended.fault or (None if ended.code == 0 or refused else f"it says: {ended.words.strip()[-300:]}")
