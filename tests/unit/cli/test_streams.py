"""What a terminal, a pipe or a scheduler may do to the standard streams, and what is printed all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vrm.cli.streams import MIN_WIDTH, prepare_streams

PRINTER = """
import sys
from vrm.cli import main as entry
from vrm.cli.console import note, print_json, results
from vrm.results.formats import table

def printed(*_):
    note("a note")
    shown = table("café", ["", "n", "accuracy"])
    shown.add_row("编程", "5", "80.0")
    results().print(shown)
    print_json('{"name": "café \U0001f600"}')
    raise SystemExit(0)

entry.get_command = lambda app: lambda **_: printed()
entry.main([])
""".encode("ascii", "backslashreplace").decode()


def run(*command: str, shell: str = "", **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A fresh Python under these variables; `shell` redirects its streams."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return subprocess.run(
        ["sh", "-c", f'"$0" "$@" {shell}', sys.executable, *command],
        capture_output=True,
        env=environment | variables,
        timeout=120,
        check=False,
    )


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("variables", [ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"}])
def test_what_the_encoding_lacks_is_replaced_and_json_is_whole(variables):
    done = run("-c", PRINTER, **variables)
    assert done.returncode == 0, done.stderr.decode()
    *shown, document = done.stdout.splitlines()
    assert any(b"80.0" in line for line in shown)
    assert json.loads(document) == {"name": "café 😀"}


def test_json_is_utf8_where_the_stream_is():
    done = run("-c", PRINTER, PYTHONIOENCODING="utf-8")
    assert "café 😀" in done.stdout.decode().splitlines()[-1]


@pytest.mark.parametrize("size", ["0", "-5", "wide", "", "3", "99999999999999999999"])
def test_a_width_that_is_none_is_forgotten(size):
    done = run("-m", "vrm.cli.main", "score", "--help", COLUMNS=size, LINES=size, TERMINAL_WIDTH=size)
    assert done.returncode == 0, done.stderr.decode()
    words = " ".join(done.stdout.decode().replace("│", " ").split())
    assert "--on-overlong" in words
    assert "…" not in words
    assert len(done.stdout.splitlines()) < 300


@pytest.mark.parametrize(("given", "left"), [("0", None), ("80", "80"), ("7", str(MIN_WIDTH)), ("9" * 9, "1000")])
def test_sizes(monkeypatch, given, left):
    monkeypatch.setenv("COLUMNS", given)
    prepare_streams()
    assert os.environ.get("COLUMNS") == left


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_closed_streams_and_a_stderr_that_fails_end_nothing(shell):
    assert run("-c", PRINTER, shell=shell).returncode == 0


@pytest.mark.parametrize("command", [("--version",), ("--help",), ("evaluate", "--help")])
def test_a_stdout_that_fails_is_named_in_one_line(command):
    done = run("-m", "vrm.cli.main", *command, shell=">/dev/full")
    assert done.returncode == 1
    assert done.stderr.decode() == "error: standard output: No space left on device\n"


def test_a_reader_that_goes_away_leaves_no_traceback():
    done = run("-m", "vrm.cli.main", "--help", shell="| true")
    assert done.stderr == b""


@pytest.mark.parametrize(
    "command", [("score", "m", "f"), ("evaluate", "m", "f"), ("doctor", "f"), ("explain", "m", "f")]
)
def test_results_that_would_go_nowhere_are_refused_before_the_work(command):
    done = run("-m", "vrm.cli.main", *command, shell=">&-")
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: standard output is closed")


def test_descriptors_of_closed_streams_are_taken(tmp_path):
    """A file that is opened later must not receive what others write to descriptor 1."""
    script = (
        "import os\nfrom vrm.cli.streams import prepare_streams\nprepare_streams()\n"
        f"f = open({str(tmp_path / 'weights')!r}, 'w')\nos.write(1, b'noise')\nassert f.fileno() > 2\n"
    )
    assert run("-c", script, shell=">&- 2>&-").returncode == 0
    assert Path(tmp_path / "weights").read_text() == ""
