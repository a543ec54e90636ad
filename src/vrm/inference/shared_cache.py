"""The feature cache that runs and commands share where none is named: its place, its limit, and what goes first."""

from __future__ import annotations

import math
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vrm.choices import NO_CACHE
from vrm.errors import ConfigError
from vrm.files import cache_home
from vrm.user_files import at_home

VARIABLE = "VRM_FEATURE_CACHE"
"""Environment variable: the directory, or `none`."""

LIMIT_VARIABLE = "VRM_FEATURE_CACHE_GB"
"""Environment variable: the limit in gigabytes."""

DEFAULT_LIMIT_GB = 10.0
USED = "fingerprint.json"
"""The file of a folder of features whose time says when it was last used."""

IDLE_SECONDS = 3600.0
"""A folder that was used since is not deleted: a process may be about to add to it."""


def shared_directory() -> Path | None:
    """Where shared features lie: `VRM_FEATURE_CACHE`, else `vrm/features` in `XDG_CACHE_HOME` or `~/.cache`.

    None if the variable is `none`.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return None if named == NO_CACHE else Path(at_home(named))
    return cache_home() / "features"


def shared_limit() -> int:
    """Bytes that the shared cache may hold.

    Raises:
        ConfigError: if `VRM_FEATURE_CACHE_GB` is no number from 0 upwards.
    """
    text = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not 0 <= limit < math.inf:
        raise ConfigError(f"{LIMIT_VARIABLE} is {text!r}: expected a number of gigabytes, 0 or more")
    return int(limit * 1e9)


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
    for file in folder.iterdir():
        with suppress(OSError):
            total += file.stat().st_size
    return total


def _delete(folder: Path) -> bool:
    with suppress(OSError, Timeout), FileLock(folder / "lock", timeout=0):
        shutil.rmtree(folder)
        return True
    return False
