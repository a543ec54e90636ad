from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vrm.data.schema import Judgment
from vrm.errors import ConfigError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import (
    ExtractionOptions,
    FeatureExtractor,
    backbone_fingerprint,
    resolve_precision,
)
from vrm.model import load_model
from vrm.train.passes import padded_rows

ROWS = [
    Judgment("how do you help", ["very good plan", "no"], preference=1.0),
    Judgment("why the city", ["it is safe", "bad bad story", "yes"], scores=[1.0, 2.0, 0.0]),
    Judgment("how do you help", ["sure", "very good plan"], preference=0.0),
    Judgment("what number", objective_votes={"safety": 1.0}),
]


@pytest.fixture(params=["encoder packed", "encoder padded", "decoder packed", "decoder padded"])
def model_and_items(request, make_tiny_model):
    kind, route = request.param.split()
    model, tokenizer = load_model(make_tiny_model("vrm", kind))
    # What a backbone that cannot read packed rows is found to have.
    model.packing_problem = "padded" if route == "padded" else None
    return model, list(RewardEngine(model, tokenizer).tokenize.many(ROWS))


class Calls:
    """Counts forward passes of a backbone, the rows in them, and their token positions."""

    def __init__(self, model):
        self.rows: list[int] = []
        self.positions = 0
        self.handle = model.backbone.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module, args, kwargs):
        self.rows.append(len(kwargs["input_ids"]))
        self.positions += kwargs["input_ids"].numel()


def options(**more):
    return ExtractionOptions(precision="float32", **more)


def test_features_are_the_models_own(model_and_items):
    model, items = model_and_items
    table = FeatureExtractor(model, options=options(token_budget=40)).table(items)
    assert len(table) == 4
    assert table.completions.shape == (4, 3)
    assert (table.completions >= 0).tolist() == [[True, True, False], [True] * 3, [True, True, False], [False] * 3]
    prompts, completions = table.batch(np.arange(4))
    with torch.no_grad():
        cached = model(prompt_features=prompts, completion_features=completions)
        whole = model(**padded_rows(items, 0))
    mask = torch.from_numpy(table.completions >= 0)
    assert torch.allclose(cached.logits[mask], whole.logits[mask], atol=1e-5)
    assert torch.allclose(cached.weights, whole.weights, atol=1e-5)
    assert whole.logits[mask].std() > 1e-2


def test_equal_texts_are_encoded_once(model_and_items):
    model, items = model_and_items
    calls = Calls(model)
    FeatureExtractor(model, options=options()).table(items)
    kind = model.config.backbone_kind
    if model.packing_problem:
        # Six different completions in context; three prompts, two of which a decoder's pass over completions gives.
        assert sum(calls.rows) == 6 + (3 if kind == "encoder" else 1)
        return
    prompts = {tuple(item.prompt) for item in items}
    completions = {(tuple(item.prompt), tuple(ids)) for item in items for ids in item.completions}
    again = sum(len(prompt) for prompt, _ in completions) if kind == "encoder" else 0
    assert calls.positions == sum(map(len, prompts)) + again + sum(len(ids) for _, ids in completions)
    assert len(completions) == 6


def test_a_pass_keeps_to_the_token_budget(model_and_items):
    model, items = model_and_items
    calls = Calls(model)
    longest = max(len(item.prompt) + len(ids) for item in items for ids in item.completions or [[]])
    budget = 2 * longest + 3
    sizes = []
    model.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    FeatureExtractor(model, options=options(token_budget=budget)).table(items)
    assert max(sizes) <= budget
    assert len(calls.rows) > 1


def test_a_second_run_computes_nothing(model_and_items, tmp_path):
    model, items = model_and_items
    first = FeatureExtractor(model, options=options(cache=str(tmp_path))).table(items)
    calls, seen = Calls(model), []
    again = FeatureExtractor(model, options=options(cache=str(tmp_path)))
    second = again.table(items, progress=lambda done, total: seen.append((done, total)))
    assert calls.rows == []
    assert seen == []
    for one, other in zip(first.batch(slice(None)), second.batch(slice(None)), strict=True):
        assert torch.equal(one, other)
    known = items[0]
    more = type(known)(known.prompt, [known.completions[0], known.completions[0][:1]], known.judgment)
    again.table([*items, more])
    assert sum(calls.rows) == 1


def test_progress_ends_at_all_rows(model_and_items):
    model, items = model_and_items
    seen = []
    FeatureExtractor(model, options=options(token_budget=30)).table(
        items, lambda done, total: seen.append((done, total))
    )
    assert len(seen) > 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (9, 9)


def test_another_backbone_has_a_cache_of_its_own(make_tiny_model, tmp_path):
    directory = tmp_path / "other"
    shutil.copytree(make_tiny_model("vrm", "encoder"), directory)
    weights = load_file(directory / "model.safetensors")
    weights["backbone.embeddings.word_embeddings.weight"][5, 0] += 1e-3
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    model, _ = load_model(make_tiny_model("vrm", "encoder"))
    other, _ = load_model(directory)
    assert backbone_fingerprint(model) != backbone_fingerprint(other)
    assert backbone_fingerprint(model) == backbone_fingerprint(load_model(make_tiny_model("vrm", "encoder"))[0])
    stores = [
        FeatureExtractor(model, options=options(cache=str(tmp_path))).store,
        FeatureExtractor(other, options=options(cache=str(tmp_path))).store,
        FeatureExtractor(model, options=ExtractionOptions("bfloat16", cache=str(tmp_path))).store,
    ]
    model.config.feature_layers = [1]
    stores.append(FeatureExtractor(model, options=options(cache=str(tmp_path))).store)
    model.config.poolings = ["max"]
    stores.append(FeatureExtractor(model, options=options(cache=str(tmp_path))).store)
    assert len({store.directory for store in stores}) == 5


def test_bfloat16_features_are_close_and_stored_in_float32(model_and_items):
    model, items = model_and_items
    full = FeatureExtractor(model, options=options()).table(items).batch(slice(None))
    low = FeatureExtractor(model, options=ExtractionOptions("bfloat16")).table(items).batch(slice(None))
    for one, other in zip(full, low, strict=True):
        assert other.dtype == torch.float32
        assert not torch.equal(one, other)
        assert torch.allclose(one, other, atol=0.3, rtol=0.1)


def test_precision_by_name():
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu) == torch.float32
    assert resolve_precision("bfloat16", cpu) == torch.bfloat16
    assert resolve_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    assert resolve_precision("auto", torch.device("meta")) == torch.float32
    with pytest.raises(ConfigError, match="precision must be one of auto, float32, bfloat16; got 'half'"):
        resolve_precision("half", cpu)


@pytest.mark.parametrize(("instructions", "used"), [(True, True), (True, False), (False, True)])
def test_auto_is_bfloat16_only_where_products_are_not_emulated(instructions, used, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    # As with ONEDNN_MAX_CPU_ISA=AVX2 on a newer processor.
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: used)
    wanted = torch.bfloat16 if instructions and used else torch.float32
    assert resolve_precision("auto", torch.device("cpu")) == wanted
