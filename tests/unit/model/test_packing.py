from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, create_mask
from transformers import BertConfig, LlamaConfig, MistralConfig, Qwen3Config, RobertaConfig

from vrm.errors import ConfigError
from vrm.model import VRMConfig, VRMForSequenceClassification
from vrm.model.attention import flex_packed_attention, flex_problem, sdpa_packed_attention
from vrm.model.backbones import encode_packed, encode_padded_rows, first_position, packing_problem
from vrm.model.packing import (
    PROMPT,
    Branches,
    Tree,
    pack_trees,
    packed_passes,
    padded_passes,
    part_of,
    plan_passes,
    prompt_reads,
    trees_of,
    within_budget,
)
from vrm.model.padding import pad_right
from vrm.model.segments import Segments, flex_mask
from vrm.train.compilation import compile_layers

pytestmark = pytest.mark.heavy

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 300,
    "initializer_range": 0.3,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
GQA = {"num_key_value_heads": 2, "head_dim": 8}
BACKBONES = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2),
    "qwen3": Qwen3Config(**SIZES, **GQA),
    "mistral, window 5": MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=5),
    "qwen3, windows and full": Qwen3Config(
        **SIZES,
        **GQA,
        sliding_window=6,
        use_sliding_window=True,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "bert": BertConfig(**SIZES, **NO_DROPOUT),
    "roberta": RobertaConfig(**SIZES, **NO_DROPOUT, pad_token_id=1),
}


def make(name, **fields):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = copy.deepcopy(BACKBONES[name])
        config = VRMConfig(backbone_config=backbone, objectives=["a", "b"], num_free_objectives=1, **fields)
        return VRMForSequenceClassification(config)


def random_trees(seed, counts, prompt=(3, 20), completion=(0, 12)):
    generator = torch.Generator().manual_seed(seed)

    def ids(low, high):
        size = int(torch.randint(low, high + 1, (1,), generator=generator))
        return torch.randint(5, 90, (size,), generator=generator).tolist()

    return [Tree(ids(*prompt), [ids(*completion) for _ in range(count)]) for count in counts]


def padded_features(model, trees):
    """Head inputs of all reads, in their order, by the padded reference."""
    rows = [[*tree.prompt, *ids] for tree in trees for ids in tree.completions or [[]]]
    starts = [len(tree.prompt) for tree in trees for _ in tree.completions or [[]]]
    ids, mask = pad_right(rows)
    # What padding holds is never read; roberta counts positions by it.
    ids[~mask] = model.config.backbone_config.pad_token_id or 0
    prompts, completions = encode_padded_rows(model.backbone, model.config, ids, mask, torch.tensor(starts))
    found, row = [], 0
    for tree in trees:
        found.append(prompts[row])
        found += list(completions[row : row + len(tree.completions)])
        row += max(len(tree.completions), 1)
    return torch.stack(found)


def packed_features(model, trees):
    kind = model.config.backbone_kind
    return encode_packed(model.backbone, model.config, pack_trees(trees, kind, first_position(model.backbone)))


def gradients(model, features):
    model.zero_grad()
    # A weighted sum, so that equal rows do not cancel.
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    return {name: p.grad.clone() for name, p in model.backbone.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_features_and_gradients_equal_the_padded_reference(name, count):
    pooled = {"poolings": ["mean", "max", "cls"], "decoder_poolings": ["last", "mean", "max"]}
    model = make(name, feature_layers=[1, -1], **pooled).train()
    trees = random_trees(count, [count, 1, count, 0])
    expected, found = padded_features(model, trees), packed_features(model, trees)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.1
    reference, packed = gradients(model, expected), gradients(model, found)
    assert reference.keys() == packed.keys()
    for key, value in reference.items():
        assert torch.allclose(packed[key], value, rtol=1e-4, atol=1e-5 * max(float(value.abs().max()), 1.0)), key


@pytest.mark.parametrize("name", BACKBONES)
def test_bfloat16_features_equal_the_padded_reference(name):
    model = make(name).eval()
    trees = random_trees(3, [4, 2])
    with torch.no_grad():
        exact = padded_features(model, trees)
        with torch.autocast("cpu", torch.bfloat16):
            expected, found = padded_features(model, trees), packed_features(model, trees)
    # Both round; neither is off by more than rounding in this precision, over features of spread one and more.
    assert float((found - exact).abs().mean()) < 1.5 * float((expected - exact).abs().mean()) + 1e-3
    assert float((found - expected).abs().mean() / exact.std()) < 1e-2


@pytest.mark.parametrize("name", ["qwen3", "mistral, window 5", "bert"])
def test_flex_attention_equals_sdpa(name):
    causal, window = name != "bert", 5 if "window" in name else None
    packed = pack_trees(random_trees(1, [3, 1, 5]), "decoder" if causal else "encoder")
    segments = Segments.of(packed["parts"], causal)
    tokens = packed["input_ids"].shape[1]
    query, key, value = (torch.randn(1, heads, tokens, 8, dtype=torch.float64) for heads in (4, 2, 2))
    one = sdpa_packed_attention(query, key, value, segments, window=window)
    other = flex_packed_attention(query, key, value, segments, None, window)
    assert torch.allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 70])
@pytest.mark.parametrize("lengths", [[40, 30, 58], [300, 150, 90, 600, 20, 1], [1500, 3, 800]])
def test_flex_mask_is_the_librarys_of_the_whole_mask(lengths, window, causal):
    prefixes = [-1, 0, 0] if len(lengths) == 3 else [-1, 0, 0, -1, 3, 3]
    device, size = torch.device("cpu"), sum(lengths)
    found = flex_mask(Segments(lengths, prefixes, causal).visibility(window, device), size, device)
    expected = create_block_mask(found.mask_mod, None, None, size, size, device="cpu")
    assert (found.seq_lengths, found.BLOCK_SIZE) == (expected.seq_lengths, expected.BLOCK_SIZE)
    blocks = 0
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        counts = getattr(found, name)
        assert torch.equal(counts, getattr(expected, name)), name
        blocks += int(counts.sum())
        indices = name.replace("num_blocks", "indices")
        for one, other, count in zip(
            getattr(found, indices)[0, 0], getattr(expected, indices)[0, 0], counts[0, 0].tolist(), strict=True
        ):
            assert torch.equal(one[:count], other[:count]), indices
    assert blocks > 0


def test_flex_attention_is_tried_beside_sdpa_before_it_is_used(monkeypatch):
    ask = flex_problem.__wrapped__
    cpu = torch.device("cpu")
    assert "FlexAttention does not support backward on CPU" in ask(cpu, torch.float32, 16, 2)

    def right(query, key, value, mask, scaling):
        seen = create_mask(mask.mask_mod, None, None, query.shape[2], key.shape[2], device="cpu")
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, seen, enable_gqa=True)

    monkeypatch.setattr("vrm.model.attention.flex_attend", right)
    for dtype in (torch.float32, torch.bfloat16):
        assert ask(cpu, dtype, 16, 2) is None

    def wrong(query, key, value, mask, scaling):
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

    monkeypatch.setattr("vrm.model.attention.flex_attend", wrong)
    assert "its results differ by" in ask(cpu, torch.float32, 16, 2)

    def fails(*_):
        raise RuntimeError("Failed to find C compiler.\nSet CC")

    monkeypatch.setattr("vrm.model.attention.flex_attend", fails)
    assert ask(cpu, torch.float32, 16, 2) == "RuntimeError: Failed to find C compiler."


def test_flex_attention_takes_what_autocast_leaves_in_two_precisions():
    packed = pack_trees(random_trees(1, [3, 1]), "decoder")
    segments = Segments.of(packed["parts"], True)
    query, key, value = torch.randn(3, 1, 2, packed["input_ids"].shape[1], 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = flex_packed_attention(query, key, value.bfloat16(), segments, None, None)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), sdpa_packed_attention(query, key, value, segments), atol=3e-2)


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("name", ["qwen3", "bert"])
def test_compiled_layers_give_the_same_features_and_gradients(name, recomputed):
    plain, compiled = make(name).train(), make(name).train()
    graphs = []

    def backend(graph, _):  # traced as for any backend, and then run as it is
        graphs.append(graph)
        return graph.forward

    for model in (plain, compiled):
        if recomputed:
            model.gradient_checkpointing_enable()
    compile_layers(compiled.backbone, backend=backend)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    for seed in (1, 2):
        trees = random_trees(seed, [2, 3])
        one, other = packed_features(plain, trees), packed_features(compiled, trees)
        assert torch.allclose(one, other, atol=1e-5)
        first, second = gradients(plain, one), gradients(compiled, other)
        assert all(torch.allclose(second[key], value, rtol=1e-4, atol=1e-4) for key, value in first.items())
    # Layers share what is compiled, and so do lengths.
    assert 0 < len(graphs) <= 8


def test_layers_that_cannot_be_found_are_not_compiled():
    backbone = make("bert").backbone
    backbone.config.num_hidden_layers = 7
    with pytest.raises(ConfigError, match="BertModel has no list of its 7 layers"):
        compile_layers(backbone)


def test_a_tree_attends_the_same_way_in_one_call_and_part_by_part(monkeypatch):
    packed = pack_trees(random_trees(2, [1, 2, 7]), "decoder")
    query, key, value = torch.randn(3, 1, 2, packed["input_ids"].shape[1], 8, dtype=torch.float64)
    results = []
    for waste in (0.0, 1e9):
        monkeypatch.setattr("vrm.model.calls.PADDING", waste)
        segments = Segments.of(packed["parts"], True)
        results.append(sdpa_packed_attention(query, key, value, segments, window=None))
        results.append(sdpa_packed_attention(query, key, value, segments, window=4))
    assert torch.allclose(results[0], results[2], atol=1e-12)
    assert torch.allclose(results[1], results[3], atol=1e-12)
    assert not torch.allclose(results[0], results[1], atol=1e-3)


def test_an_empty_completion_is_read_at_the_prompts_end():
    model = make("qwen3").eval()
    (prompt, empty, other) = packed_features(model, [Tree([5, 6, 7], [[], [8]])])
    assert torch.equal(prompt, empty)
    assert not torch.equal(prompt, other)


def test_no_position_is_wasted():
    trees = random_trees(0, [2, 3], completion=(1, 5))
    packed = pack_trees(trees, "decoder")
    assert packed["input_ids"].numel() == sum(tree.positions("decoder") for tree in trees)
    assert sum(len(tree.prompt) + sum(map(len, tree.completions)) for tree in trees) == packed["input_ids"].numel()
    encoded = pack_trees(trees, "encoder")
    assert encoded["input_ids"].numel() == sum(tree.positions("encoder") for tree in trees)


def test_passes_keep_to_the_budget_and_compute_every_completion_once():
    trees = random_trees(5, [1, 30, 4, 0, 2])
    for kind in ("decoder", "encoder"):
        passes = list(plan_passes(trees, kind, 120))
        done = [(item.tree, index) for branches in passes for item in branches for index in item.completions]
        assert done == [(tree, index) for tree in range(5) for index in range(len(trees[tree].completions))]
        assert {item.tree for branches in passes for item in branches} == set(range(5))
        costs = [sum(part_of(trees[item.tree], item).positions(kind) for item in branches) for branches in passes]
        assert max(costs) <= 120
        assert len(passes) > 2


def test_a_single_row_over_the_budget_is_a_pass_of_its_own():
    trees = [Tree([1] * 50, [[2] * 50, [3] * 50]), Tree([1], [[2]])]
    assert list(plan_passes(trees, "decoder", 20)) == [
        [Branches(0, range(1))],
        [Branches(0, range(1, 2))],
        [Branches(1, range(1))],
    ]


def test_rows_of_equal_prompts_are_one_tree():
    trees, places = trees_of([([1, 2], [[3]]), ([4], [[5]]), ([1, 2], [[9, 9]])])
    assert [(tuple(tree.prompt), [list(ids) for ids in tree.completions]) for tree in trees] == [
        ((1, 2), [[3], [9, 9]]),
        ((4,), [[5]]),
    ]
    assert places == [(0, 0), (1, 0), (0, 1)]


def test_judgments_of_several_completions_keep_their_order_in_a_tree():
    trees, places = trees_of([([1], [[2], [3]]), ([5, 6], []), ([1], [[4]]), ([1], [])])
    assert trees == [Tree((1,), [[2], [3], [4]]), Tree((5, 6), [])]
    assert places == [(0, 0), (1, 0), (0, 2), (0, 3)]
    assert prompt_reads(trees) == [0, 4]


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_a_packed_pass_says_what_its_reads_are(kind):
    model = make("qwen3" if kind == "decoder" else "bert").eval()
    trees = random_trees(7, [3, 0, 9, 1])
    features = {}
    with torch.no_grad():
        for one_pass in packed_passes(trees, kind, 100):
            assert one_pass.row["input_ids"].numel() <= 100
            features.update(zip(one_pass.reads, encode_packed(model.backbone, model.config, one_pass.row), strict=True))
        whole = iter(packed_features(model, trees))
    for number, tree in enumerate(trees):
        for index in (PROMPT, *range(len(tree.completions))):
            assert torch.allclose(features.pop((number, index)), next(whole), atol=1e-5)
    assert features == {}


def test_padded_passes_keep_to_the_budget_and_hold_similar_lengths():
    lengths = [3, 50, 4, 9, 10, 2, 8]
    passes = list(padded_passes([(1, length) for length in lengths], 20))
    assert [[lengths[number] for number in numbers] for numbers in passes] == [[50], [10, 9], [8, 4], [3, 2]]
    assert sorted(number for numbers in passes for number in numbers) == list(range(7))
    # Items of several rows: the third fits beside the first two only without the padding to 6.
    assert list(padded_passes([(2, 6), (1, 5), (2, 3)], 24)) == [[0, 1], [2]]


def test_a_budget_takes_items_as_batches_are_asked_for():
    taken = []
    costs = iter([4, 4, 9, 1, 1])
    batches = within_budget((taken.append(cost) or cost for cost in costs), 8, lambda _, cost: cost)
    assert next(batches) == [4, 4]
    assert taken == [4, 4, 9]
    assert list(batches) == [[9], [1, 1]]


def test_rows_are_padded_to_the_longest_or_to_what_is_wanted():
    values, mask = pad_right([[1, 2], [], [3]], fill=-1)
    assert values.tolist() == [[1, 2], [-1, -1], [3, -1]]
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    assert pad_right([[7]], least=3)[0].tolist() == [[7, 0, 0]]
    assert pad_right([[], []])[0].tolist() == [[0], [0]]


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_that_can_be_packed_are_found_to_be(name):
    model = make(name)
    assert packing_problem(model.backbone, model.config) is None
    assert model.training


def test_another_attention_implementation_is_padded_and_says_so(caplog):
    model = make("llama").eval()
    model.backbone.set_attn_implementation("eager")
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 9, 9]])
    with torch.no_grad(), caplog.at_level("WARNING", "vrm"):
        eager = model(ids, completion_start=torch.tensor([2, 2])).logits
        model(ids, completion_start=torch.tensor([2, 2]))
    assert [record.getMessage() for record in caplog.records] == [
        "rows are padded and prompts are not shared: its attention implementation is 'eager', not sdpa"
    ]
    assert torch.allclose(eager, make("llama").eval()(ids, completion_start=torch.tensor([2, 2])).logits, atol=1e-5)


def test_layers_without_a_cache_of_keys_are_padded():
    model = make("qwen3")
    model.config.backbone_config.layer_types = ["linear_attention", "full_attention"]
    assert packing_problem(model.backbone, model.config) == "it has layers of linear_attention"


def test_a_backbone_that_reads_packed_rows_wrongly_is_found_out(monkeypatch):
    model = make("qwen3")
    monkeypatch.setattr(
        "vrm.model.attention.sdpa_packed_attention",
        lambda query, key, value, segments, **_: torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        ),
    )
    assert "packed rows differ from padded ones by" in packing_problem(model.backbone, model.config)


def test_rows_of_one_prompt_are_computed_once_and_in_bounded_passes(monkeypatch):
    model = make("qwen3").eval()
    positions = []
    model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: positions.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    ids = torch.tensor([[5, 6, 7, 8, 10 + row] for row in range(6)])
    assert model.packing_problem is None
    positions.clear()
    with torch.no_grad():
        whole = model(ids, completion_start=torch.full((6,), 3)).logits
        assert positions == [3 + 2 * 6]
        monkeypatch.setattr("vrm.model.modeling_vrm.FORWARD_TOKEN_BUDGET", 8)
        chunked = model(ids, completion_start=torch.full((6,), 3)).logits
    assert positions[1:] == [7, 7, 7]
    assert torch.allclose(whole, chunked, atol=1e-6)
