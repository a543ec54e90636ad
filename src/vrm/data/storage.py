"""Whether rows are kept in memory or on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vrm.choices import Storage
from vrm.data.readers import Location
from vrm.data.shared_cache import ROWS
from vrm.errors import ConfigError

DISK_FROM_BYTES = 64 * 10**6
"""Size of files from which `auto` keeps rows on the disk; in memory rows and tokens take some ten times as much."""

_PACKED = 4
"""What a compressed file is taken to unpack to, in its own size."""


def keeps_on_disk(storage: str, locations: Sequence[Location]) -> bool:
    """Whether the rows of these sources are kept on the disk.

    Raises:
        ConfigError: they are to be, and a source can be read only once, or the environment says that none are kept.
    """
    once = [location.label for location in locations if location.comes_once]
    nowhere = ROWS.directory() is None
    if storage == Storage.DISK and nowhere:
        raise ConfigError(f"data.storage: disk: the environment variable {ROWS.variable} says that no rows are kept")
    if storage == Storage.DISK and once:
        raise ConfigError(
            f"data.storage: disk: {once[0]} can be read only once, and whether its rows are in the cache is told by a "
            "first reading. Save it to a file, or keep the rows in memory"
        )
    if storage != Storage.AUTO or once or nowhere:
        return storage == Storage.DISK
    return sum(map(_size, locations)) >= DISK_FROM_BYTES


def _size(location: Location) -> int:
    """Bytes of a source's files; 0 for a name on the Hub."""
    path = Path(location.path)
    if path.is_dir():
        return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    if not path.is_file():
        return 0
    return path.stat().st_size * (_PACKED if path.suffix in (".gz", ".parquet") else 1)
