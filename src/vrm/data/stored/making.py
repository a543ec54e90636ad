"""Arrow tables made from generators by `datasets`: in several processes, once, whatever runs at the same time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import xxhash
from filelock import FileLock

from vrm.files import write_text, writing
from vrm.threads import free_cores

Records = Callable[[list[Any]], Iterator[dict[str, Any]]]
"""From some of the shards to the rows of a table; a function of a module, since other processes call it."""


def make_table(
    folder: Path, name: str, columns: dict[str, str], records: Records, shards: Callable[[], Sequence[Any]]
) -> list[str]:
    """The Arrow files of a table, which are written where they are not there yet.

    Args:
        folder: of the cache, one for each input.
        name: tells the table from others in the folder; lower-case letters, digits and dashes.
        columns: {name: type as Arrow names it, with `list<...>` around it for lists}.
        records: gives the rows.
        shards: asked where the table is not there, for what `records` is called with, some at a time, in as many
            processes as there are free cores.

    Raises:
        OutputError: the disk is full, say.
    """
    listed = folder / f"{name}.json"
    files = _whole(folder, listed)
    if files is None:
        # `datasets` takes for whole what is there: a damaged table is removed, by one process, before it is made anew.
        with FileLock(folder / f"{name}.lock"):
            files = _whole(folder, listed)
            if files is None:
                listed.unlink(missing_ok=True)
                for made in folder.glob(f"*/*fingerprint={name}/*"):
                    shutil.rmtree(made, ignore_errors=True)
                files = _made(folder, name, columns, records, shards())
                write_text(listed, json.dumps({os.path.relpath(file, folder): checksum(file) for file in files}))
    return files


def _whole(folder: Path, listed: Path) -> list[str] | None:
    """The files of a table that are listed there, if they are what was written; None if one is not.

    Reading them for that takes 0.1 s of the processor a GB; the source itself, whose hash names the folder, takes
    longer. Lists of older versions have no checksums.
    """
    try:
        found = json.loads(listed.read_text(encoding="utf-8"))
        sums = found if isinstance(found, dict) else dict.fromkeys(found)
        whole = all(checksum(folder / name) == wanted for name, wanted in sums.items() if wanted is not None)
        files = [str(folder / name) for name in sums]
    except (OSError, ValueError, TypeError):
        return None
    return files if whole and all(map(os.path.exists, files)) else None


def checksum(file: str | Path) -> str:
    """XXH3 of a file."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, xxhash.xxh3_64).hexdigest()


def _made(folder: Path, name: str, columns: dict[str, str], records: Records, shards: Sequence[Any]) -> list[str]:
    import datasets

    features = datasets.Features({column: _feature(kind) for column, kind in columns.items()})
    processes = min(free_cores(), len(shards))
    with writing(folder):
        try:
            made = datasets.Dataset.from_generator(
                records,
                features=features,
                cache_dir=str(folder),
                gen_kwargs={"shards": list(shards)},
                num_proc=processes if processes > 1 else None,
                split=datasets.NamedSplit(name.partition("-")[0]),
                fingerprint=name,
            )
        except datasets.exceptions.DatasetGenerationError as error:
            raise error.__cause__ or error from None
    return [file["filename"] for file in made.cache_files]


def _feature(kind: str) -> Any:
    import datasets

    inner = kind.removeprefix("list<").removesuffix(">")
    return datasets.Value(kind) if inner == kind else datasets.List(_feature(inner))
