from __future__ import annotations

import json

import pytest
import torch

from vrm.data.collate import TargetEncoder
from vrm.data.schema import Judgment
from vrm.data.tokenized import TokenizedJudgment
from vrm.model import load_model
from vrm.train import run as run_module
from vrm.train.passes import JudgmentCollator, PassCollator, StepSampler, cost_of, flat, passes_of, positions_of
from vrm.train.run import run_training
from vrm.train.setup import build_model

LABEL = Judgment("", ["", ""], preference=1.0)


def judgments(count, seed=0, completions=2):
    generator = torch.Generator().manual_seed(seed)

    def ids(low, high):
        return torch.randint(5, 60, (int(torch.randint(low, high, (1,), generator=generator)),)).tolist()

    texts = Judgment("", [""] * completions, scores=[float(rank) for rank in range(completions)])
    label = LABEL if completions == 2 else texts
    return [TokenizedJudgment(ids(1, 20), [ids(0, 9) for _ in range(completions)], label) for _ in range(count)]


def collator(packed, budget, kind="decoder"):
    return PassCollator(TargetEncoder(), 0, kind, packed, budget)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("completions", [2, 5])
def test_passes_give_the_padded_batchs_rewards(make_tiny_model, kind, packed, completions):
    model, _ = load_model(make_tiny_model("vrm", kind))
    items = judgments(12, completions=completions)
    items.append(TokenizedJudgment(items[0].prompt, items[1].completions, items[0].judgment))
    items.append(TokenizedJudgment([7, 8, 9], [], Judgment("", objective_votes={})))
    batch = collator(packed, 90, kind)(items)
    assert sorted(batch["judgments"].tolist()) == list(range(14))
    assert len(batch["passes"]) > 2
    with torch.no_grad():
        expected = model(**{k: v for k, v in JudgmentCollator(TargetEncoder(), 0)(items).items() if k in INPUTS})
        found = torch.cat([_pad(model(**_inputs(part)).logits, completions) for part in batch["passes"]])
        weights = torch.cat([model(**_inputs(part)).weights for part in batch["passes"]])
    mask = JudgmentCollator(TargetEncoder(), 0)(items)["mask"][batch["judgments"]]
    assert torch.allclose(found[mask], expected.logits[batch["judgments"]][mask], atol=1e-5)
    assert torch.allclose(weights, expected.weights[batch["judgments"]], atol=1e-5)


INPUTS = ("input_ids", "attention_mask", "completion_start", "prompt_rows", "completion_rows", "packed")


def _inputs(part):
    return {name: value for name, value in part.items() if name in INPUTS}


def _pad(rewards, width):
    return torch.nn.functional.pad(rewards, (0, width - rewards.shape[1]))


def test_padded_passes_hold_similar_lengths_and_keep_to_the_budget():
    items = judgments(40)
    batch = collator(False, 100)(items)
    assert sorted(batch["judgments"].tolist()) == list(range(40))
    sizes = [part["input_ids"].shape for part in batch["passes"]]
    assert max(rows * length for rows, length in sizes) <= 100
    assert [length for _, length in sizes] == sorted((length for _, length in sizes), reverse=True)
    together = collator(False, 10**6)(items)["passes"]
    padding = sum(positions_of(part)[1] for part in batch["passes"])
    assert 0 < padding < positions_of(together[0])[1] / 2


def test_packed_passes_have_no_padding_and_keep_to_the_budget():
    items = judgments(40)
    batch = collator(True, 100)(items)
    assert batch["judgments"].tolist() == list(range(40))
    positions = [positions_of(part) for part in batch["passes"]]
    assert max(count for count, _ in positions) <= 100
    assert [padding for _, padding in positions] == [0] * len(positions)
    assert sum(count for count, _ in positions) == sum(cost_of(item, "decoder") for item in items)


def test_equal_prompts_of_a_pass_are_computed_once():
    items = [TokenizedJudgment([1, 2, 3], [[4 + n], [5, 6 + n]], LABEL) for n in range(3)]
    (part,) = collator(True, 100)(items)["passes"]
    assert positions_of(part)[0] == 3 + 3 * 3
    assert part["packed"]["prompt_reads"].tolist() == [0, 0, 0]
    assert part["packed"]["completion_reads"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_equal_completions_of_a_prompt_are_computed_once():
    items = [TokenizedJudgment([1, 2, 3], [[4], [5, 6]], LABEL) for _ in range(3)]
    (part,) = collator(True, 100)(items)["passes"]
    assert part["packed"]["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6]]


def test_cached_features_are_one_pass_without_positions():
    batch = {"prompt_features": torch.zeros(1)}
    assert passes_of(batch) == [batch]
    assert positions_of(batch) == (0, 0)


def test_tensors_of_a_pass_by_dotted_name():
    (part,) = collator(True, 100)(judgments(2))["passes"]
    assert {"mask", "packed.input_ids", "packed.reads"} <= flat(part).keys()
    assert all(isinstance(value, torch.Tensor) for value in flat(part).values())


# Order


def sampler(costs, step=8, batches=4, epoch=0, seed=3):
    return StepSampler(costs, seed, step, batches, lambda: epoch)


def test_the_order_depends_on_seed_and_epoch_alone():
    costs = list(range(100))
    assert list(sampler(costs)) == list(sampler(costs))
    assert sorted(sampler(costs)) == costs
    orders = {tuple(sampler(costs, epoch=epoch, seed=seed)) for epoch in (0, 1) for seed in (3, 4)}
    assert len(orders) == 4
    one, four = list(sampler(costs, batches=1)), list(sampler(costs, batches=4))
    assert [set(one[i : i + 8]) for i in range(0, 100, 8)] == [set(four[i : i + 8]) for i in range(0, 100, 8)]


def test_batches_of_a_step_cost_alike():
    generator = torch.Generator().manual_seed(0)
    costs = torch.randint(10, 1000, (640,), generator=generator).tolist()

    def spread(order):
        batches = [sum(costs[row] for row in order[i : i + 16]) for i in range(0, 640, 16)]
        steps = [batches[i : i + 4] for i in range(0, 40, 4)]
        return sum(max(step) / min(step) for step in steps) / len(steps)

    assert spread(list(sampler(costs, step=64, batches=4))) < 1.1
    assert spread(list(range(640))) > 1.2


# Training


def weights_after(make_config, run_data, rows, **changes):
    config = make_config(
        {
            "model.tuning": "full",
            # Heads without samples: the draws would not be the same ones in other passes.
            "model.head": "gated",
            "train.learning_rate": 0.05,
            "train.backbone_learning_rate": 1e-3,
            **{name.replace("__", "."): value for name, value in changes.items()},
        },
        output="-".join(map(str, changes.values())) or "run",
    )
    run_training(config, data=run_data(rows(24), rows(8, seed=1)))
    path = f"{config.output_dir}/history.jsonl"
    model, _ = load_model(f"{config.output_dir}/model")
    return model.state_dict(), [json.loads(line) for line in open(path, encoding="utf-8")]


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        # A bias of keys changes no attention: its gradient is rounding, which Adam scales up to a step.
        if not name.endswith("key.bias"):
            assert torch.allclose(second[name], value, atol=1e-4), name


@pytest.fixture
def without_dropout(monkeypatch):
    def build(*args):
        model, tokenizer = build_model(*args)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.0
        for layer in model.backbone.encoder.layer:
            layer.attention.self.dropout.p = 0.0
        return model, tokenizer

    monkeypatch.setattr(run_module, "build_model", build)


@pytest.mark.usefixtures("without_dropout")
def test_a_small_token_budget_trains_the_same_weights(make_config, run_data, rows):
    whole, one = weights_after(make_config, run_data, rows, train__token_budget=100_000)
    split, other = weights_after(make_config, run_data, rows, train__token_budget=60)
    assert_same_weights(whole, split)
    for first, second in zip(one, other, strict=True):
        for name in ("loss", "eval_loss", "eval_nll", "comparison", "positions_per_judgment"):
            if name in first:
                assert second[name] == pytest.approx(first[name], abs=2e-4)
    assert [entry["padding_share"] for entry in other if "loss" in entry] == [0.0] * 6


@pytest.mark.usefixtures("without_dropout")
def test_padded_passes_train_the_same_weights_and_log_their_padding(make_config, run_data, rows, monkeypatch):
    packed, one = weights_after(make_config, run_data, rows, train__token_budget=101)
    monkeypatch.setattr("vrm.model.modeling_vrm.packing_problem", lambda *_: "told so")
    padded, other = weights_after(make_config, run_data, rows, train__token_budget=100)
    assert_same_weights(packed, padded)
    shares = [entry["padding_share"] for entry in other if "loss" in entry]
    assert 0 < max(shares) < 0.5
    for first, second in zip(one, other, strict=True):
        if "loss" in first:
            assert second["loss"] == pytest.approx(first["loss"], abs=2e-4)
            # An encoder's prompt is packed on its own beside each completion; padded, equal prompts count once.
            assert second["positions_per_judgment"] != first["positions_per_judgment"]
