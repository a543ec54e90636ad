"""The entry point: lazy commands, exit codes, errors as users read them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import pytest

from vrm import __version__
from vrm.cli import main as entry
from vrm.errors import ConfigError

HEAVY = ("torch", "transformers", "datasets", "numpy")
PROBE = """
import json, sys
from vrm.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(json.dumps({"code": code, "loaded": sorted(name for name in sys.modules if "." not in name)}), file=sys.stderr)
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        entry.main(list(arguments))
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["score", "--help"], ["explain", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True)
    found = json.loads(done.stderr.splitlines()[-1])
    assert found["code"] in (0, None)
    assert not set(HEAVY) & set(found["loaded"])


def test_help_lists_the_commands_that_are_there(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name, item in entry.COMMANDS.items():
        assert (item.summary[:30] in out) == item.exists, name
    assert "score" in out
    assert "explain" in out


def test_every_listed_command_is_a_function_with_a_docstring():
    for item in entry.COMMANDS.values():
        if item.exists:
            function = getattr(import_module(item.module), item.function)
            assert callable(function)
            assert function.__doc__


def test_commands_whose_module_is_absent_are_not_listed(capsys, monkeypatch):
    monkeypatch.setitem(entry.COMMANDS, "score", entry.Entry("absent", "Write rewards for a file"))
    assert "Write rewards for a file" not in run(capsys, "--help")[1]
    code, _, err = run(capsys, "score")
    assert code == 2
    assert "No such command" in err


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"vrm {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["score"],
        ["score", "m", "f", "--precision", "float8"],
        ["score", "m", "f", "--on-overlong", "cut"],
        ["score", "m", "f", "--column", "completion"],
        ["score", "m", "f", "--token-budget", "0"],
        ["explain", "m"],
        ["explain", "m", "f", "--prompt", "p"],
        ["explain", "m", "--prompt", "p"],
        ["explain", "m", "--prompt", "p", "--completion", "c", "--line", "2"],
    ],
)
def test_wrong_usage_exits_with_2(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    import vrm.cli.score

    def score() -> None:
        """Fail."""
        raise error

    monkeypatch.setattr(vrm.cli.score, "score", score)


def test_our_errors_are_one_plain_line_on_stderr(capsys, monkeypatch):
    fails_with(monkeypatch, ConfigError("a[red] value is wrong"))
    assert run(capsys, "score") == (1, "", "error: a[red] value is wrong\n")


def test_files_that_cannot_be_opened_are_named(capsys, monkeypatch):
    fails_with(monkeypatch, PermissionError(13, "Permission denied", "secret.jsonl"))
    assert run(capsys, "score") == (1, "", "error: secret.jsonl: Permission denied\n")


def test_an_interrupt_exits_with_130(capsys, monkeypatch):
    fails_with(monkeypatch, KeyboardInterrupt())
    assert run(capsys, "score")[0] == 130


def test_mistakes_in_the_code_keep_their_traceback(monkeypatch):
    fails_with(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        entry.main(["score"])
