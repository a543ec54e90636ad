"""`vrm` for tests that run many commands: each is a fork of one process, which has imported what commands import.

    python tests/forked_command.py FOLDER      serves, and writes FOLDER/vrm when it can

`vrm` takes the arguments of `vrm` and hands them on with its directory, environment and standard streams; it ends
with the command's exit code, and ends the command when it is terminated itself. It is for tests of what commands do:
how they start, and what they import, is tested with processes of their own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from importlib import import_module
from pathlib import Path

SOCKET = "socket"

CLIENT = """\
#!{python} -ISE
import json, os, signal, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    text = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    os.chdir({folder!r})  # the whole path may be too long for a socket
    server.connect({name!r})
    socket.send_fds(server, [len(text).to_bytes(8, "little")], [0, 1, 2])
    server.sendall(text)
    answers = server.makefile("r")
    child = int(answers.readline())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: os.kill(child, number))
    sys.exit(int(answers.readline()))
"""

PRELOADED = (
    "vrm.benchmarks.scoring",
    "vrm.cli.compare",
    "vrm.cli.evaluate",
    "vrm.evaluate.tables",
    "vrm.export.directory",
    "vrm.inference.score",
    "vrm.train.run",
    "scipy.stats",
    "transformers.models.bert.modeling_bert",
    "transformers.models.qwen3.modeling_qwen3",
    "transformers.models.auto.modeling_auto",
)


def serve(folder: str) -> None:
    """Fork a process for every request, until this one is terminated."""
    os.chdir(folder)
    for name in PRELOADED:
        import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
        listener.listen(8)
        file = Path("vrm.new")
        file.write_text(CLIENT.format(python=sys.executable, folder=os.getcwd(), name=SOCKET), encoding="utf-8")
        file.chmod(0o755)
        file.rename("vrm")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the sessions are nobody's to wait for
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _session(connection)
                    os._exit(0)


def _session(connection: socket.socket) -> None:
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    text = b""
    while len(text) < int.from_bytes(size, "little"):
        text += connection.recv(1 << 16)
    child = os.fork()
    if child == 0:
        connection.close()
        os._exit(_run(*json.loads(text), streams))
    connection.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.sendall(f"{code if code >= 0 else 128 - code}\n".encode())


def _run(arguments: list[str], directory: str, environment: dict[str, str], streams: list[int]) -> int:
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["vrm", *arguments]
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    from vrm.cli.main import main

    code = 1
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
