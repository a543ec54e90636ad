"""What a command opens, changes, starts and speaks to, from the system calls that strace saw."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 1800.0
"""Seconds until a command that does not end is killed."""
CALLS = "%file,%network,execve,ftruncate"
_OPENED = re.compile(r"^(?:open|openat|openat2|creat)\(.* = \d+<(?P<path>[^>]*)>$")
_FOR_WRITING = re.compile(r"O_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)")
_CHANGED = re.compile(
    r"^(?:mkdir|mkdirat|rename|renameat|renameat2|unlink|unlinkat|rmdir|symlink|symlinkat|link|linkat|truncate|chmod"
    r"|fchmodat|chown|fchownat|mknod|mknodat|utimensat)\((?P<arguments>.*)\) = 0$"
)
_PLACE = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
_ADDRESS = re.compile(
    r"^(?P<call>connect|bind|sendto|sendmsg)\(.*?sa_family=(?P<family>AF_INET6?|AF_UNIX)"
    r"(?:.*?sin6?_port=htons\((?P<port>\d+)\))?.*?(?:inet_addr\(\"|inet_pton\(AF_INET6, \"|sun_path=@?\")(?P<to>[^\"]*)"
)
_STARTED = re.compile(r'^execve\("(?P<path>[^"]*)".* = 0$')


@dataclass
class Footprint:
    """What a command did to the machine.

    Attributes:
        read: files and folders that it opened.
        written: files and folders that it opened for writing, made, renamed, changed or removed.
        addresses: what it sent to, connected with or listened at, as "call family address port".
        started: programs.
        calls: that were looked at.
        status: its exit status.
        errors: what it said on stderr.
    """

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    calls: int = 0
    status: int = 0
    errors: str = ""


def watched(
    arguments: list[str],
    directory: Path,
    environment: dict[str, str],
    traces: Path,
    output: Path,
    meanwhile: Callable[[subprocess.Popen[bytes]], None] | None = None,
) -> Footprint:
    """Run `vrm` under strace and read what it saw.

    Args:
        arguments: of `vrm`.
        directory: to run in.
        environment: of the command.
        traces: folder for what strace writes, removed at the end.
        output: file for what the command prints.
        meanwhile: called with strace's process once it runs, for commands that do not end by themselves.

    Raises:
        FileNotFoundError: there is no strace.
    """
    if shutil.which("strace") is None:
        raise FileNotFoundError("this drill needs strace: apt-get install strace")
    shutil.rmtree(traces, ignore_errors=True)
    traces.mkdir(parents=True)
    command = ["strace", "-ff", "-y", "-qq", "-s", "4096", "--seccomp-bpf", "-e", f"trace={CALLS}"]
    command += ["-o", str(traces / "calls"), sys.executable, "-m", "vrm.cli.main", *arguments]
    with output.open("w+b") as errors:
        with subprocess.Popen(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
        ) as process:
            try:
                if meanwhile is not None:
                    meanwhile(process)
                status = process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                stop_child(process, signal.SIGKILL)
                status = process.wait()
            except BaseException:
                stop_child(process, signal.SIGKILL)
                raise
        errors.seek(0)
        found = Footprint(status=status, errors=errors.read().decode("utf-8", "replace"))
    for trace in sorted(traces.iterdir()):
        for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
            _add(found, line, directory)
    shutil.rmtree(traces)
    return found


def _add(found: Footprint, line: str, directory: Path) -> None:
    found.calls += 1
    if match := _OPENED.match(line):
        path = match["path"].removesuffix(" (deleted)")
        (found.written if _FOR_WRITING.search(line) else found.read).add(path)
    elif match := _CHANGED.match(line):
        found.written |= set(_places(match["arguments"], directory))
    elif match := _ADDRESS.match(line):
        port = f":{match['port']}" if match["port"] else ""
        found.addresses.add(f"{match['call']} {match['to']}{port}")
    elif match := _STARTED.match(line):
        found.started.add(os.path.realpath(match["path"]))


def _places(arguments: str, directory: Path) -> Iterator[str]:
    for match in _PLACE.finditer(arguments):
        yield os.path.normpath(os.path.join(match["folder"] or directory, match["path"]))


def stop_child(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """End the command under strace as `kill` does, not strace itself; one that has ended is left alone."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for child in children.read_text(encoding="ascii").split() if children.exists() else []:
        os.kill(int(child), how)


def until(ready: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 300.0) -> None:
    """Wait until something is so, or the process has ended."""
    limit = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > limit:
            return
        time.sleep(0.2)
