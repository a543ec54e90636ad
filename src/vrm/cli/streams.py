"""The standard streams and the terminal's size, made fit to print on before a command runs.

A terminal, a pipe or a scheduler may leave a stream closed, in an encoding that lacks a character, or of width 0. None
of this may end a command whose work is done, or lose what it says.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import Any, TextIO

from vrm.errors import ConfigError

STDOUT = "standard output"

MIN_WIDTH = 40
"""Columns under which tables cannot be read; narrower terminals wrap the lines themselves."""

HELP_WIDTH, MIN_HELP_WIDTH = "TERMINAL_WIDTH", 72
"""The variable that Typer reads the width of help from, and the width under which it cuts the names of options."""

_MAX_SIZE = 1_000
_closed: set[str] = set()


def prepare_streams() -> None:
    """Open what is closed, print `?` for what an encoding lacks, and forget sizes of the terminal that are none.

    Errors of stdout name it. Errors of stderr are passed over: progress and notes must not end the work that they tell
    of.
    """
    for variable, least in (("COLUMNS", MIN_WIDTH), ("LINES", 1), (HELP_WIDTH, MIN_HELP_WIDTH)):
        _correct_size(variable, least)
    if shutil.get_terminal_size().columns < MIN_HELP_WIDTH:
        os.environ.setdefault(HELP_WIDTH, str(MIN_HELP_WIDTH))
    _open_descriptors()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            _closed.add(name)
            setattr(sys, name, _nowhere(mode))
    sys.stdout = _wrapped(sys.stdout, sys.__stdout__, _NamedOutput)
    sys.stderr = _wrapped(sys.stderr, sys.__stderr__, _UnfailingOutput)


def require_stdout(instead: str) -> None:
    """Raise ConfigError where stdout is closed and nothing else would hold the results.

    Args:
        instead: what to do, such as `give --json FILE`.
    """
    if "stdout" in _closed:
        raise ConfigError(f"{STDOUT} is closed, so that the results would be lost: open it, or {instead}")


def flush_stdout() -> None:
    """Write what is buffered; raises OSError, which names the stream, if that fails."""
    if not sys.stdout.closed:
        sys.stdout.flush()


def abandon_stdout() -> None:
    """Write nothing more: Python flushes stdout at exit and would complain once more about a broken one."""
    sys.stdout = _nowhere("w")


class _NamedOutput(io.FileIO):
    """A stream whose errors say which one it is."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = STDOUT
            raise


class _UnfailingOutput(io.FileIO):
    """A stream that drops what cannot be written."""

    def write(self, data: Any) -> int:
        try:
            written: int | None = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


def _wrapped(stream: TextIO, original: TextIO | None, kind: type[io.FileIO]) -> TextIO:
    """The stream over a file of this kind; itself where something else, such as a test, stands in for it."""
    if stream is not original or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(kind(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="replace" if stream.errors in ("strict", "surrogateescape") else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _nowhere(mode: str) -> Any:
    return open(os.devnull, mode, encoding="utf-8")


def _correct_size(variable: str, least: int) -> None:
    """Keep a size within its limits. 0, a word or an empty text is no size, and is taken away."""
    given = os.environ.get(variable)
    if given is None:
        return
    if given.isascii() and given.isdigit() and given.strip("0"):
        size = int(given) if len(given) < len(str(_MAX_SIZE)) else _MAX_SIZE
        os.environ[variable] = str(max(size, least))
    else:
        del os.environ[variable]


def _open_descriptors() -> None:
    """Descriptors 0 to 2, so that a file which is opened later does not become one of the standard streams."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
