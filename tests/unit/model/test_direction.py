"""Backbones whose tokens see what follows them are read as encoders, whatever their architecture is called."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from vrm.data.chat import ensure_chat_template
from vrm.data.schema import Judgment
from vrm.errors import ConfigError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.model import VRMConfig, VRMForSequenceClassification, load_model, save_model
from vrm.model.backbones import sees_ahead
from vrm.model.configuration_vrm import position_limit

TINY = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
BOTH_SIDES = {
    "gemma3_text": {**TINY, "head_dim": 8, "sliding_window": 16, "use_bidirectional_attention": True},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
}
ONE_SIDE = {
    "gemma3_text": {**TINY, "head_dim": 8, "sliding_window": 16},
    "llama": TINY,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "mixtral": {**TINY, "num_local_experts": 4},
}
FIELDS = {"num_free_objectives": 2, "num_features": 4, "hidden_size_head": 8, "max_input_tokens": 64}


@pytest.fixture
def save_backbone(tmp_path, tiny_encoder_backbone):
    """save_backbone(architecture, values): a random backbone with an encoder's tokenizer."""

    def save(architecture, values):
        tokenizer = AutoTokenizer.from_pretrained(tiny_encoder_backbone)
        sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.2}
        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model(architecture, **values, **sizes))
        model.save_pretrained(tmp_path / architecture)
        ensure_chat_template(tokenizer, "encoder")
        tokenizer.save_pretrained(tmp_path / architecture)
        return tmp_path / architecture

    return save


@pytest.mark.parametrize("architecture", BOTH_SIDES)
def test_both_sides_make_an_encoder_whose_rewards_do_not_depend_on_the_company(save_backbone, architecture, caplog):
    directory = save_backbone(architecture, BOTH_SIDES[architecture])
    model = VRMForSequenceClassification.from_backbone(str(directory), **FIELDS).eval()
    assert model.config.backbone_kind == "encoder"
    assert "its tokens see what follows them, so it is read as an encoder" in caplog.text
    tokenizer = AutoTokenizer.from_pretrained(directory)
    save_model(model, tokenizer, directory / "model")
    loaded, _ = load_model(directory / "model")
    assert loaded.config.backbone_kind == "encoder"
    engine = RewardEngine(loaded, tokenizer, ExtractionOptions(precision="float32"))
    texts = ["very good", "no", "please help the water city doctor"]
    together = engine.judge([Judgment("what is safe", texts), Judgment("plan", ["bad", "sure"])]).moments.mean[0]
    alone = torch.cat([engine.judge([Judgment("what is safe", [text])]).moments.mean[0, :1] for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    assert len(set(alone.tolist())) == 3


@pytest.mark.parametrize("architecture", ONE_SIDE)
def test_causal_ones_stay_decoders(architecture):
    torch.manual_seed(0)
    backbone = AutoModel.from_config(AutoConfig.for_model(architecture, **ONE_SIDE[architecture], vocab_size=60))
    assert not sees_ahead(backbone.train())
    assert backbone.training


def test_a_decoder_that_sees_ahead_is_refused_wherever_it_comes_from(save_backbone):
    directory = save_backbone("gemma3_text", BOTH_SIDES["gemma3_text"])
    with pytest.raises(ConfigError, match="backbone_kind is 'decoder', but the backbone's tokens see what follows"):
        VRMForSequenceClassification.from_backbone(str(directory), backbone_kind="decoder", **FIELDS)
    model = VRMForSequenceClassification.from_backbone(str(directory), **FIELDS)
    save_model(model, AutoTokenizer.from_pretrained(directory), directory / "model")
    file = directory / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"backbone_kind": "decoder"}))
    with pytest.raises(ConfigError, match=r"model/config\.json: backbone_kind is 'decoder', but"):
        load_model(directory / "model")
    direct = VRMForSequenceClassification(VRMConfig(backbone_config=model.config.backbone_config, **FIELDS))
    with pytest.raises(ConfigError, match="train it again as an 'encoder'"):
        direct(input_ids=torch.tensor([[3, 4, 5]]), completion_start=torch.tensor([1]))


@pytest.mark.parametrize("architecture", ["fnet", "convbert"])
def test_an_encoder_that_reads_padding_is_refused_wherever_it_comes_from(save_backbone, architecture):
    values = {key: TINY[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    directory = save_backbone(architecture, values | {"num_attention_heads": 4})
    words = rf"^the backbone \({architecture}\) does not mask padding, so that rewards would depend"
    with pytest.raises(ConfigError, match=words):
        VRMForSequenceClassification.from_backbone(str(directory), **FIELDS)
    # As it was saved before anybody looked.
    backbone = AutoConfig.from_pretrained(directory)
    model = VRMForSequenceClassification(VRMConfig(backbone_config=backbone, **FIELDS))
    save_model(model, AutoTokenizer.from_pretrained(directory), directory / "model")
    with pytest.raises(ConfigError, match=rf"model/config\.json: {words[1:]}"):
        load_model(directory / "model")
    with pytest.raises(ConfigError, match=words):
        model(input_ids=torch.tensor([[3, 4, 5]]), completion_start=torch.tensor([1]))


def test_encoder_decoders_are_refused_but_for_those_that_read_one_text():
    for architecture in ("pegasus", "t5gemma"):
        words = rf"the backbone is an encoder-decoder \({architecture}\), which reads two texts"
        with pytest.raises(ConfigError, match=words):
            VRMConfig(backbone_config=AutoConfig.for_model(architecture), **FIELDS)
    for architecture in ("bart", "t5", "umt5"):
        config = VRMConfig(backbone_config=AutoConfig.for_model(architecture), **FIELDS)
        assert config.backbone_kind == "encoder"


def test_of_a_whole_t5_the_encoder_is_taken(tmp_path):
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 90}
    torch.manual_seed(0)
    whole = AutoModel.from_config(AutoConfig.for_model("t5", **sizes)).eval()
    whole.save_pretrained(tmp_path)
    model = VRMForSequenceClassification.from_backbone(str(tmp_path), **FIELDS).eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(model.backbone(ids).last_hidden_state, whole.encoder(ids).last_hidden_state)
    assert not any("decoder" in name for name, _ in model.backbone.named_parameters())


def test_a_limit_of_positions_that_is_not_positive_is_none():
    assert position_limit(AutoConfig.for_model("xlnet")) is None
    assert position_limit(AutoConfig.for_model("bert")) == 512
    assert position_limit(AutoConfig.for_model("mamba")) is None
