from __future__ import annotations

import pytest
import torch

from vrm.model.attention import sdpa_packed_attention
from vrm.model.calls import PADDING
from vrm.model.packing import Tree, pack_trees
from vrm.model.segments import Segments

CPU = torch.device("cpu")


def trees_of_lengths(seed, count, completions, prompt=30, completion=20):
    generator = torch.Generator().manual_seed(seed)

    def ids(mean):
        return [7] * int(torch.randint(mean // 2, 2 * mean, (1,), generator=generator))

    return [Tree(ids(prompt), [ids(completion) for _ in range(completions)]) for _ in range(count)]


def segments_of(trees, causal):
    return Segments.of(pack_trees(trees, "decoder" if causal else "encoder")["parts"], causal)


def states(segments, query_heads=4, heads=2):
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, number, sum(segments.lengths), 8) for number in (query_heads, heads, heads)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def by_the_whole_mask(query, key, value, segments, window):
    tokens = torch.arange(query.shape[2])
    seen = segments.visibility(window, CPU)(None, None, tokens.unsqueeze(1), tokens)
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, seen, enable_gqa=True)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize("padding", [0.0, PADDING, 1e9])
@pytest.mark.parametrize("copy", [0, 1e9])
def test_calls_compute_what_the_whole_mask_shows(monkeypatch, causal, window, heads, padding, copy):
    if not causal and window is not None:
        pytest.skip("encoders have no windows")
    monkeypatch.setattr("vrm.model.calls.PADDING", padding)
    monkeypatch.setattr("vrm.model.calls.CALL", 0)
    monkeypatch.setattr("vrm.model.calls.COPY", copy)
    trees = [*trees_of_lengths(1, 3, 2), Tree([7], []), Tree([7] * 40, [[7], [7] * 3, [7] * 50])]
    segments = segments_of(trees, causal)
    results = []
    for attend in (by_the_whole_mask, lambda *given: sdpa_packed_attention(*given[:-1], window=given[-1])):
        leaves = states(segments, heads=heads)
        output = attend(*leaves, segments, window)
        # A weighted sum, so that equal tokens do not cancel.
        (output * torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output)).sum().backward()
        results.append([output.detach(), *(leaf.grad for leaf in leaves)])
    for expected, found in zip(*results, strict=True):
        assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("causal", "completions", "most"), [(False, 2, 12), (True, 1, 6), (True, 2, 16), (True, 8, 32)]
)
def test_a_pass_takes_few_calls_and_little_padding(causal, completions, most):
    segments = segments_of(trees_of_lengths(2, 60, completions), causal)
    plan = segments.plan(None, CPU, torch.float32)
    assert len(plan.calls) <= most
    tokens = sum(segments.lengths)
    assert sum(call.rows * call.queries for call in plan.calls) < 1.4 * tokens
    computed = sum(call.rows * call.queries * call.keys / (1 + call.causal) for call in plan.calls)
    # Less than half of what one masked call a tree computes.
    trees = [sum(map(len, tree)) for tree in segments._trees()] if causal else segments.lengths
    assert computed < (0.9 if causal else 1.6) * sum(size**2 for size in trees)


def test_long_trees_stand_alone_and_short_ones_together():
    trees = [Tree([7] * 600, [[7] * 300]), Tree([7] * 1500, [[7] * 300]), *trees_of_lengths(3, 20, 1, 20, 10)]
    calls = segments_of(trees, True).plan(None, CPU, torch.float32).calls
    assert [(call.rows, call.queries) for call in calls if call.queries > 100] == [(1, 1800), (1, 900)]
    assert all(call.causal and call.mask is None for call in calls)
    assert len(calls) <= 2 + 20 // 4


def test_a_row_that_needs_no_order_of_its_own_is_copied_nowhere():
    for causal, trees in ((True, [Tree([7] * 9, [[7] * 5])]), (False, [Tree([7] * 9, [])])):
        plan = segments_of(trees, causal).plan(None, CPU, torch.float32)
        assert (plan.queries, plan.keys, plan.outputs) == (None, None, None)
        assert [call.mask for call in plan.calls] == [None]


def test_short_completions_of_a_long_prompt_share_a_copy_of_it():
    segments = segments_of([Tree([7] * 900, [[7] * 19 + [last] for last in range(30)])], True)
    plan = segments.plan(None, CPU, torch.float32)
    assert len(plan.keys) < 5 * 900
    assert sum(call.rows for call in plan.calls) < 5


def test_a_plan_is_made_once_for_all_layers_of_a_window_and_precision():
    segments = segments_of(trees_of_lengths(4, 5, 2), True)
    first = segments.plan(None, CPU, torch.float32)
    assert segments.plan(None, CPU, torch.float32) is first
    low = segments.plan(None, CPU, torch.bfloat16)
    masks = [call.mask.dtype for call in low.calls if call.mask is not None]
    assert set(masks) == {torch.bfloat16}
