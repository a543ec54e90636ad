"""Results reach the disk whole: they are written beside their place and renamed, and errors name the place."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from vrm.errors import ConfigError, OutputError

UNFINISHED = ".vrm-"
"""How names begin of what is written until it is whole."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITTEN = (*_FULL, errno.EFBIG, errno.EROFS, errno.EIO)
_NEARLY_NOTHING = 1 << 20
_DEVICES = ("/dev/", "/proc/")
_WHILE = " while writing "


def cache_home() -> Path:
    """Where this package keeps what it can make again: `vrm` in `XDG_CACHE_HOME` or `~/.cache`."""
    caches = os.environ.get("XDG_CACHE_HOME", "")
    return Path(caches if os.path.isabs(caches) else os.path.expanduser("~/.cache")) / "vrm"


@contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Make errors of the disk inside the block name `place`, those of torch, safetensors and tokenizers too.

    Raises:
        OutputError: the disk is full, read-only or broken, or the folder cannot be written to.
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error, Path(place))
        if reason is None:
            raise
        raise OutputError(f"{reason}{_WHILE}{place}") from error


def _reason(error: Exception, place: Path) -> str | None:
    """Why nothing could be written, in words; None for errors of another kind."""
    if isinstance(error, OutputError):
        # Said by a writer inside, which knows no more of its place than the name it has until it is whole.
        return str(error).partition(_WHILE)[0] if _hidden(error) else None
    if isinstance(error, OSError):
        ours = error.errno in _NOT_WRITTEN or (isinstance(error, PermissionError) and _hidden(error.filename))
        return _words(error.errno) if ours and error.errno else None
    # Libraries written in Rust end with the system's number; torch's writer says where it stands in its own source.
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number:
        return _words(int(number[1]))
    if isinstance(error, RuntimeError) and re.search(
        r"inline_container|PytorchStreamWriter|iostream error", str(error)
    ):
        return _words(errno.ENOSPC) if _free_bytes(place) < _NEARLY_NOTHING else "torch could not go on"
    return None


def _hidden(name: object) -> bool:
    return f"{os.sep}{UNFINISHED}" in str(name)


def _words(number: int) -> str:
    if number in _FULL:
        return "no space left on the device"
    words = os.strerror(number)
    return words[:1].lower() + words[1:]


def _free_bytes(place: Path) -> int:
    there = next(path for path in (place, *place.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


@contextmanager
def new_file(path: str | Path) -> Iterator[IO[str]]:
    """A text file (UTF-8) that takes the place of `path` when the block ends without an error; its folder is made.

    A link stays one and its target is replaced. Devices and pipes are written to directly.

    Raises:
        OutputError: as of `writing`. The file that was there, if any, is as it was.
    """
    place = Path(path)
    with writing(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        if _is_written_in_place(place):
            with place.open("w", encoding="utf-8") as stream:
                yield stream
            return
        target = Path(os.path.realpath(place))
        temporary = new_file_name(target)
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as stream:
                yield stream
            if target.exists():
                shutil.copymode(target, temporary)
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _is_written_in_place(place: Path) -> bool:
    """Whether a place is a device or a pipe, or a file in a folder that takes no other."""
    if str(place).startswith(_DEVICES) or (place.exists() and not place.is_file()):
        return True
    return place.exists() and not os.access(os.path.realpath(place.parent), os.W_OK)


def holds_something(path: str | Path) -> bool:
    """Whether a file is there and not empty, so that writing to it would replace what somebody may want to keep."""
    place = Path(path)
    return place.is_file() and not str(place).startswith(_DEVICES) and place.stat().st_size > 0


def map_file(path: str | Path) -> mmap.mmap:
    """The bytes of a file, which must not be empty, mapped into memory; for reading alone."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def give_back(mapped: mmap.mmap) -> None:
    """Unmap the pages that have been read, which else count as this process's memory; reading maps them anew."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def write_text(path: str | Path, text: str) -> None:
    """Write a text as `new_file` does."""
    with new_file(path) as stream:
        stream.write(text)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder that takes the place of `path` when the block ends without an error; what was there goes.

    Files get the modes of the umask: safetensors makes its own readable by their owner alone.

    Raises:
        OutputError: as of `writing`. The folder that was there, if any, is as it was.
    """
    target = Path(os.path.realpath(path))
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not `tempfile`'s, which nobody else could read after it has taken its place.
        temporary = new_file_name(target)
        temporary.mkdir()
        try:
            yield temporary
            replace_folder(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_new_directory(target: Path, *, source: str | Path, overwrite: bool) -> None:
    """Whether a model may be written to `target`.

    Args:
        target: must not exist, be empty, or (with `overwrite`) hold a model.
        source: what is read meanwhile; it is never overwritten.
        overwrite: replace a model that is there.

    Raises:
        ConfigError: if it may not.
    """
    origin, place = Path(source).resolve(), target.resolve()
    if Path(source).exists() and (origin == place or place in origin.parents):
        raise ConfigError(f"{target} is, or contains, the model that is read: choose another directory")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        if not overwrite:
            raise ConfigError(f"{target} exists: choose another directory, or replace it with --overwrite")
        if not (place / "config.json").is_file():
            raise ConfigError(f"{target} holds something else than a model (no config.json), so it is not overwritten")


def replace_folder(temporary: Path, target: Path) -> None:
    """Put a folder that is written in the place of another beside it, if there is one; its files follow the umask.

    Where the system can exchange two folders at once (Linux), one of them has the name at every moment.
    """
    follow_umask(*(file for file in temporary.rglob("*") if file.is_file()))
    if target.exists() and _exchange(temporary, target):
        shutil.rmtree(temporary, ignore_errors=True)
        return
    old = new_file_name(target)
    if target.exists():
        target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _exchange(one: Path, other: Path) -> bool:
    """Give each of two names to what the other names, at once; False where system or disk cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return not rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)


def remove_unfinished(folder: Path) -> None:
    """Remove what writers have left in a folder that were killed, under the names of `new_file_name`.

    Nobody else may be writing there: the caller holds a lock.
    """
    for path in folder.glob(f"{UNFINISHED}{'[0-9a-f]' * 32}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def new_file_name(target: Path) -> Path:
    """Where a file is written until it is whole and takes its place: beside it, under a hidden name."""
    return target.parent / f"{UNFINISHED}{uuid4().hex}"


def follow_umask(*files: Path) -> None:
    """Give files the mode that this process gives new ones: safetensors lets their owner alone read its own."""
    for folder in {file.parent for file in files}:
        probe = new_file_name(folder / "file")
        probe.touch()
        mode = probe.stat().st_mode & 0o777
        probe.unlink()
        for file in files:
            if file.parent == folder:
                file.chmod(mode)
