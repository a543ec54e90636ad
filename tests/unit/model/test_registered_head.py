"""A head from outside of the package: its models train, save and load where it is registered, and nowhere else."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer

from vrm.choices import HEADS
from vrm.config import RunConfig
from vrm.data.schema import Judgment
from vrm.errors import VrmError
from vrm.export.directory import model_code, write_model
from vrm.inference.engine import RewardEngine
from vrm.model import VRMForSequenceClassification, save_model
from vrm.model.heads import registry
from vrm.model.heads.base import JudgmentHead
from vrm.model.heads.mlp import MLPHead
from vrm.model.heads.registry import head_class, register_head

ROWS = [Judgment("how good", ["the safe plan", "a bad house"])]


class WideHead(JudgmentHead):
    """As somebody's program has it."""

    is_scalar = True
    description = "a wide network"

    def feature_network(self, config, outputs):
        """Four times the hidden layer."""
        hidden = 4 * config.hidden_size_head
        return nn.Sequential(nn.Linear(config.feature_size, hidden), nn.GELU(), nn.Linear(hidden, outputs))


@pytest.fixture
def wide(monkeypatch):
    """Registered, for one test."""
    monkeypatch.setattr(registry, "_REGISTERED", {})
    monkeypatch.setitem(HEADS, "wide", "")
    del HEADS["wide"]
    register_head("wide", WideHead)


def test_its_models_load_where_it_is_registered_and_are_refused_elsewhere(wide, tiny_encoder_backbone, tmp_path):
    values = {"output_dir": "x", "data": {"train": "d.jsonl"}, "model": {"head": "wide"}}
    assert RunConfig.model_validate(values).model.head == "wide"
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder_backbone)
    model = VRMForSequenceClassification.from_backbone(str(tiny_encoder_backbone), head="wide", conversational=False)
    assert isinstance(model.score, WideHead)
    save_model(model, tokenizer, tmp_path / "model")
    before = RewardEngine(model, tokenizer).judge(ROWS).moments.mean
    again = RewardEngine.from_pretrained(tmp_path / "model")
    assert type(again.model.score) is WideHead
    torch.testing.assert_close(again.judge(ROWS).moments.mean, before)
    write_model(tmp_path / "model", tmp_path / "weights")
    assert json.loads((tmp_path / "weights" / "config.json").read_text())["head"] == "wide"
    with pytest.raises(VrmError, match=r"head of a model whose code is exported must be one of vrm, .*; got 'wide'"):
        write_model(tmp_path / "model", tmp_path / "code", remote_code=True)
    assert not any("WideHead" in text for text in model_code().values())
    registry._REGISTERED.clear()
    del HEADS["wide"]
    with pytest.raises(VrmError, match=r"got 'wide'.* comes from a fork or another version of vrm, or from a program"):
        RewardEngine.from_pretrained(tmp_path / "model")


def test_a_name_that_is_taken_and_a_class_that_is_no_head(wide):
    register_head("wide", WideHead)  # a notebook's cell may run twice
    assert head_class("wide") is WideHead
    for name, head, message in (
        ("wide", MLPHead, "the name 'wide' of a head is taken"),
        ("mlp", WideHead, "the name 'mlp' of a head is taken"),
        ("line", nn.Linear, "Linear is no subclass"),
    ):
        with pytest.raises(VrmError, match=message):
            register_head(name, head)
    assert head_class("mlp") is MLPHead
