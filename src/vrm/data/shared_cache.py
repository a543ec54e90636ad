"""Caches that runs and commands share: their places, their limits, and what goes first."""

from __future__ import annotations

import importlib
import math
import os
import shutil
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from vrm.choices import NO_CACHE
from vrm.errors import ConfigError
from vrm.files import cache_home
from vrm.user_files import at_home

USED = "fingerprint.json"
"""The file of a folder whose time says when it was last used."""

IDLE_SECONDS = 3600.0
"""A folder that was used since is not deleted: a process may be about to add to it."""

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None


@dataclass(frozen=True)
class SharedCache:
    """A directory with folders that can be made again.

    Attributes:
        name: of the directory.
        variable: environment variable that names another directory, or `none`; with `_GB` behind, that of the limit.
        limit_gb: gigabytes that it may hold, where the environment says nothing.
    """

    name: str
    variable: str
    limit_gb: float

    def directory(self) -> Path | None:
        """Where it lies: as the variable says, else `vrm/NAME` in `XDG_CACHE_HOME` or `~/.cache`.

        None if the variable is `none`.
        """
        named = os.environ.get(self.variable)
        if named:
            return None if named == NO_CACHE else Path(at_home(named))
        return cache_home() / self.name

    def limit(self) -> int:
        """Bytes that the cache may hold.

        Raises:
            ConfigError: if the variable of the limit is no number from 0 upwards.
        """
        text = os.environ.get(f"{self.variable}_GB") or str(self.limit_gb)
        try:
            limit = float(text)
        except ValueError:
            limit = math.nan
        if not 0 <= limit < math.inf:
            raise ConfigError(f"{self.variable}_GB is {text!r}: expected a number of gigabytes, 0 or more")
        return int(limit * 1e9)


FEATURES = SharedCache("features", "VRM_FEATURE_CACHE", 10.0)
ROWS = SharedCache("rows", "VRM_ROW_CACHE", 50.0)


def has_room(directory: Path, limit: int, needed: int) -> bool:
    """Whether a cache may grow by some bytes. Folders that are not in use are deleted if needed, the oldest first.

    Half of the space that is free on the disk stays free.
    """
    if 2 * needed > shutil.disk_usage(directory).free:
        return False
    sizes = {folder: _bytes(folder) for folder in directory.iterdir() if (folder / USED).exists()}
    free = limit - sum(sizes.values()) - needed
    # What cannot make room is not deleted for nothing.
    idle = sorted((used, folder) for folder in sizes if time.time() - (used := _last_used(folder)) > IDLE_SECONDS)
    if free + sum(sizes[folder] for _, folder in idle) < 0:
        return False
    for _, folder in idle:
        if free >= 0:
            break
        free += sizes[folder] if _delete(folder) else 0
    return free >= 0


def _last_used(folder: Path) -> float:
    try:
        return (folder / USED).stat().st_mtime
    except OSError:  # deleted by another process meanwhile
        return math.inf


def _bytes(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _delete(folder: Path) -> bool:
    with suppress(OSError, Timeout), FileLock(folder / "lock", timeout=0):
        _held = Hold(folder, alone=True)
        shutil.rmtree(folder)
        return True
    return False


class Hold:
    """While it lives, no process deletes a folder of the cache; it ends with its process too, however that ends.

    On systems without shared locks, and on disks that have none, the time of the last use alone keeps a folder.

    Args:
        folder: of the cache.
        alone: nobody else may hold it.

    Raises:
        OSError: it is to be held alone, and somebody else holds it.
    """

    def __init__(self, folder: Path, alone: bool = False) -> None:
        self._file: IO[bytes] | None = None
        if fcntl is None:
            return
        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        with nullcontext() if alone else suppress(OSError):
            self._file = (folder / USED).open("rb")
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
