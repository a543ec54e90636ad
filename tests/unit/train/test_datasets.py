from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from vrm.data.chat import ChatTokenizer
from vrm.data.collate import target_keys
from vrm.data.content_keys import KEY_BYTES
from vrm.data.schema import Judgment
from vrm.data.tokenized import JudgmentTokenizer, TokenizedJudgment
from vrm.errors import NumericsError
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor, FeatureTable
from vrm.inference.feature_store import FeatureStore
from vrm.inference.targets import target_encoder
from vrm.model import load_model
from vrm.train.passes import FeatureDataset, JudgmentCollator, TokenizedDataset, collate_features, finite_features


@pytest.fixture(scope="module", params=["encoder", "decoder"])
def both(request, make_tiny_model, rows):
    """The same rows as tokens and as features, and the model."""
    model, tokenizer = load_model(make_tiny_model("vrm", request.param, objectives=["quality", "care"]))
    judgments = [
        *rows(9),
        Judgment("what", ["good", "bad", "the plan"], scores=[2.0, 0.0, 1.0]),
        Judgment("why", objective_votes={"care": 1.0}),
    ]
    items = list(JudgmentTokenizer(ChatTokenizer(tokenizer, wrap_text=True), 64).many(judgments))
    targets = target_encoder(model.config)
    table = FeatureExtractor(model, options=ExtractionOptions("float32")).table(items)
    return model, TokenizedDataset(items), FeatureDataset(table, items, targets), JudgmentCollator(targets, 0)


def test_batches_of_features_give_what_batches_of_tokens_give(both):
    model, tokens, features, collator = both
    assert len(tokens) == len(features) == 11
    for one, other in zip(
        DataLoader(tokens, 4, collate_fn=collator), DataLoader(features, 4, collate_fn=collate_features), strict=True
    ):
        width = one["mask"].shape[1]
        for key in target_keys():
            padded = other[key] if other[key].ndim < 2 or key in ("votes", "vote_counts") else other[key][:, :width]
            assert torch.equal(one[key].nan_to_num(-9), padded.nan_to_num(-9)), key
        with torch.no_grad():
            whole = model(**{key: value for key, value in one.items() if key not in target_keys()})
            cached = model(**{key: value for key, value in other.items() if key not in target_keys()})
        mask = one["mask"]
        assert torch.allclose(whole.logits[mask], cached.logits[:, :width][mask], atol=1e-5)
        assert torch.allclose(whole.weights, cached.weights, atol=1e-5)


def test_one_row_is_a_batch_of_one(both):
    _, _, features, _ = both
    single, batch = features[3], features.__getitems__([3, 5])
    assert single.keys() == batch.keys()
    assert torch.equal(single["completion_features"][0], batch["completion_features"][0])


def test_a_sample_holds_prompts_and_existing_completions_alone(both):
    _, _, features, _ = both
    prompts, completions = features.sample_features(100, 0)
    assert prompts.shape == (11, 32)
    assert completions.shape == (9 * 2 + 3, 32)
    few, _ = features.sample_features(4, 1)
    assert few.shape == (4, 32)
    assert torch.equal(few, features.sample_features(4, 1)[0])
    assert not np.array_equal(few.numpy(), features.sample_features(4, 2)[0].numpy())


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_features_that_are_not_finite_name_their_row_and_their_cache(number, tmp_path):
    store = FeatureStore(2, tmp_path, {"backbone": "one"})
    store.add(
        [b"0" * KEY_BYTES, b"1" * KEY_BYTES, b"2" * KEY_BYTES], np.array([[1, 1], [2, 2], [number, 0]], np.float32)
    )
    table = FeatureTable(store, np.array([0, 1]), np.array([[0, -1], [1, 2]]))
    items = [
        TokenizedJudgment([1], [[2], [3]], Judgment("p", ["a", "b"], file="pairs.jsonl", line=line)) for line in (1, 2)
    ]
    assert finite_features(table, items, np.array([0]))[0].tolist() == [[1, 1]], (
        "padding reads a row that is not its own"
    )
    with pytest.raises(NumericsError, match=r"pairs.jsonl:2: features .* delete it") as stop:
        finite_features(table, items, np.array([0, 1]))
    assert str(store.directory) in str(stop.value)
