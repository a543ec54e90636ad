"""Commands as forks of this process, which has imported what they need: a try costs what it does, not five seconds."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path


def in_child(work: Callable[[], None], output: Path) -> int:
    """Do something in a fork of this process, its streams in two files; the exit status, negative for a signal.

    Args:
        work: ends, or raises SystemExit.
        output: `OUTPUT.out` and `OUTPUT.err` get what it prints.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _redirect(output)
            work()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except BaseException:
            traceback.print_exc()
            status = 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _redirect(output: Path) -> None:
    for descriptor, name, ending in ((1, "stdout", ".out"), (2, "stderr", ".err")):
        file = os.open(f"{output}{ending}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
        stream = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def vrm(arguments: Sequence[object]) -> None:
    """The command line as its own process would run it; raises SystemExit."""
    from vrm.cli.main import main

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        main([str(argument) for argument in arguments])
