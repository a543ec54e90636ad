from __future__ import annotations

import copy
import warnings

import pytest
from transformers import AutoConfig

from vrm.config import LoraSettings, ModelConfig
from vrm.errors import ConfigError
from vrm.model import VRMConfig, VRMForSequenceClassification
from vrm.train.adapters import check_adapters, with_adapters


@pytest.fixture
def model(request, tiny_encoder_backbone, tiny_decoder_backbone):
    backbone = {"encoder": tiny_encoder_backbone, "decoder": tiny_decoder_backbone}[request.param]
    return VRMForSequenceClassification.from_backbone(str(backbone), objectives=["a"])


SMALL = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def make_model(architecture, **values):
    config = AutoConfig.for_model(architecture, **{**SMALL, "pad_token_id": 0, **values})
    return VRMForSequenceClassification(VRMConfig(config, objectives=["a"]))


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


@pytest.mark.parametrize("model", ["decoder"], indirect=True)
@pytest.mark.parametrize("recompute", [False, True])
def test_peft_asks_for_recomputed_activations_without_a_warning(model, recompute):
    for module in model.modules():
        if recompute and hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = True
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        with_adapters(model, LoraSettings(r=2))
        assert model.is_gradient_checkpointing == recompute


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


@pytest.mark.parametrize("model", ["encoder", "decoder"], indirect=True)
def test_an_architecture_that_peft_does_not_know_gets_usual_names(model, capsys):
    expected = adapted(with_adapters(copy.deepcopy(model), LoraSettings(r=2)))
    assert capsys.readouterr().err == ""
    model.config.backbone_config.model_type = "unheard-of"
    assert adapted(with_adapters(model, LoraSettings(r=2))) == expected
    said = capsys.readouterr().err
    assert "no default modules for the architecture 'unheard-of': adapters go into " in said
    assert said.endswith(f"{', '.join(sorted(expected[0]))} (model.lora.target_modules)\n")


def test_without_usual_names_in_every_layer_all_linear_maps_are_adapted():
    model = make_model("lfm2", layer_types=["conv", "full_attention"])
    found, names = adapted(with_adapters(model, LoraSettings(r=2)))
    assert found == {"in_proj", "out_proj", "q_proj", "k_proj", "v_proj", "w1", "w2", "w3"}
    assert all(name.startswith("backbone.") for name in names)


SSM = {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1}


@pytest.mark.parametrize(("architecture", "values"), [("mamba", {"state_size": 8}), ("mamba2", SSM)])
def test_weights_that_kernels_read_past_the_module_get_no_adapter(architecture, values):
    assert adapted(with_adapters(make_model(architecture, **values), LoraSettings(r=2)))[0] == {"in_proj"}
    with pytest.raises(ConfigError, match=r"'out_proj' names backbone\.layers\.0\.mixer\.out_proj, which can have no"):
        with_adapters(make_model(architecture, **values), LoraSettings(target_modules=["in_proj", "out_proj"]))


def test_what_sees_images_gets_no_adapter():
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    values = {"vision_config": {**vision, "image_size": 28, "patch_size": 14}, "text_config": {**SMALL, "head_dim": 8}}
    for targets in (None, ["q_proj"], "all-linear"):
        model = VRMForSequenceClassification(VRMConfig(AutoConfig.for_model("gemma3", **values), objectives=["a"]))
        _, names = adapted(with_adapters(model, LoraSettings(r=2, target_modules=targets)))
        assert names
        assert all(name.startswith("backbone.language_model.layers.") for name in names)


@pytest.mark.parametrize(("architecture", "name"), [("qwen3_moe", "gate"), ("lfm2", "conv")])
def test_modules_that_peft_cannot_adapt_are_refused(architecture, name):
    values = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 8}
    model = make_model(architecture, **(values if architecture == "qwen3_moe" else {"layer_types": ["conv"] * 2}))
    with pytest.raises(ConfigError, match=rf"'{name}' names backbone\.layers.*\.{name}, which can have no adapter"):
        with_adapters(model, LoraSettings(target_modules=[name]))


@pytest.mark.parametrize("model", ["decoder"], indirect=True)
@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["nope"], r"no module of this backbone is called nope\. It has .*q_proj, k_proj"),
        (["q_proj", "nope", "proj"], r"is called nope, proj\. It has"),
        (["self_attn"], r"'self_attn' names backbone\.layers\.0\.self_attn, which can have no adapter\. It has"),
        (["norm"], r"'norm' names backbone\.norm, which can have no adapter\. It has"),
        (["decoder"], r"is called decoder\. It has"),
        (
            "q_proj",
            r"the pattern 'q_proj' matches the whole name of no module of this backbone, such as backbone\..*down_proj",
        ),
        ("(", r"'\(' is no regular expression"),
        (r".*layers\.0\..*", r"names backbone\.layers\.0\.self_attn, which can have no adapter\. It has"),
    ],
)
def test_names_of_no_module_are_refused_with_what_there_is(model, targets, words):
    with pytest.raises(ConfigError, match=rf"^model\.lora\.target_modules: .*{words}") as caught:
        with_adapters(model, LoraSettings(target_modules=targets))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["decoder"], indirect=True)
@pytest.mark.parametrize("targets", [r".*\.(q|v)_proj", ["layers.0.self_attn.q_proj", "v_proj"], "All-Linear"])
def test_patterns_and_longer_names_are_as_in_peft(model, targets):
    assert adapted(with_adapters(model, LoraSettings(r=2, target_modules=targets)))[0] >= {"q_proj", "v_proj"}


def test_names_are_checked_before_anything_is_read(tiny_decoder_backbone, tmp_path):
    settings = {"tuning": "lora", "lora": {"target_modules": ["nope"]}}
    with pytest.raises(ConfigError, match="called nope"):
        check_adapters(ModelConfig(backbone=str(tiny_decoder_backbone), **settings))
    check_adapters(ModelConfig(backbone=str(tiny_decoder_backbone), tuning="full", lora=settings["lora"]))
    scratch = tmp_path / "scratch.json"
    scratch.write_text((tiny_decoder_backbone / "config.json").read_text())
    with pytest.raises(ConfigError, match="called nope"):
        check_adapters(ModelConfig(from_scratch=str(scratch), tokenizer=str(tiny_decoder_backbone), **settings))
    # Loading says what is wrong with this one.
    check_adapters(ModelConfig(backbone=str(tmp_path), **settings))
