"""Commands in forks of one process that has imported what they import, killed where a try asks for it."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

IMPORTED = (
    "vrm.cli.adapt",
    "vrm.cli.evaluate",
    "vrm.cli.export",
    "vrm.cli.score",
    "vrm.cli.train",
    "vrm.evaluate.tables",
    "vrm.data.recipes.base",
    "vrm.cli.main",
    "vrm.export.card",
    "vrm.export.directory",
    "vrm.inference.devices",
    "vrm.inference.score_parts",
    "vrm.model.heads.vrm",
    "vrm.train.adapt",
    "vrm.train.run",
    "datasets",
    "peft",
    "pyarrow.parquet",
    "scipy.stats",
    "transformers.models.auto.modeling_auto",
    "transformers.models.qwen3.modeling_qwen3",
)
CHANGING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
LONGEST_SECONDS = 120.0
_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit status; negative for the signal that ended it; None where it did not end in time.
        seconds: of the processor.
        words: what it printed.
    """

    code: int | None
    seconds: float
    words: str

    @property
    def was_killed(self) -> bool:
        """Whether the kill came before its own end."""
        return self.code == -signal.SIGKILL

    @property
    def fault(self) -> str | None:
        """A traceback or a hang, which no command may end in; None for an exit status with words."""
        if self.code is None:
            return f"still running after {LONGEST_SECONDS:.0f} s"
        if _TRACEBACK in self.words:
            return self.words.strip().splitlines()[-1]
        return None if self.code in (0, 1, 2) else f"exit status {self.code}"


@dataclass(frozen=True)
class Kill:
    """When `SIGKILL` is sent: after so much time of the processor, or before a change of a file.

    Attributes:
        seconds: of the processor; sent by the parent.
        change: number of the change in the folder (1 is the first), before which the process kills itself.
        kind: of these changes alone, an audit event such as `os.rename`; None for all.
    """

    seconds: float | None = None
    change: int | None = None
    kind: str | None = None


def warm_up(model: Path) -> None:
    """Import what commands import, load a model and build the commands, so that forks need not."""
    from vrm import RewardEngine

    for name in IMPORTED:
        import_module(name)
    RewardEngine.from_pretrained(model)
    # What is there now is not looked at by the forks' garbage collection, nor copied for it.
    gc.collect()
    gc.freeze()


def run(arguments: Sequence[str], folder: Path, kill: Kill | None = None, log: Path | None = None) -> Ended:
    """Run `vrm` in a fork.

    Args:
        arguments: of the command.
        folder: it runs in; changes of files are counted below it.
        kill: when it is killed.
        log: a file that gets one line for every change of a file.
    """
    return finish(start(arguments, folder, kill, log), folder, kill)


def start(
    arguments: Sequence[str], folder: Path, kill: Kill | None = None, log: Path | None = None, name: str = "words"
) -> int:
    """Begin a command in a fork whose words go to a file of that name beside its folder; its process id."""
    child = os.fork()
    if child == 0:
        os._exit(_command(arguments, folder, kill, log, name))
    return child


def finish(child: int, folder: Path, kill: Kill | None = None, name: str = "words") -> Ended:
    """Wait for the command, and kill it where its time has come."""
    started, clock, seconds = time.monotonic(), (~child << 3) | 2, 0.0
    limit = None if kill is None else kill.seconds
    status = 0
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            seconds = usage.ru_utime + usage.ru_stime
            break
        late = time.monotonic() - started > LONGEST_SECONDS
        if late or (limit is not None and time.clock_gettime(clock) >= limit):
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            seconds = usage.ru_utime + usage.ru_stime
            if late:
                return Ended(None, seconds, "")
            break
        time.sleep(0.001)
    file = _words(folder, name)
    words = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    return Ended(os.waitstatus_to_exitcode(status), seconds, words)


def _words(folder: Path, name: str) -> Path:
    return folder.parent / f"{folder.name}.{name}"


def _command(arguments: Sequence[str], folder: Path, kill: Kill | None, log: Path | None, name: str) -> int:
    os.chdir(folder)
    os.environ["VRM_ROW_CACHE"] = str(folder / "rows")
    words = os.open(_words(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(words, stream)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if log is not None or (kill is not None and kill.change is not None):
        _watch(str(folder), kill, log)
    sys.argv = ["vrm", *arguments]
    code = 1
    try:
        from vrm.cli.main import main

        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _watch(folder: str, kill: Kill | None, log: Path | None) -> None:
    """Count changes of files below a folder, note them, and kill this process before one of them."""
    out = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    seen = 0

    def hook(event: str, values: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in CHANGING and event != "open":
            return
        place = str(values[0])
        if event == "open" and not int(str(values[2] or 0)) & (os.O_WRONLY | os.O_RDWR):
            return
        # `shutil.rmtree` removes by names below a folder that it holds open.
        if not place.startswith(folder) and os.path.isabs(place):
            return
        if kill is not None and kill.kind not in (None, event):
            return
        seen += 1
        if out is not None:
            os.write(out, f"{event} {re.sub(r'[0-9a-f]{32}', '*', place)}\n".encode())
        if kill is not None and seen == kill.change:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
