"""PEFT around a VRM: task type SEQ_CLS trains and saves the head, and what was saved comes back exactly."""

from __future__ import annotations

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, LoraConfig, PeftModel, TaskType, get_peft_model

import vrm
from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.integrations.trl import reward_function
from vrm.model import load_model, save_model

vrm.register()

KINDS = {"encoder": ["query", "value"], "decoder": ["q_proj", "v_proj"], "smollm2": ["q_proj", "v_proj"]}
ROWS = [Judgment("how do you help", ["very good", "no"]), Judgment("why", ["\nsafe", "the city"])]


@pytest.fixture(params=KINDS)
def adapted(request, make_tiny_model):
    """A LoRA model after a few steps that move backbone and head, its tokenizer and its base's directory."""
    directory = make_tiny_model(kind=request.param)
    base, tokenizer = load_model(directory)
    # Nothing of ours is named: SEQ_CLS is all that PEFT is told.
    model = get_peft_model(base, LoraConfig(task_type=TaskType.SEQ_CLS, r=4, target_modules=KINDS[request.param]))
    engine = RewardEngine(base, tokenizer)
    tokenized = list(engine.tokenize.many(ROWS))
    rows = [item.prompt + ids for item in tokenized for ids in item.completions]
    start = torch.tensor([len(item.prompt) for item in tokenized for _ in item.completions])
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        logits = model(input_ids=ids, attention_mask=mask, completion_start=start).logits[:, 0]
        loss = (logits[1::2] - logits[::2]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), tokenizer, directory


def rewards(model, tokenizer):
    return RewardEngine(model, tokenizer, ExtractionOptions(precision="float32")).judge(ROWS).moments.mean


def test_head_and_adapter_come_back(adapted, tmp_path):
    model, tokenizer, directory = adapted
    before = rewards(model.get_base_model(), tokenizer)
    assert not torch.allclose(before, rewards(load_model(directory)[0], tokenizer), atol=1e-2)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load_model(directory)[0], tmp_path)
    assert torch.allclose(rewards(again.get_base_model().eval(), tokenizer), before, atol=1e-6)
    by_auto = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path, num_labels=1)
    assert torch.allclose(rewards(by_auto.get_base_model().eval(), tokenizer), before, atol=1e-6)


def test_the_head_is_saved_whole(adapted, tmp_path):
    from safetensors.torch import load_file

    model, _, _ = adapted
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    head = model.get_base_model().score.modules_to_save["default"].state_dict()
    found = {key.split(".score.")[1] for key in saved if ".score." in key}
    assert found == set(head)


def test_merged_it_is_a_reward_model_like_any_other(adapted, tmp_path):
    model, tokenizer, _ = adapted
    before = rewards(model.get_base_model(), tokenizer)
    merged = model.merge_and_unload()
    save_model(merged, tokenizer, tmp_path)
    # In float32 merged weights and another batch change the last digits, in thirty layers more than in two.
    tolerance = 1e-4 if merged.config.backbone_config.num_hidden_layers > 10 else 1e-5
    assert torch.allclose(rewards(load_model(tmp_path)[0], tokenizer), before, rtol=tolerance, atol=tolerance)
    function = reward_function(tmp_path)
    assert function(["why"], ["\nsafe"])[0] == pytest.approx(float(before[1, 0]), rel=tolerance, abs=tolerance)
