"""Whether there is a compiler, told by trying it. What compiled layers compute is tested with packed rows."""

from __future__ import annotations

import pytest
import torch

from vrm.train import compilation as compiling


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("\n no g++ found\nSet CXX"), "RuntimeError: no g++ found"),
        (OSError(), "OSError: no reason given"),
    ],
)
def test_a_compiler_that_fails_is_a_problem(monkeypatch, error, told):
    def fail(values):
        raise error

    monkeypatch.setattr(torch, "compile", lambda function, **_: fail)
    assert compiling.compiler_problem.__wrapped__("cpu") == told


def test_a_compiler_that_works_is_none(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    assert compiling.compiler_problem.__wrapped__("cpu") is None
