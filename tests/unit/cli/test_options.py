"""Shared options: forms, choices and devices."""

from __future__ import annotations

import pytest
import typer

from vrm.cli import options
from vrm.errors import CheckpointError, ConfigError
from vrm.inference import extraction
from vrm.inference.devices import resolve_device
from vrm.inference.steering import Steering


def test_pairs():
    assert options.pairs(["a=b", " c = d=e "], "--column", "NAME=COLUMN") == {"a": "b", "c": "d=e"}
    assert options.pairs(None, "--column", "NAME=COLUMN") == {}


@pytest.mark.parametrize("values", [["a"], ["=b"], ["a="], ["a=b", "a=c"]])
def test_malformed_pairs_are_usage_errors(values):
    with pytest.raises(typer.BadParameter):
        options.pairs(values, "--column", "NAME=COLUMN")


def test_steering():
    assert options.steering(None, []) is None
    assert options.steering(["safety=5", "brevity=0.5"], ["style", "style"]) == Steering(
        {"safety": 5.0, "brevity": 0.5}, ("style",)
    )
    with pytest.raises(typer.BadParameter, match="not a number"):
        options.steering(["safety=much"], None)
    with pytest.raises(typer.BadParameter, match="left out and emphasized"):
        options.steering(["safety=1"], ["safety"])


def test_devices():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="abacus"):
        resolve_device("abacus")


def load(model: str, **kwargs):
    settings = {"device": "cpu", "precision": "float32", "on_overlong": "truncate", "steering": None, **kwargs}
    return options.load_engine(model, **settings)


def test_the_engine_is_set_as_asked(tiny_model_dir):
    engine = load(str(tiny_model_dir), steering=Steering({"safety": 1.0}), token_budget=99, on_overlong="drop")
    assert engine.options == extraction.ExtractionOptions("float32", 99, None)
    assert engine.steering == Steering({"safety": 1.0})
    assert engine.tokenize.on_overlong == "drop"


def test_models_that_are_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="OWNER/NAME"):
        load("no-such-model")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(str(tmp_path))


def test_unknown_objectives_are_named_with_the_known(tiny_model_dir):
    with pytest.raises(ConfigError, match=r"kindness.*helpfulness, safety, brevity, free_1"):
        load(str(tiny_model_dir), steering=Steering({"kindness": 1.0}))
