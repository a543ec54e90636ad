from __future__ import annotations

import pytest

from vrm.config import LoraSettings
from vrm.errors import ConfigError
from vrm.model import VRMForSequenceClassification
from vrm.train.setup import with_adapters


@pytest.fixture
def model(request, tiny_encoder_backbone, tiny_decoder_backbone):
    backbone = {"encoder": tiny_encoder_backbone, "decoder": tiny_decoder_backbone}[request.param]
    return VRMForSequenceClassification.from_backbone(str(backbone), objectives=["a"])


def adapted(model):
    names = {
        name.split(".lora_")[0].removeprefix("base_model.model.")
        for name, _ in model.named_parameters()
        if ".lora_" in name
    }
    return {name.split(".")[-1] for name in names}, names


@pytest.mark.parametrize(
    ("model", "modules"),
    [("encoder", {"query", "value"}), ("decoder", {"q_proj", "v_proj"})],
    indirect=["model"],
)
def test_without_names_the_backbones_defaults_are_adapted(model, modules):
    found, names = adapted(with_adapters(model, LoraSettings(r=2)))
    assert found == modules
    assert all(name.startswith("backbone.") for name in names)


@pytest.mark.parametrize("model", ["encoder", "decoder"], indirect=True)
def test_all_linear_leaves_the_head_alone(model):
    wrapped = with_adapters(model, LoraSettings(r=2, target_modules="all-linear"))
    found, names = adapted(wrapped)
    assert len(found) > 3
    assert all(name.startswith("backbone.") for name in names)


@pytest.mark.parametrize("model", ["encoder"], indirect=True)
def test_head_and_adapters_train_and_nothing_else(model):
    wrapped = with_adapters(model, LoraSettings(r=2))
    trainable = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name or ".score.modules_to_save." in name for name in trainable)
    heads = {name.split("modules_to_save.default.")[1] for name in trainable if "modules_to_save" in name}
    assert heads == {name for name, _ in model.score.modules_to_save["default"].named_parameters()}
    assert "decoder" in heads


@pytest.mark.parametrize("model", ["encoder"], indirect=True)
def test_an_architecture_without_defaults_needs_names(model):
    model.config.backbone_config.model_type = "unheard-of"
    with pytest.raises(ConfigError, match=r"'unheard-of': set model\.lora\.target_modules"):
        with_adapters(model, LoraSettings())
