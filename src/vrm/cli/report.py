"""`vrm report`: one HTML page from runs and results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vrm.cli import options
from vrm.cli.console import Meter, note
from vrm.files import holds_something, write_text

PAGE_MARK = b'<meta name="generator" content="vrm '


def report(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_RESULT...",
            help="Run directories, the quickstart's output directory, and JSON results of evaluate, compare, audit "
            "and doctor.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")] = Path(
        "report.html"
    ),
    overwrite: options.OverwriteOption = False,
    title: Annotated[str, typer.Option("--title", help="Of the page.")] = "Reward model report",
) -> None:
    """Write one self-contained HTML page with tables and charts.

    Any set of runs and results; each section appears if there is data for it, and what could not be shown is named at
    the end. The page loads nothing and runs no script. An earlier page is replaced, another file only with --overwrite.
    Needs the extra `report` (matplotlib).
    """
    from vrm.errors import ConfigError
    from vrm.report import read_inputs, render_report

    if output.is_dir():
        raise ConfigError(f"--output: {output} is a directory; give the name of a file in it")
    if output.resolve() in {path.resolve() for path in inputs}:
        raise ConfigError(f"--output: {output} is one of the inputs; it would be overwritten")
    if holds_something(output) and not overwrite and PAGE_MARK not in output.read_bytes():
        raise ConfigError(f"--output: {output} is no page of vrm report; choose another name, or pass --overwrite")
    with Meter("report") as meter:
        meter.update("reading")
        read = read_inputs(inputs)
        meter.update("drawing")
        page = render_report(read, title)
    write_text(output, page)
    note(f"wrote {output} ({len(page.encode()) / 1e3:.0f} kB)")
