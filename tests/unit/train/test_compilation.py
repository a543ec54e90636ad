"""Which runs compile the layers of their backbone."""

from __future__ import annotations

import pytest

from vrm.errors import ConfigError
from vrm.train import compilation
from vrm.train.compilation import PAYS_AFTER, compiles

EPOCHS = 2
ENOUGH = PAYS_AFTER // EPOCHS


@pytest.fixture
def decide(make_config, monkeypatch):
    """decide(setting, rows, device, problem of the compiler): (whether to compile, what is told)."""

    def decide(asked, rows, device="cpu", problem=None, tuning="full"):
        asked_for = []
        monkeypatch.setattr(compilation, "compiler_problem", lambda kind: asked_for.append(kind) or problem)
        found = compiles(
            make_config({"model.compile": asked, "model.tuning": tuning, "train.epochs": EPOCHS}), rows, device
        )
        assert set(asked_for) <= {device}
        return found

    return decide


def test_long_runs_on_a_cpu_are_compiled(decide):
    for tuning in ("full", "lora"):
        compiled, told = decide("auto", ENOUGH, tuning=tuning)
        assert compiled
        assert "the backbone's layers are compiled" in told


@pytest.mark.parametrize(
    ("asked", "rows", "device", "tuning"),
    [
        ("auto", ENOUGH - 1, "cpu", "full"),
        ("auto", 100 * ENOUGH, "cuda", "full"),
        ("auto", 100 * ENOUGH, "cpu", "frozen"),
        (False, 100 * ENOUGH, "cpu", "full"),
    ],
)
def test_other_runs_are_not_and_nothing_is_said(decide, asked, rows, device, tuning):
    # Nor is the compiler tried, which takes seconds.
    assert decide(asked, rows, device, "never asked for", tuning) == (False, None)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_asked_for_is_compiled_however_short(decide, device):
    assert decide(True, 1, device)[0]


def test_without_a_compiler_a_run_goes_on_unless_compiling_was_asked_for(decide):
    compiled, told = decide("auto", ENOUGH, problem="InvalidCxxCompiler: none found")
    assert not compiled
    assert told.endswith("steps slower: InvalidCxxCompiler: none found")
    with pytest.raises(ConfigError, match=r"model\.compile: the compiler does not work .*\(InvalidCxxCompiler: none"):
        decide(True, ENOUGH, problem="InvalidCxxCompiler: none found")
