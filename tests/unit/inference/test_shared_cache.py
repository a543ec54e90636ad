from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from vrm.data.schema import Judgment
from vrm.data.shared_cache import FEATURES, IDLE_SECONDS, has_room
from vrm.errors import ConfigError, DataError
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions, FeatureExtractor
from vrm.inference.feature_store import FeatureStore
from vrm.model import load_model

ROWS = [Judgment("how do you help", ["very good plan", "no"]), Judgment("why the city", ["it is safe", "yes"])]
WIDTH = 100


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """The shared cache of a test, which does not exist yet."""
    monkeypatch.setenv("VRM_FEATURE_CACHE", str(tmp_path / "shared"))
    return tmp_path / "shared"


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, "HOME/.cache/vrm/features"),
        ({"XDG_CACHE_HOME": "/caches"}, "/caches/vrm/features"),
        ({"XDG_CACHE_HOME": "relative"}, "HOME/.cache/vrm/features"),
        ({"XDG_CACHE_HOME": "/caches", "VRM_FEATURE_CACHE": "~/mine"}, "HOME/mine"),
        ({"VRM_FEATURE_CACHE": ""}, "HOME/.cache/vrm/features"),
        ({"VRM_FEATURE_CACHE": "none"}, None),
    ],
)
def test_where_it_lies(environment, place, monkeypatch):
    for name in ("VRM_FEATURE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/someone", **environment}.items():
        monkeypatch.setenv(name, value)
    expected = place and Path(place.replace("HOME", "/home/someone"))
    assert FEATURES.directory() == expected
    assert ExtractionOptions().with_cache().cache == (expected and str(expected))


def test_its_limit_is_a_number_of_gigabytes(monkeypatch):
    assert FEATURES.limit() == 10_000_000_000
    monkeypatch.setenv("VRM_FEATURE_CACHE_GB", "0.5")
    assert FEATURES.limit() == 500_000_000
    for text in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("VRM_FEATURE_CACHE_GB", text)
        with pytest.raises(ConfigError, match=f"VRM_FEATURE_CACHE_GB is '{text}'"):
            FEATURES.limit()


def test_a_directory_that_is_named_has_no_limit_and_none_is_the_spill(shared):
    assert ExtractionOptions().with_cache("mine") == ExtractionOptions(cache="mine")
    assert ExtractionOptions().with_cache("none") == ExtractionOptions()
    assert ExtractionOptions().with_cache("none", spill="own") == ExtractionOptions(cache="own")
    assert ExtractionOptions().with_cache(None, spill="own").spilling.cache == "own"


def test_it_is_spoken_of_once(shared):
    options = ExtractionOptions().with_cache()
    assert str(shared) in options.notice
    shared.mkdir()
    assert options.notice is None
    assert ExtractionOptions(cache="absent").notice is None


def _folder(directory, name, idle):
    """A folder of 40 kB and a little."""
    store = FeatureStore(WIDTH, directory, {"name": name})
    store.add([bytes([row]) * 16 for row in range(100)], _rows(100))
    stamp = time.time() - idle
    os.utime(store.directory / "fingerprint.json", (stamp, stamp))
    return store.directory


def _rows(count):
    return np.ones((count, WIDTH), dtype=np.float32)


def test_the_folders_that_were_used_least_recently_make_room(tmp_path):
    oldest, older, fresh = (
        _folder(tmp_path, name, idle) for name, idle in (("a", 3 * IDLE_SECONDS), ("b", 2 * IDLE_SECONDS), ("c", 0.0))
    )
    assert has_room(tmp_path, 200_000, 50_000)
    assert oldest.exists()
    assert not has_room(tmp_path, 130_000, 100_000), "what is in use stays, and nothing is deleted in vain"
    assert oldest.exists()
    assert has_room(tmp_path, 130_000, 30_000)
    assert [folder.exists() for folder in (oldest, older, fresh)] == [False, True, True]


@pytest.mark.skipif(os.name != "posix", reason="this system has no shared locks")
def test_a_folder_that_is_read_for_hours_stays(tmp_path):
    reader = FeatureStore(WIDTH, _folder(tmp_path, "a", 0.0).parent, {"name": "a"})
    stamp = time.time() - 3 * IDLE_SECONDS
    os.utime(reader.directory / "fingerprint.json", (stamp, stamp))
    assert not has_room(tmp_path, 60_000, 50_000)
    assert reader.take(np.arange(100)).tolist() == _rows(100).tolist()
    folder = reader.directory
    del reader
    assert has_room(tmp_path, 60_000, 50_000)
    assert not folder.exists()


def test_a_disk_is_not_filled(tmp_path):
    assert not has_room(tmp_path, 10**18, shutil.disk_usage(tmp_path).free)


def test_rows_are_not_added_to_a_folder_that_was_emptied(tmp_path):
    store = FeatureStore(WIDTH, tmp_path)
    store.add([b"1" * 16], _rows(1))
    (store.directory / "features.f32").unlink()
    with pytest.raises(DataError, match="has been emptied while it was in use"):
        store.add([b"2" * 16], _rows(1))


@pytest.fixture
def model(tiny_model_dir):
    return load_model(tiny_model_dir)


@pytest.fixture
def means(model):
    return RewardEngine(*model, ExtractionOptions("float32")).judge(ROWS).moments.mean.tolist()


def test_heads_on_one_backbone_share_their_features(model, make_tiny_model, shared, monkeypatch):
    models = [load_model(make_tiny_model(head)) for head in ("vrm", "bt", "mlp")]
    added = []
    add = FeatureStore.add
    monkeypatch.setattr(FeatureStore, "add", lambda self, keys, rows: (added.append(len(keys)), add(self, keys, rows)))
    for each in models:
        RewardEngine(*each, ExtractionOptions("float32").with_cache()).judge(ROWS)
    assert sum(added) == 6
    assert len(list(shared.iterdir())) == 1
    assert shared.stat().st_mode & 0o077 == 0


def test_what_does_not_fit_is_computed_beside_it(model, means, shared, monkeypatch, tmp_path):
    monkeypatch.setenv("VRM_FEATURE_CACHE_GB", "0")
    engine = RewardEngine(*model, ExtractionOptions("float32").with_cache())
    assert engine.judge(ROWS).moments.mean.tolist() == means
    assert not list(shared.rglob("features.f32"))
    spilling = ExtractionOptions("float32").with_cache(spill=str(tmp_path / "own"))
    extractor = FeatureExtractor(model[0], options=spilling)
    for _ in range(2):
        extractor.table(list(engine.tokenize.many(ROWS)))
    assert len(list((tmp_path / "own").rglob("features.f32"))) == 1


def test_a_place_that_cannot_be_written_is_done_without(model, means, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("VRM_FEATURE_CACHE", str(tmp_path / "file" / "cache"))
    engine = RewardEngine(*model, ExtractionOptions("float32").with_cache())
    assert engine.judge(ROWS).moments.mean.tolist() == means
    with pytest.raises(OSError, match="file"):
        RewardEngine(*model, ExtractionOptions("float32").with_cache(str(tmp_path / "file" / "cache")))


def test_a_cache_that_is_deleted_while_it_is_used_is_done_without(model, means, shared):
    engine = RewardEngine(*model, ExtractionOptions("float32").with_cache())
    engine.judge(ROWS[:1])
    assert list(shared.rglob("features.f32"))
    shutil.rmtree(shared)
    assert engine.judge(ROWS).moments.mean.tolist() == means
