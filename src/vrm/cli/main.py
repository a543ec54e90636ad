"""Entry point of the command line: commands by name, loaded when they are called, and errors as users read them.

To register a command, write a module of its name with a function of its name that Typer can read (annotated parameters,
a docstring as its help), and add an entry with the line that `vrm --help` shows. The module is imported only when its
command is called or asked for its own help, so it should import torch and the like inside the function. An entry whose
module does not exist is not listed. Raise `VrmError` for anything that went wrong: `main` prints its text to stderr and
exits with 1. Raise `typer.BadParameter` for wrong arguments, which exits with 2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from vrm import __version__
from vrm.cli.streams import STDOUT, abandon_stdout, flush_stdout, prepare_streams
from vrm.errors import VrmError
from vrm.files import cache_home
from vrm.threads import wait_briefly
from vrm.user_files import at_home

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: its name, and its line in the list of commands. Both its module and its function are called so."""

    name: str
    summary: str

    @property
    def module(self) -> str:
        """The module that has the command."""
        return f"vrm.cli.{self.function}"

    @property
    def function(self) -> str:
        """The command's name in Python."""
        return self.name.replace("-", "_")

    @property
    def exists(self) -> bool:
        """Whether the module is part of this installation."""
        return find_spec(self.module) is not None


_ENTRIES = (
    Entry("quickstart", "Train on the built-in corpus, compare with baselines, explain one pair."),
    Entry("train", "Train a reward model from a configuration file."),
    Entry("evaluate", "Measure a model on benchmarks and on judged pairs."),
    Entry("compare", "Compare two models on the same judgments, pair by pair."),
    Entry("score", "Write rewards for a file of prompts and completions."),
    Entry("explain", "Show why a model prefers one completion to another."),
    Entry("explore", "Open a page that shows why, and turns the knobs: weights, raters, sentences."),
    Entry("adapt", "Learn from a few comparisons how a rater or group judges otherwise."),
    Entry("audit", "Try edits of completions that should not pay, and see whether they do."),
    Entry("certify", "Bound how often the head of a run can be wrong on new prompts."),
    Entry("doctor", "Find out what is wrong with preference data."),
    Entry("export", "Write a model directory to share, with its code and a model card."),
    Entry("distill-linear", "Fit a plain backbone and score layer, for loaders that know no VRM."),
    Entry("report", "Write one HTML page of runs and results, with charts."),
    Entry("serve", "Serve a model over HTTP, to trainers and programs of your own."),
)

COMMANDS = {entry.name: entry for entry in _ENTRIES}


_SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": "markdown",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def _command(name: str, function: Any, summary: str | None = None) -> Any:
    app = typer.Typer(**_SETTINGS)
    app.command(name, help=summary)(_with_home(function))
    return get_command(app)


def _with_home(function: Any) -> Any:
    """A command whose paths may begin with `~`: the shell leaves it in `--json=~/x`, in quotes and after an `=`."""

    def expanded(value: Any) -> Any:
        if isinstance(value, list):
            return [expanded(entry) for entry in value]
        return Path(at_home(str(value))) if isinstance(value, Path) else value

    @wraps(function)
    def run(**arguments: Any) -> Any:
        return function(**{name: expanded(value) for name, value in arguments.items()})

    return run


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command is needed, and for the list of commands never."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands that this installation has."""
        return [name for name, entry in COMMANDS.items() if entry.exists]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None if there is none of this name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None or not entry.exists:
            return None
        if self._listing or ctx.resilient_parsing:
            return _command(cmd_name, lambda: None, entry.summary)
        return _command(cmd_name, getattr(import_module(entry.module), entry.function))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As in `TyperGroup`, which looks in `commands` for names that are like an unknown one."""
        self.commands = dict.fromkeys(self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, with the commands' lines from `COMMANDS`."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, **_SETTINGS)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vrm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Variational reward models: rewards that explain themselves and know how sure they are."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 (failed), 2 (wrong usage), 130 (interrupted)."""
    # Read when these libraries are first imported, so that their bars do not stand between ours.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Matplotlib would make a folder among the user's configurations, for what is a cache of fonts here.
    os.environ.setdefault("MPLCONFIGDIR", str(cache_home() / "matplotlib"))
    wait_briefly()
    prepare_streams()
    try:
        _run(arguments)
    except VrmError as error:
        _fail(str(error))
    except BrokenPipeError:
        abandon_stdout()
        raise SystemExit(EXIT_FAILED) from None
    except OSError as error:
        if error.filename == STDOUT:
            abandon_stdout()
        _fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None


def _run(arguments: Sequence[str] | None) -> None:
    try:
        get_command(app)(args=None if arguments is None else list(arguments), prog_name="vrm")
    except SystemExit:
        flush_stdout()
        raise


def _fail(message: str) -> None:
    mark = "\x1b[1;31merror:\x1b[0m" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else "error:"
    print(f"{mark} {message}", file=sys.stderr)
    raise SystemExit(EXIT_FAILED) from None


if __name__ == "__main__":
    main()
