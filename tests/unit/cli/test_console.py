from __future__ import annotations

import time

import pytest

from vrm.cli import console
from vrm.cli.console import Meter


@pytest.fixture
def soon(monkeypatch):
    """Lines of a meter come after hundredths of a second."""
    monkeypatch.setattr(console, "FIRST_LOG_SECONDS", 0.01)
    monkeypatch.setattr(console, "LOG_EVERY_SECONDS", 0.01)


def wait_for(capsys, text, limit=30.0):
    seen, end = "", time.monotonic() + limit
    while text not in seen and time.monotonic() < end:
        time.sleep(0.01)
        seen += capsys.readouterr().err
    return seen


def test_long_work_is_spoken_of_though_it_says_nothing_itself(soon, capsys):
    with Meter("[loading]") as meter:
        assert "[loading] ...\n" in wait_for(capsys, "[loading] ...")
        meter.update("2 of 4")
        assert "[loading] 2 of 4\n" in wait_for(capsys, "2 of 4")
    capsys.readouterr()
    time.sleep(0.05)
    assert capsys.readouterr() == ("", "")


def test_a_line_that_says_nothing_new_is_left_out(soon, capsys):
    with Meter("drawing") as meter:
        seen = wait_for(capsys, "drawing ...")
        time.sleep(0.1)
        meter.update("9 of 10")
        seen += wait_for(capsys, "9 of 10")
        meter.update("9 of 10")
        time.sleep(0.1)
    assert seen + capsys.readouterr().err == "drawing ...\ndrawing 9 of 10\n"


def test_short_work_shows_no_line_and_an_error_ends_the_meter(capsys):
    with Meter("short") as meter:
        meter.update("done")
    with Meter("loading", after=60.0):
        pass
    with pytest.raises(ZeroDivisionError), Meter("short"):
        _ = 1 / 0
    assert capsys.readouterr() == ("", "")
    assert not meter._teller.is_alive()


def test_a_terminal_has_a_live_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with Meter("[work]") as meter:
        meter.update("1 of 2")
        assert meter._live is not None
        assert meter._live.tasks[0].description == "[work] 1 of 2"
    assert not meter._live.live.is_started
