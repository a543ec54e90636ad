"""Damaged and foreign directories: one line that names the file and what it is."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from vrm.cli.main import main
from vrm.doctor import load_reading
from vrm.errors import CheckpointError, ConfigError
from vrm.model import VRMForSequenceClassification, load_model
from vrm.model.checkpoint import check_vocabulary, load_tokenizer
from vrm.model_files import check_backbone_directory, check_model_directory, loading
from vrm.testing import byte_level_tokenizer

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 91073\n"
POINTER = "is a Git LFS pointer and not the file itself (fetch it with: git lfs pull)"


@pytest.fixture
def model(tiny_decoder_dir, tmp_path):
    return shutil.copytree(tiny_decoder_dir, tmp_path / "model")


@pytest.fixture
def backbone(tiny_decoder_backbone, tmp_path):
    return shutil.copytree(tiny_decoder_backbone, tmp_path / "backbone")


def cut(file, size):
    file.write_bytes(file.read_bytes()[:size])


def change_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


DAMAGE = {
    "pointer for weights": ("model.safetensors", lambda file: file.write_text(LFS), POINTER),
    "empty weights": ("model.safetensors", lambda file: file.write_text(""), "is empty"),
    "cut weights": ("model.safetensors", lambda file: cut(file, 20_000), "is cut short: it has 20,000 of "),
    "cut header": ("model.safetensors", lambda file: cut(file, 100), "is no whole safetensors file: its 100 bytes end"),
    "a page": ("model.safetensors", lambda file: file.write_text("<!DOCTYPE html><html>"), "is an HTML page"),
    "pointer for configuration": ("config.json", lambda file: file.write_text(LFS), POINTER),
    "cut configuration": ("config.json", lambda file: cut(file, 60), "is no valid JSON: "),
    "a list": ("config.json", lambda file: file.write_text("[]"), "holds no JSON object, but list"),
    "pointer for tokenizer": ("tokenizer.json", lambda file: file.write_text(LFS), POINTER),
    "cut tokenizer": ("tokenizer.json", lambda file: cut(file, 900), "is no valid JSON: "),
    "cut settings": ("tokenizer_config.json", lambda file: cut(file, 40), "is no valid JSON: "),
    "template": (
        "chat_template.jinja",
        lambda file: file.write_text("{{ oops }"),
        ": no valid chat template, line 1: ",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_named_with_what_it_is(model, name):
    file, damage, words = DAMAGE[name]
    damage(model / file)
    with pytest.raises(CheckpointError) as caught:
        load_model(model)
    assert str(caught.value).startswith(f"{model / file}{words if words[0] == ':' else f' {words}'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in DAMAGE if "weights" in name or "header" in name])
def test_a_damaged_backbone_too(backbone, name):
    file, damage, words = DAMAGE[name]
    damage(backbone / file)
    with pytest.raises(CheckpointError) as caught:
        VRMForSequenceClassification.from_backbone(str(backbone), num_free_objectives=1)
    assert str(caught.value).startswith(f"{backbone / file} {words}")


def test_absent_weights_and_absent_shards(model):
    shutil.move(model / "model.safetensors", model / "model-1-of-2.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no weights .*; it has model-1-of-2\.safetensors"):
        load_model(model)
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"model-2-of-2\.safetensors is missing; .* lists it among 2 files"):
        load_model(model)


def test_files_that_nobody_reads_may_be_anything(model):
    for name in ("pytorch_model.bin", "consolidated.safetensors", "trainer_state.json", "onnx.txt"):
        (model / name).write_text(LFS)
    load_model(model)


def test_architectures_that_transformers_does_not_know(model, backbone):
    change_json(model / "config.json", backbone_config={"model_type": "berd"})
    with pytest.raises(ConfigError, match=r"config\.json: backbone_config: transformers .* no architecture 'berd'"):
        load_model(model)
    change_json(backbone / "config.json", model_type="berd", auto_map={"AutoModel": "berd.Berd"})
    with pytest.raises(
        CheckpointError, match=r"config\.json: transformers .* 'berd'; its own code \(auto_map\) is not"
    ):
        VRMForSequenceClassification.from_backbone(str(backbone))


def test_what_stands_where_a_model_or_a_backbone_belongs(model, backbone, tmp_path):
    with pytest.raises(CheckpointError, match=r"safetensors is a file \(weights in the safetensors format\); a reward"):
        check_model_directory(str(model / "model.safetensors"))
    with pytest.raises(CheckpointError, match="is a reward model of this package, and no backbone; its own backbone"):
        check_backbone_directory(str(model))
    with pytest.raises(CheckpointError, match="has model_type 'qwen3', expected 'vrm': not a VRM"):
        check_model_directory(str(backbone))
    with pytest.raises(CheckpointError, match=r"no config\.json: .*; did you mean .*model\?"):
        check_model_directory(str(tmp_path))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/name"}')
    with pytest.raises(CheckpointError, match="is an adapter of owner/name, and no whole backbone"):
        check_backbone_directory(str(tmp_path / "adapter"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text('{"model_type": "vrm"}')
    (tmp_path / "weights" / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="is a directory, where a file of weights belongs"):
        check_model_directory(str(tmp_path / "weights"))


def test_a_backbone_whose_weights_are_those_of_another_model(backbone, caplog):
    # Copies: the file that is mapped is written over twice.
    weights = {key: value.clone() for key, value in load_file(backbone / "model.safetensors").items()}
    some = {key: value for key, value in weights.items() if "layers.1.mlp.up" not in key}
    save_file(some, backbone / "model.safetensors", metadata={"format": "pt"})
    VRMForSequenceClassification.from_backbone(str(backbone), num_free_objectives=1)
    assert "do not hold start at random: layers.1.mlp.up_proj.weight" in caplog.text
    foreign = {f"other.{key}": value for key, value in weights.items()}
    save_file(foreign, backbone / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="does not hold the weights its configuration promises"):
        VRMForSequenceClassification.from_backbone(str(backbone), num_free_objectives=1)


def test_the_command_line_says_it_in_one_line(model, tmp_path, capsys):
    cut(model / "model.safetensors", 20_000)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(SystemExit):
        main(["score", str(model), str(tmp_path / "rows.jsonl")])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {model / 'model.safetensors'} is cut short: it has 20,000 of ")


# The vocabulary against the table of embeddings


def test_a_tokenizer_without_its_vocabulary(tiny_model_dir, tmp_path):
    """As `BertTokenizer` does it: without a file it knows its special tokens, and every word is unknown."""
    directory = shutil.copytree(tiny_model_dir, tmp_path / "model")
    change_json(directory / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    load_model(directory)
    (directory / "tokenizer.json").unlink()
    for load in (load_model, lambda path: load_tokenizer(str(path))):
        with pytest.raises(
            CheckpointError, match=r"knows 5 tokens, but .* rows: .*tokenizer\.json and vocab\.txt are not"
        ):
            load(directory)
    (directory / "config.json").unlink()
    with pytest.raises(ConfigError, match="knows 5 tokens, hardly more than special ones"):
        load_reading(str(directory))


def test_a_directory_without_any_tokenizer(model):
    for file in model.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(CheckpointError, match="holds no vocabulary of a tokenizer"):
        load_model(model)


def test_a_tokenizer_that_is_too_small_or_too_large_for_the_table():
    tokenizer = byte_level_tokenizer(["a b"], 300)
    size = len(tokenizer)
    for rows in (size, size + 200, 2 * size):  # tables are padded
        check_vocabulary(tokenizer, rows, "somewhere/else")
    with pytest.raises(CheckpointError, match=rf"somewhere/else: the tokenizer knows {size} tokens, .* 30,522 rows"):
        check_vocabulary(tokenizer, 30_522, "somewhere/else")
    with pytest.raises(CheckpointError, match=rf"has the token .* with id {size - 1}, but .* has {size - 1} rows"):
        check_vocabulary(tokenizer, size - 1, "somewhere/else")


def test_special_tokens_that_no_text_becomes_may_lie_beyond_the_table():
    """The text part of Gemma 3 has a tokenizer with a token of images."""
    tokenizer = byte_level_tokenizer(["a b"], 300)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    check_vocabulary(tokenizer, rows, "somewhere/else")
    tokenizer.chat_template = "{% for message in messages %}<image>{{ message.content }}{% endfor %}"
    with pytest.raises(CheckpointError, match="'<image>'"):
        check_vocabulary(tokenizer, rows, "somewhere/else")


def test_the_wrong_tokenizer_in_a_model_directory(tiny_model_dir, tmp_path):
    directory = shutil.copytree(tiny_model_dir, tmp_path / "model")
    byte_level_tokenizer(["a b"], 800).save_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    with pytest.raises(CheckpointError, match=rf"has the token .* with id {len(tokenizer) - 1}"):
        load_model(directory)


def test_a_name_that_the_hub_does_not_give_is_said_to_be_no_directory_either():
    words = "a/b: there is no such directory here, and from the Hub .*no network"
    with pytest.raises(CheckpointError, match=words), loading("a/b"):
        raise OSError("no network")


# What loads without being whole


@pytest.mark.parametrize("key", ["backbone.layers.0.mlp.up_proj.weight", "score.prompt_norm.loc"])
def test_a_weight_that_is_no_number_is_named(model, key):
    weights = load_file(model / "model.safetensors")
    weights[key].view(-1)[-1] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    for load in (load_model, AutoModelForSequenceClassification.from_pretrained):
        with pytest.raises(CheckpointError, match=rf"1 of the [\d,]+ numbers in {key} are NaN or infinite"):
            load(model)


def test_a_backbone_with_a_weight_that_is_no_number(backbone):
    weights = load_file(backbone / "model.safetensors")
    weights["embed_tokens.weight"][3, 3] = float("inf")
    save_file(weights, backbone / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"numbers in embed_tokens\.weight are NaN or infinite"):
        VRMForSequenceClassification.from_backbone(str(backbone), num_free_objectives=1)


def test_a_changed_bit_is_told(model):
    data = bytearray((model / "model.safetensors").read_bytes())
    data[-2] ^= 1
    (model / "model.safetensors").write_bytes(data)
    for load in (load_model, AutoModelForSequenceClassification.from_pretrained):
        with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged: by the checksum in its header"):
            load(model)


def test_pickled_weights_of_a_reward_model_are_not_loaded(model):
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    load_model(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin holds pickled weights, which are not loaded"):
        load_model(model)


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/elsewhere.safetensors", "pytorch_model.bin"])
def test_an_index_lists_safetensors_of_its_own_directory(model, name):
    (model / "model.safetensors").rename(model.parent / "elsewhere.safetensors")
    index = {"weight_map": {"score.decoder": name}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"lists .*, which is no \.safetensors file in this directory"):
        load_model(model)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json", "chat_template.jinja", "config.json"])
def test_links_to_what_is_no_file_are_named_and_others_followed(model, name, tmp_path):
    whole = tmp_path / "whole"
    (model / name).rename(whole)
    (model / name).symlink_to(whole)
    load_model(model)
    for target in ("/nowhere", "/dev/zero", name, "."):
        (model / name).unlink()
        (model / name).symlink_to(target)
        with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is a link to .*, which is no file"):
            load_model(model)


def test_code_of_a_directory_is_not_run_and_nobody_is_asked(model, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    (model / "evil.py").write_text("raise SystemExit('ran')\n")
    change_json(model / "config.json", auto_map={"AutoModelForSequenceClassification": "evil.Evil"})
    load_model(model)
    auto_map = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    change_json(model / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Evil")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: its own code \(auto_map\) is not run"):
        load_model(model)


# Another tokenizer than the model was saved with


def permute_ids(file):
    """The ids of two tokens exchanged: everything is of the right size."""
    stored = json.loads(file.read_text())
    vocabulary = stored["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    file.write_text(json.dumps(stored))


def lower_case(file):
    file.write_text(json.dumps(json.loads(file.read_text()) | {"normalizer": {"type": "Lowercase"}}))


OTHERS = {
    "ids": ("tokenizer.json", permute_ids, "gives its tokens other ids"),
    "lower case": ("tokenizer.json", lower_case, "cuts texts into other tokens"),
    "template": (
        "chat_template.jinja",
        lambda file: file.write_text(file.read_text() + " "),
        "has another chat templat",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_tokenizer_is_told_and_models_saved_without_digests_load(model, name):
    file, change, words = OTHERS[name]
    change(model / file)
    with pytest.raises(CheckpointError, match=f"the tokenizer {words}"):
        load_model(model)
    change_json(model / "config.json", text_digests=None)
    load_model(model)
    stored = json.loads((model / "config.json").read_text())
    del stored["text_digests"]
    (model / "config.json").write_text(json.dumps(stored))
    load_model(model)
