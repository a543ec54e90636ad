"""Which runs compile the layers of their backbone."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from vrm.errors import ConfigError
from vrm.train import compilation
from vrm.train.compilation import PAYS_AFTER, compile_backbone, compiles

EPOCHS, PARAMETERS = 2, 10_000_000
ENOUGH = int(PAYS_AFTER / EPOCHS / PARAMETERS)


@pytest.fixture
def decide(make_config, monkeypatch):
    """decide(setting, rows, device, problem of the compiler): (whether to compile, what is told)."""

    def decide(asked, rows, device="cpu", problem=None, tuning="full", parameters=PARAMETERS):
        asked_for = []
        monkeypatch.setattr(compilation, "compiler_problem", lambda kind: asked_for.append(kind) or problem)
        found = compiles(
            make_config({"model.compile": asked, "model.tuning": tuning, "train.epochs": EPOCHS}),
            rows,
            parameters,
            device,
        )
        assert set(asked_for) <= {device}
        return found

    return decide


def test_long_runs_on_a_cpu_are_compiled_and_sooner_for_larger_models(decide):
    for tuning in ("full", "lora"):
        compiled, told = decide("auto", ENOUGH, tuning=tuning)
        assert compiled
        assert "the backbone's layers are compiled" in told
    assert decide("auto", ENOUGH // 10, parameters=10 * PARAMETERS)[0]
    assert decide("auto", ENOUGH, parameters=PARAMETERS // 10) == (False, None)


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


@pytest.fixture
def backbone():
    return BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2))


@pytest.mark.parametrize("asked", [True, "auto"])
def test_on_auto_what_cannot_be_translated_is_run_as_it_is(backbone, asked):
    with torch._dynamo.config.patch(suppress_errors=False):
        assert compile_backbone(backbone, asked) is None
        assert torch._dynamo.config.suppress_errors == (asked == "auto")


def test_a_backbone_without_layers_to_be_found_stays_as_it_is_unless_compiling_was_asked_for(backbone):
    backbone.config.num_hidden_layers = 3
    assert "BertModel has no list of its 3 layers" in compile_backbone(backbone, "auto")
    with pytest.raises(ConfigError, match="BertModel has no list of its 3 layers"):
        compile_backbone(backbone, True)
