"""The terminal: results to stdout, progress and summaries to stderr, and libraries kept quiet."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vrm.cli.streams import MIN_WIDTH, require_stdout
from vrm.errors import ConfigError
from vrm.files import holds_something, write_text

if TYPE_CHECKING:
    from vrm.data.tokenized import OverlongReport
    from vrm.results import Document

FIRST_LOG_SECONDS, LOG_EVERY_SECONDS = 2.0, 10.0
LOADING_LOG_SECONDS = 60.0
"""Logs of commands are read beside their results, so that they speak of loading only if it hangs."""


class _Results(Console):
    """A console whose lines are never cut: a table that is wider than the terminal is wrapped by it."""

    def print(self, *objects: Any, crop: bool = False, **how: Any) -> None:
        super().print(*objects, crop=crop, **how)


def results() -> Console:
    """Console for results. Width and colour as the terminal has them; 100 columns where there is none."""
    console = _Results(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 100, highlight=False)
    console.width = max(console.width, MIN_WIDTH)
    return console


def messages() -> Console:
    """Console for what is not a result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """A line on stderr, as it is: square brackets in it are no markup."""
    messages().print(text, markup=False)


def print_json(text: str) -> None:
    """A JSON document to stdout: UTF-8, or with escapes where the stream has another encoding. Both read the same."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if encoding.lower().replace("-", "").replace("_", "") != "utf8":
        text = re.sub(r"[^\x00-\x7f]", lambda character: json.dumps(character[0])[1:-1], text)
    print(text, end="" if text.endswith("\n") else "\n")


def check_results_have_a_place(json_file: Path | None, overwrite: bool, *others: Path | None) -> None:
    """Check before the work that its results can be kept.

    Args:
        json_file: for the document; None and `-` for stdout.
        overwrite: replace results that are there.
        others: further files that are written.

    Raises:
        ConfigError: stdout is closed and no file takes the results, or a file holds something already.
    """
    if json_file is None or str(json_file) == "-":
        require_stdout("give --json FILE")
    if json_file is not None and json_file.is_dir():
        raise ConfigError(f"--json: {json_file} is a directory; give the name of a file in it")
    for file in (json_file, *others):
        if file is not None and not overwrite and holds_something(file):
            raise ConfigError(f"{file} exists already: choose another name, or replace it with --overwrite")


def warn_of_rows(name: str, report: OverlongReport) -> None:
    """Lines on stderr about rows of a file that the model did not read, or not as they are."""
    for line in report.warnings():
        note(f"{name}: {line}")


def write_json(path: Path, document: Document) -> None:
    """A document to a file, whose folder is made if needed and which a line on stderr names; to stdout for `-`."""
    from vrm.results import to_text

    text = to_text(document)
    if str(path) == "-":
        print_json(text)
    else:
        write_text(path, text)
        note(f"wrote {path}")


def quiet_libraries() -> None:
    """Silence the bars and advisory lines of `transformers`; its errors are raised all the same. Imports it."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


class Meter:
    """Progress of something without a known end: a live line on a terminal, else one after 2 s and every 10 s more.

    Without a terminal, a line that says what the last one said is left out.

    Use as a context manager; call `update` with the text to show. Work of less than 2 s shows no line in a log.

    Args:
        title: before the text.
        after: seconds without a terminal until the first line, where it is not 2.
    """

    def __init__(self, title: str, after: float | None = None) -> None:
        self._title, self._text, self._after = title, "...", after
        self._live: Progress | None = None
        self._task: Any = None
        self._done = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> Meter:
        if sys.stderr.isatty():
            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            self._live = Progress(*columns, console=messages(), transient=True)
            self._task = self._live.add_task(f"{self._title} {self._text}", total=None)
            self._live.start()
        else:
            self._teller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        if self._live is not None:
            self._live.stop()
        else:
            self._teller.join()

    def update(self, text: str) -> None:
        """Show where the work stands."""
        self._text = text
        if self._live is not None:
            self._live.update(self._task, description=f"{self._title} {text}")

    def _tell(self) -> None:
        # From a thread of its own: what takes long may be one call, which cannot say anything itself.
        wait = FIRST_LOG_SECONDS if self._after is None else self._after
        told = ""
        while not self._done.wait(wait):
            if self._text != told:
                told = self._text
                note(f"{self._title} {told}")
            wait = LOG_EVERY_SECONDS
