"""Where commands write and whom they speak to, by the audit events of Python; the drill `footprint` sees more."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from vrm.cli.main import main

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.utime", "shutil.copyfile", "shutil.move", "shutil.rmtree", "tempfile.mkdtemp", "tempfile.mkstemp",
}  # fmt: skip
SPEAKS = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")


class Watch:
    """What was written and whom was spoken to while it is awake; a hook can never be taken away."""

    def __init__(self) -> None:
        self.awake = False
        self.written: set[str] = set()
        self.spoken: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.awake:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITES and not isinstance(path, int):
                self._add(path)
        elif event in CHANGES:
            for path in arguments:
                self._add(path)
        elif event in SPEAKS:
            self.spoken.append(f"{event} {arguments[1:] if event.startswith('socket.') else arguments}")

    def _add(self, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            self.written.add(os.path.realpath(os.fsdecode(path)))

    @contextmanager
    def ing(self) -> Iterator[Watch]:
        self.written, self.spoken, self.awake = set(), [], True
        try:
            yield self
        finally:
            self.awake = False


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert not stop.value.code, stop.value.code


def test_the_watch_is_awake(watch, tmp_path):
    with watch.ing():
        (tmp_path / "a").write_text("a")
        (tmp_path / "b").mkdir()
        os.rename(tmp_path / "a", tmp_path / "c")
        (tmp_path / "c").read_text()
        with socket.socket() as client, suppress(OSError):
            client.connect(("127.0.0.1", 9))
    assert {Path(path).name for path in watch.written} == {"a", "b", "c"}
    assert watch.spoken == ["socket.connect (('127.0.0.1', 9),)"]


def test_commands_write_to_their_output_and_caches_and_speak_to_nobody(watch, tiny_model_dir, tmp_path, monkeypatch):
    caches, temporary, here = tmp_path / "caches", tmp_path / "temporary", tmp_path / "here"
    for folder in (caches, temporary, here):
        folder.mkdir()
    for name, value in {"XDG_CACHE_HOME": caches, "MPLCONFIGDIR": caches / "fonts", "HOME": tmp_path / "home"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("VRM_FEATURE_CACHE")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(here)
    rows, model, out = tmp_path / "rows.jsonl", tmp_path / "model", tmp_path / "out"
    texts = [{"prompt": f"plan {n}", "chosen": f"good {n}", "rejected": f"bad {n} no"} for n in ("a", "b", "c", "d")]
    rows.write_text("".join(json.dumps(row) + "\n" for row in texts), encoding="utf-8")
    shutil.copytree(tiny_model_dir, model)
    calls = [
        ("doctor", rows, "--json", out / "doctor.json"),
        ("evaluate", model, rows, "--json", out / "evaluate.json", "--resamples", 20),
        ("score", model, rows, "-o", out / "scored.jsonl"),
        ("explain", model, rows, "--line", 1),
        ("export", model, out / "exported"),
        ("report", out / "evaluate.json", "-o", out / "page.html"),
    ]
    for call in calls:
        with watch.ing():
            run(*call)
        allowed = [os.path.realpath(folder) for folder in (out, caches, temporary)]
        outside = {
            path for path in watch.written
            if not any(path == folder or path.startswith(f"{folder}/") for folder in allowed) and path != os.devnull
        }  # fmt: skip
        assert not outside, call[0]
        assert watch.written or call[0] == "explain", call[0]
        assert not watch.spoken, call[0]
    assert not list(here.iterdir())
    assert not (tmp_path / "home").exists()
    assert not list(temporary.iterdir())
