"""Means over a decoder's tokens beside its last token: the same states however a text is read, shared and exported."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, dynamic_module_utils

from vrm.data.schema import Judgment
from vrm.export.directory import write_model
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.model import VRMConfig, load_model, save_model
from vrm.model.backbones import encode_completions, encode_prompts
from vrm.model.padding import pad_right

POOLINGS = ["last", "mean", "max"]
ROWS = [
    Judgment("how can i help", ["the plan is good", "no", "the short story of the city " * 3]),
    Judgment("is it safe ?", ["yes very safe", ""]),
]


@pytest.fixture
def directory(make_tiny_model):
    return make_tiny_model(kind="decoder", feature_layers=[1, -1], decoder_poolings=POOLINGS)


def judge(directory, packed=True, rows=ROWS):
    """Rewards of all completions; padded where `packed` is False."""
    model, tokenizer = load_model(directory)
    if not packed:
        model.packing_problem = "padded for a test"
    moments = RewardEngine(model, tokenizer, ExtractionOptions(precision="float32")).judge(rows).moments.mean
    return torch.cat([moments[index, : len(row.completions)] for index, row in enumerate(rows)])


def test_each_layer_gives_the_last_token_the_mean_and_the_largest(directory):
    model, _ = load_model(directory)
    assert model.config.feature_size == 6 * model.config.backbone_hidden_size
    ids, mask = pad_right([[11, 12, 13, 14, 15], [21, 22, 23, 24, 25, 26, 27]])
    start = torch.tensor([2, 4])
    with torch.no_grad():
        states = model.backbone(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states[1]
        completions, prompts = encode_completions(model.backbone, model.config, ids, mask, start)
        alone = encode_prompts(model.backbone, model.config, *pad_right([[11, 12], [21, 22, 23, 24]]))
    for row, (begin, end) in enumerate([(2, 5), (4, 7)]):
        for features, tokens in ((completions, states[row, begin:end]), (prompts, states[row, :begin])):
            expected = torch.stack([tokens[-1], tokens.mean(0), tokens.amax(0)])
            torch.testing.assert_close(features[row].view(2, 3, -1)[0], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(prompts, alone, atol=1e-5, rtol=0)


def test_rewards_are_the_same_packed_padded_and_row_by_row(directory):
    together = judge(directory)
    assert together.std() > 0.05
    torch.testing.assert_close(together, judge(directory, packed=False), atol=2e-5, rtol=0)
    alone = [judge(directory, rows=[Judgment(row.prompt, [text])]) for row in ROWS for text in row.completions]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-5, rtol=0)


def test_the_poolings_matter_and_models_written_before_have_none(directory, make_tiny_model, tmp_path):
    model, tokenizer = load_model(make_tiny_model(kind="decoder"))
    save_model(model, tokenizer, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values.pop("decoder_poolings") == ["last"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    before = load_model(tmp_path)[0].config
    assert (before.poolings, before.kind_poolings, before.num_blocks) == (["mean"], ["last"], 1)
    assert VRMConfig(backbone_kind="encoder").kind_poolings == ["mean"]


def test_exported_code_pools_alike(directory, tmp_path, monkeypatch):
    write_model(directory, tmp_path / "out", remote_code=True)
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    _, tokenizer = load_model(directory)
    own = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    # The Auto class would take the package's own, which is registered here.
    name = "modeling_vrm.VRMForSequenceClassification"
    remote = dynamic_module_utils.get_class_from_dynamic_module(name, str(tmp_path / "out"))
    remote = remote.from_pretrained(tmp_path / "out").eval()
    assert type(remote) is not type(own)
    assert remote.config.kind_poolings == POOLINGS
    messages = [{"role": "user", "content": "how can i help"}, {"role": "assistant", "content": "the plan is good"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    batch = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        torch.testing.assert_close(remote(**batch).logits, own(**batch).logits, atol=1e-6, rtol=0)
