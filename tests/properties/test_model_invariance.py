from __future__ import annotations

from contextlib import contextmanager, nullcontext

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vrm.data.schema import Judgment
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.model import load_model, save_model

TOLERANCE = 1e-5
KINDS = ("encoder", "decoder")
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ids = st.lists(st.integers(10, 60), min_size=1, max_size=12)
rows = st.lists(st.tuples(ids, ids), min_size=2, max_size=6)
words = st.sampled_from(["the", "of", "to", "you", "how", "why", "safe", "unsafe", "good", "bad", "help", "city", "no"])
text = st.lists(words, min_size=1, max_size=12).map(" ".join)


@pytest.fixture(scope="module", params=KINDS)
def loaded(request, make_tiny_model):
    return load_model(make_tiny_model("vrm", request.param))


def padded(batch, left, extra, pad):
    """Ids, mask and start of the completion of rows, with `left` of the padding before them, and `extra` more."""
    length = max(len(prompt + completion) for prompt, completion in batch) + extra
    table = torch.full((len(batch), length), pad)
    mask = torch.zeros(len(batch), length, dtype=torch.long)
    start = torch.zeros(len(batch), dtype=torch.long)
    for index, (prompt, completion) in enumerate(batch):
        row = prompt + completion
        offset = {"left": length - len(row), "right": 0, "middle": (length - len(row)) // 2}[left]
        table[index, offset : offset + len(row)] = torch.tensor(row)
        mask[index, offset : offset + len(row)] = 1
        start[index] = offset + len(prompt)
    return {"input_ids": table, "attention_mask": mask, "completion_start": start}


@torch.no_grad()
def outputs(model, batch, side="right", extra=0, pad=0):
    return model(**padded(batch, side, extra, pad))


def close(first, second):
    def values(output):
        return output.logits, output.reward_variance, output.weights, output.posteriors.features.loc

    pairs = zip(values(first), values(second), strict=True)
    return all(torch.allclose(one, other, rtol=1e-4, atol=TOLERANCE) for one, other in pairs)


@FEW
@given(rows, st.sampled_from(["left", "right", "middle"]), st.integers(0, 9), st.integers(0, 60))
def test_padding_of_any_side_amount_and_id_changes_nothing(loaded, batch, side, extra, pad):
    model, _ = loaded
    plain, other = outputs(model, batch), outputs(model, batch, side, extra, pad)
    assert torch.allclose(plain.logits, other.logits, atol=TOLERANCE)
    assert close(plain, other)


@contextmanager
def rows_padded(model):
    """As for a backbone that cannot read packed rows."""
    model.packing_problem = "told so"
    try:
        yield
    finally:
        model.packing_problem = None


some_or_none = st.lists(st.integers(10, 60), max_size=12)


@FEW
@given(ids, st.lists(some_or_none, min_size=1, max_size=8), rows, st.sampled_from(["left", "right"]))
def test_packed_rows_give_the_rewards_and_gradients_of_padded_ones(loaded, prompt, completions, others, side):
    model, _ = loaded
    # One prompt of up to eight completions, some of them empty, among other rows.
    batch = padded([*((prompt, ids) for ids in completions), *others], side, 0, 0)
    found = {}
    for route in (nullcontext(), rows_padded(model)):
        with route:
            model.zero_grad()
            output = model(**batch)
            (output.logits * torch.arange(1, len(output.logits) + 1).unsqueeze(1)).sum().backward()
            gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found[isinstance(route, nullcontext)] = output, gradients
    (one, packed), (other, reference) = found[True], found[False]
    assert close(one, other)
    assert packed.keys() == reference.keys()
    for name, value in reference.items():
        assert torch.allclose(packed[name], value, rtol=1e-3, atol=1e-5 * max(1.0, float(value.abs().max()))), name


@pytest.mark.parametrize("policy", ["truncate_prompt", "truncate"])
def test_prompts_at_the_limit_are_the_same_packed_and_padded(loaded, policy):
    model, tokenizer = loaded
    limit = model.config.max_input_tokens
    rows = [
        Judgment("the city of good help " * limit, ["good", "no " * 30, "why " * (limit // 6)], scores=[1, 2, 3]),
        Judgment("how", ["you " * (limit // 6), "no"], preference=1.0),
    ]
    rewards = []
    for route in (nullcontext(), rows_padded(model)):
        with route:
            engine = RewardEngine(model, tokenizer, ExtractionOptions(precision="float32"), on_overlong=policy)
            batch = engine.judge(rows)
            rewards.append(batch.moments.mean[batch.mask])
            assert engine.report.prompt_truncated == 1
    assert torch.allclose(*rewards, atol=TOLERANCE)


@FEW
@given(rows, st.randoms(use_true_random=False))
def test_batch_size_and_order_change_nothing(loaded, batch, random):
    model, _ = loaded
    together = outputs(model, batch).logits
    alone = torch.cat([outputs(model, [row]).logits for row in batch])
    order = list(range(len(batch)))
    random.shuffle(order)
    shuffled = outputs(model, [batch[index] for index in order]).logits
    assert torch.allclose(together, alone, atol=TOLERANCE)
    assert torch.allclose(together[order], shuffled, atol=TOLERANCE)


@FEW
@given(st.lists(st.tuples(text, text, text), min_size=1, max_size=4), st.integers(16, 400))
def test_swapping_the_sides_negates_the_margin(loaded, triples, budget):
    model, tokenizer = loaded
    engine = RewardEngine(model, tokenizer, ExtractionOptions(precision="float32", token_budget=budget))

    def rewards(judgments):
        return engine.judge(judgments).moments.mean

    one = rewards([Judgment(prompt, [a, b], preference=1.0) for prompt, a, b in triples])
    other = rewards([Judgment(prompt, [b, a], preference=1.0) for prompt, a, b in triples])
    assert torch.allclose(one[:, 0] - one[:, 1], other[:, 1] - other[:, 0], atol=TOLERANCE)


@FEW
@given(rows)
def test_cached_features_give_the_models_own_forward(loaded, batch):
    model, _ = loaded
    inputs = padded(batch, "right", 0, 0)
    with torch.no_grad():
        prompts, completions = model._encode(*inputs.values())
        cached = model(prompt_features=prompts, completion_features=completions.unsqueeze(1))
    assert torch.equal(cached.logits, outputs(model, batch).logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", ["vrm", "gated", "bottleneck", "mlp", "bt"])
def test_save_and_load_is_bitwise(make_tiny_model, tmp_path, kind, head):
    model, tokenizer = load_model(make_tiny_model(head, kind))
    save_model(model, tokenizer, tmp_path)
    again, _ = load_model(tmp_path)
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name: value.dtype for name, value in before.items()} == {name: v.dtype for name, v in after.items()}
    batch = [([2, 20, 30], [40, 41, 3]), ([2, 25], [50, 3])]
    first, second = outputs(model, batch), outputs(again, batch)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first if name != "posteriors")
    pairs = zip(first.posteriors.tensors(), second.posteriors.tensors(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
