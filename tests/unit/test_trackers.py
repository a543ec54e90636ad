"""Trackers are checked when a configuration is read, without loading one."""

from __future__ import annotations

import pytest
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from vrm import trackers
from vrm.config import parse_config
from vrm.errors import ConfigError


def config(*names):
    return parse_config({"output_dir": "x", "data": {"train": "y"}, "train": {"report_to": list(names)}})


def test_the_trackers_are_those_of_transformers():
    assert set(trackers.TRACKERS) == set(INTEGRATION_TO_CALLBACK)


def test_one_that_is_misspelt(monkeypatch):
    with pytest.raises(
        ConfigError,
        match=r"train\.report_to: .*no tracker is called 'Wandb'; did you mean wandb\? There are .*tensorboard",
    ):
        config("Wandb")
    with pytest.raises(ConfigError, match=r"train\.report_to: .*no tracker is called 'a file'; There are"):
        config("none", "a file")


def test_one_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: name == "tensorboardX" or None)
    with pytest.raises(
        ConfigError, match=r"'comet_ml' is not installed: pip install comet-ml, or .*Installed: tensorboard;"
    ):
        config("tensorboard", "comet_ml")
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="Installed: no other"):
        config("wandb")
    assert config("all").train.report_to == ["all"]
    assert config("none", "kubeflow").train.report_to == ["none", "kubeflow"]
