from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import vrm
from vrm.errors import CheckpointError
from vrm.model import VRMForSequenceClassification, load_model
from vrm.model.backbones import encode_padded_rows
from vrm.model.checkpoint import weights_sha256

TEXTS = ["<|im_start|>user\nhow<|im_end|>\n<|im_start|>assistant\nvery good", "x<|im_start|>assistant\nno"]


def rewards(model, directory, texts=TEXTS):
    tokenizer = AutoTokenizer.from_pretrained(directory)
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    with torch.no_grad():
        return model(**batch).logits


@pytest.fixture
def copy_of(tiny_decoder_dir, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(tiny_decoder_dir, directory)
    return directory


def edit_weights(directory, edit):
    path = directory / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})


def test_auto_classes_load_our_class_as_trl_does(tiny_decoder_dir):
    vrm.register()
    model = AutoModelForSequenceClassification.from_pretrained(str(tiny_decoder_dir), num_labels=1).eval()
    assert type(model) is VRMForSequenceClassification
    own, _ = load_model(tiny_decoder_dir)
    logits = rewards(model, tiny_decoder_dir)
    assert logits.shape == (2, 1)
    assert torch.equal(logits, rewards(own, tiny_decoder_dir))
    assert logits[0] != logits[1]
    # How TRL finds the tokenizer of a reward model that was given as a path.
    assert AutoTokenizer.from_pretrained(model.config._name_or_path).chat_template


def test_another_number_of_labels_is_refused(tiny_decoder_dir):
    with pytest.raises(ValueError, match="num_labels must be 1"):
        AutoModelForSequenceClassification.from_pretrained(str(tiny_decoder_dir), num_labels=2)


@pytest.mark.parametrize("key", ["score.decoder", "score.weights.3.weight", "score.prior_concentration"])
def test_a_missing_head_weight_is_an_error(copy_of, key):
    edit_weights(copy_of, lambda weights: weights.pop(key))
    with pytest.raises(CheckpointError, match=rf"missing keys: {key}"):
        load_model(copy_of)


def test_an_unexpected_head_weight_is_an_error(copy_of):
    edit_weights(copy_of, lambda weights: weights.update({"score.extra": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"unexpected keys: score\.extra"):
        load_model(copy_of)


def test_a_head_weight_of_another_shape_is_an_error(copy_of):
    edit_weights(copy_of, lambda weights: weights.update({"score.decoder": torch.zeros(2, 2)}))
    with pytest.raises(CheckpointError, match=r"score\.decoder"):
        load_model(copy_of)


def test_a_missing_backbone_weight_is_an_error(copy_of):
    edit_weights(copy_of, lambda weights: weights.pop("backbone.norm.weight"))
    with pytest.raises(CheckpointError, match=r"backbone\.norm\.weight"):
        AutoModelForSequenceClassification.from_pretrained(str(copy_of))


def test_directories_that_are_no_reward_models(tmp_path, tiny_decoder_backbone):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="model_type 'qwen3', expected 'vrm'"):
        load_model(tiny_decoder_backbone)
    with pytest.raises(CheckpointError, match="no such directory"):
        load_model("./absent")


def test_low_precision_backbone_keeps_the_head_in_float32(tiny_decoder_dir):
    model, _ = load_model(tiny_decoder_dir, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.backbone.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in model.score.state_dict().values()} == {torch.float32}
    batch = AutoTokenizer.from_pretrained(tiny_decoder_dir)(TEXTS[:1], return_tensors="pt")
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**batch)
    tensors = (output.logits, output.reward_variance, output.objective_scores, *output.posteriors.tensors())
    assert {value.dtype for value in tensors} == {torch.float32}
    full, _ = load_model(tiny_decoder_dir)
    assert torch.allclose(output.logits, rewards(full, tiny_decoder_dir, TEXTS[:1]), atol=0.2)


def test_output_loading_info_is_given_on_request(tiny_decoder_dir):
    model, info = VRMForSequenceClassification.from_pretrained(tiny_decoder_dir, output_loading_info=True)
    assert isinstance(model, VRMForSequenceClassification)
    assert not info["missing_keys"]


def test_standardized_rewards_are_a_matter_of_configuration(tiny_decoder_dir, copy_of):
    raw, _ = load_model(tiny_decoder_dir)
    config = json.loads((copy_of / "config.json").read_text())
    config |= {"reward_scale": "standardized"}
    (copy_of / "config.json").write_text(json.dumps(config))
    scaled, _ = load_model(copy_of)
    batch = AutoTokenizer.from_pretrained(copy_of)(TEXTS, return_tensors="pt", padding=True)
    with torch.no_grad():
        one, other = raw(**batch), scaled(**batch)
    assert torch.allclose(other.logits, (one.logits - config["reward_mean"]) / config["reward_std"])
    assert torch.allclose(other.reward_variance, one.reward_variance / config["reward_std"] ** 2)
    assert torch.equal(one.objective_scores, other.objective_scores)


def test_weights_are_hashed_as_sha256sum_does(tmp_path):
    assert weights_sha256(str(tmp_path)) is None
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    assert weights_sha256(str(tmp_path)) == hashlib.sha256(b"abc").hexdigest()
    (tmp_path / "adapter.safetensors").write_bytes(b"xyz")
    (tmp_path / "config.json").write_text("{}")
    assert weights_sha256(str(tmp_path)) == hashlib.sha256(b"xyzabc").hexdigest()


def test_weights_of_a_hub_model_are_those_beside_its_configuration(tmp_path, monkeypatch):
    import transformers.utils

    asked = []

    def cached_file(name, file, local_files_only):
        asked.append((name, file, local_files_only))
        return str(tmp_path / file)

    monkeypatch.setattr(transformers.utils, "cached_file", cached_file)
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    assert weights_sha256("owner/name") == hashlib.sha256(b"abc").hexdigest()
    assert asked == [("owner/name", "config.json", True)]


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_padding_may_be_a_token_beyond_the_table(make_tiny_model, kind):
    model, _ = load_model(make_tiny_model(kind=kind))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 0, 0]])
    encoded = [
        encode_padded_rows(model.backbone, model.config, ids.masked_fill(~mask, pad), mask, torch.tensor([2, 2]))
        for pad in (0, 10**6)
    ]
    for one, other in zip(*encoded, strict=True):
        assert torch.equal(one, other)
