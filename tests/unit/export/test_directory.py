"""What is written: merged weights, one dtype, no path of this machine; and what is never overwritten."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from vrm.config import LoraSettings
from vrm.data.schema import Judgment
from vrm.errors import CheckpointError, ConfigError
from vrm.export.directory import (
    backbone_name,
    is_local,
    make_tokenizer_portable,
    new_directory,
    write_model,
)
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.model import load_model, save_model
from vrm.train.adapters import with_adapters

FLOAT32 = ExtractionOptions(precision="float32")
ROWS = [Judgment("how can i help", ["the plan is good", "no"]), Judgment("is it safe ?", ["yes very safe", "sorry"])]


def rewards(directory) -> torch.Tensor:
    return RewardEngine.from_pretrained(directory, options=FLOAT32).judge(ROWS).moments.mean


def stored_dtypes(directory) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    with safe_open(directory / "model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118  (not a dictionary)
            found.setdefault(name.split(".")[0], set()).add(file.get_slice(name).get_dtype())
    return found


@pytest.fixture
def adapter_dir(make_tiny_model, tmp_path):
    """A saved adapter with weights that matter, and the rewards of the model it came from."""
    model, tokenizer = load_model(make_tiny_model(kind="decoder"))
    wrapped = with_adapters(model, LoraSettings(r=2, target_modules="all-linear"))
    torch.manual_seed(2)
    for name, parameter in wrapped.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    save_model(wrapped, tokenizer, tmp_path / "adapter")
    return tmp_path / "adapter", RewardEngine(wrapped.merge_and_unload(), tokenizer, FLOAT32).judge(ROWS).moments.mean


def test_adapters_are_merged_and_rewards_stay(adapter_dir, make_tiny_model, tmp_path):
    adapter, before = adapter_dir
    assert (adapter / "adapter_config.json").is_file()
    write_model(adapter, tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("adapter*"))
    torch.testing.assert_close(rewards(tmp_path / "merged"), before, rtol=0, atol=1e-6)
    without = rewards(make_tiny_model(kind="decoder"))
    assert (without - before).abs().max() > 0.01  # or the adapters would not have mattered


def test_rewards_and_template_stay(tiny_model_dir, tmp_path):
    write_model(tiny_model_dir, tmp_path / "out")
    torch.testing.assert_close(rewards(tmp_path / "out"), rewards(tiny_model_dir), rtol=0, atol=1e-6)
    templates = [AutoTokenizer.from_pretrained(path).chat_template for path in (tmp_path / "out", tiny_model_dir)]
    assert templates[0] == templates[1]
    assert stored_dtypes(tmp_path / "out") == {"backbone": {"F32"}, "score": {"F32"}}


@pytest.mark.parametrize(("dtype", "stored"), [("bfloat16", "BF16"), ("float16", "F16")])
def test_dtype_is_of_the_backbone_alone_and_is_kept_by_the_next_export(tiny_model_dir, tmp_path, dtype, stored):
    write_model(tiny_model_dir, tmp_path / "low", dtype=dtype)
    write_model(tmp_path / "low", tmp_path / "kept")
    write_model(tmp_path / "low", tmp_path / "back", dtype="float32")
    for name in ("low", "kept"):
        assert stored_dtypes(tmp_path / name) == {"backbone": {stored}, "score": {"F32"}}
        assert json.loads((tmp_path / name / "config.json").read_text())["dtype"] == dtype
    assert stored_dtypes(tmp_path / "back") == {"backbone": {"F32"}, "score": {"F32"}}


def test_no_path_of_this_machine_is_written(tiny_decoder_dir, tmp_path):
    assert is_local(backbone_name(tiny_decoder_dir))
    write_model(tiny_decoder_dir, tmp_path / "out", remote_code=True)
    texts = {file.name: file.read_text() for file in (tmp_path / "out").iterdir() if file.suffix != ".safetensors"}
    assert {"config.json", "tokenizer_config.json", "modeling_vrm.py"} <= set(texts)
    assert [name for name, text in texts.items() if str(tiny_decoder_dir.parent) in text] == []


def test_the_tokenizer_is_named_as_older_versions_name_it(tiny_decoder_dir, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder_dir)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
    tokenizer.save_pretrained(tmp_path)
    make_tokenizer_portable(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["model_input_names"] == tokenizer.model_input_names
    assert settings["additional_special_tokens"] == ["<|tool|>"]
    assert "extra_special_tokens" not in settings
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "<|im_start|>user\nhow<|tool|><|im_end|>"
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.all_special_tokens == tokenizer.all_special_tokens
    assert again.chat_template == tokenizer.chat_template


@pytest.mark.parametrize("first", [True, False])
def test_the_map_of_code_is_there_exactly_where_the_code_is(tiny_decoder_dir, tmp_path, first):
    write_model(tiny_decoder_dir, tmp_path / "one", remote_code=first)
    write_model(tmp_path / "one", tmp_path / "two", remote_code=not first)
    for name, wanted in (("one", first), ("two", not first)):
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert ("auto_map" in config, (tmp_path / name / "modeling_vrm.py").exists()) == (wanted, wanted)


def test_a_dtype_that_cannot_be_stored_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="dtype must be one of float32, bfloat16, float16; got 'int8'"):
        write_model("anywhere", tmp_path, dtype="int8")


def test_what_is_no_reward_model_is_refused(tiny_decoder_backbone, tmp_path):
    with pytest.raises(CheckpointError, match="not a VRM"):
        write_model(tiny_decoder_backbone, tmp_path / "out")


def test_a_new_directory_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "deep" / "out"
    with pytest.raises(IsADirectoryError), new_directory(target, source="x/y", overwrite=False) as place:
        place.write_text("half")
    assert list(target.parent.iterdir()) == []
    with new_directory(target, source="x/y", overwrite=False) as place:
        (place / "whole").write_text("")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["whole"]
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert target.stat().st_mode == target.parent.stat().st_mode


def test_only_models_are_overwritten_and_never_the_source(tmp_path):
    def attempt(target, overwrite, source=tmp_path / "source"):
        with new_directory(target, source=source, overwrite=overwrite) as place:
            (place / "config.json").write_text("new")

    source, model, other = tmp_path / "source", tmp_path / "model", tmp_path / "other"
    for directory, file in ((source, "config.json"), (model, "config.json"), (other, "thesis.tex")):
        directory.mkdir()
        (directory / file).write_text("old")
    with pytest.raises(ConfigError, match=r"model exists: .*--overwrite"):
        attempt(model, overwrite=False)
    with pytest.raises(ConfigError, match="holds something else than a model"):
        attempt(other, overwrite=True)
    for target in (source, tmp_path):
        with pytest.raises(ConfigError, match="is, or contains, the model that is read"):
            attempt(target, overwrite=True)
    assert (model / "config.json").read_text() == "old"
    attempt(model, overwrite=True)
    assert (model / "config.json").read_text() == "new"
    assert (other / "thesis.tex").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "local"), [("embedded", False), ("owner/name", False), ("/a/b", True), ("./a", True), ("a/b/c", True)]
)
def test_which_names_are_paths(name, local):
    assert is_local(name) == local


def rename_one(weights, key):
    weights[f"{key}_"] = weights.pop(key)


def reshape_one(weights, key):
    weights[key] = weights[key].reshape(-1)[1:]


def spoil_one(weights, key):
    weights[key].view(-1)[0] = float("nan")


@pytest.mark.parametrize("change", [rename_one, reshape_one, spoil_one])
def test_an_adapter_without_all_of_its_weights_is_refused(adapter_dir, change):
    """PEFT would leave at its beginning what a file does not have."""
    adapter, _ = adapter_dir
    stored = load_file(adapter / "adapter_model.safetensors")
    key = next(name for name in stored if "lora_B" in name)
    change(stored, key)
    save_file(stored, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=re.escape(key)):
        load_model(adapter)
