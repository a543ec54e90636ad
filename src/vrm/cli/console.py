"""The terminal: results to stdout, progress and summaries to stderr, and libraries kept quiet."""

from __future__ import annotations

import os
import sys
import time
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vrm.files import write_text

if TYPE_CHECKING:
    from vrm.results import Document

LOG_EVERY_SECONDS = 10.0


def results() -> Console:
    """Console for results. Width and colour as the terminal has them; 100 columns where there is none.

    What the encoding of stdout cannot hold is printed as `?`: users' texts hold anything.
    """
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 100, highlight=False)


def messages() -> Console:
    """Console for what is not a result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """A line on stderr, as it is: square brackets in it are no markup."""
    messages().print(text, markup=False)


def write_json(path: Path, document: Document) -> None:
    """A document to a file, whose folder is made if needed and which a line on stderr names; to stdout for `-`."""
    from vrm.results import to_text

    text = to_text(document)
    if str(path) == "-":
        print(text, end="")
    else:
        write_text(path, text)
        note(f"wrote {path}")


def quiet_libraries() -> None:
    """Silence the bars and advisory lines of `transformers`; its errors are raised all the same. Imports it."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


class Meter:
    """Progress of something without a known end: a live line on a terminal, else a line every ten seconds.

    Use as a context manager; call `update` with the text to show.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._live: Progress | None = None
        self._task: Any = None
        self._logged = time.monotonic()

    def __enter__(self) -> Meter:
        if sys.stderr.isatty():
            columns = (SpinnerColumn(), TextColumn(f"{self._title} {{task.description}}"), TimeElapsedColumn())
            self._live = Progress(*columns, console=messages(), transient=True)
            self._task = self._live.add_task("...", total=None)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, text: str) -> None:
        """Show where the work stands."""
        if self._live is not None:
            self._live.update(self._task, description=text)
        elif time.monotonic() - self._logged >= LOG_EVERY_SECONDS:
            self._logged = time.monotonic()
            note(f"{self._title} {text}")
