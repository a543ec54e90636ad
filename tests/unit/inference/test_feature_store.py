from __future__ import annotations

import json

import numpy as np
import pytest

from vrm.data.content_keys import KEY_BYTES, content_key
from vrm.errors import DataError
from vrm.inference import feature_store
from vrm.inference.feature_store import FeatureStore

WIDTH = 3


def key(number):
    return content_key("completion", [number], 1)


def rows(*numbers):
    return np.array([[number] * WIDTH for number in numbers], dtype=np.float32)


def add(store, *numbers):
    store.add([key(number) for number in numbers], rows(*numbers))


def take(store, *numbers):
    return store.take(store.rows_of([key(number) for number in numbers])).tolist()


@pytest.fixture(params=["memory", "directory"])
def store(request, tmp_path):
    return FeatureStore(WIDTH, None if request.param == "memory" else tmp_path)


def test_rows_come_back_by_key_in_any_order(store):
    add(store, 1, 2)
    add(store, 3)
    assert len(store) == 3
    assert take(store, 3, 1) == rows(3, 1).tolist()
    assert store.missing([key(1), key(4), key(4)]) == {key(4)}
    assert store.take(np.array([[0, 1], [2, 2]])).shape == (2, 2, WIDTH)


def test_many_small_additions(store):
    for number in range(40):
        add(store, number)
    assert take(store, *range(40)) == rows(*range(40)).tolist()


def test_rows_of_another_shape_are_refused(store):
    with pytest.raises(DataError, match=r"shape \(1, 2\), expected \(1, 3\)"):
        store.add([key(1)], np.zeros((1, 2), dtype=np.float32))


def test_keys_depend_on_role_ids_and_start():
    keys = {
        content_key("prompt", [1, 2]),
        content_key("completion", [1, 2]),
        content_key("completion", [1, 2], 1),
        content_key("completion", [2, 1], 1),
        content_key("completion", [1, 2, 0], 1),
    }
    assert len(keys) == 5
    assert content_key("prompt", (1, 2)) == content_key("prompt", np.array([1, 2]))


def test_another_run_finds_the_rows(tmp_path):
    add(FeatureStore(WIDTH, tmp_path, {"backbone": "a"}), 1, 2)
    again = FeatureStore(WIDTH, tmp_path, {"backbone": "a"})
    assert len(again) == 2
    assert take(again, 2, 1) == rows(2, 1).tolist()
    assert len(FeatureStore(WIDTH, tmp_path, {"backbone": "b"})) == 0


def test_two_stores_on_one_directory_see_each_others_rows_and_keep_one_copy(tmp_path):
    one, other = FeatureStore(WIDTH, tmp_path), FeatureStore(WIDTH, tmp_path)
    add(one, 1, 2)
    add(other, 2, 3)
    add(one, 3, 4)
    assert len(one) == 4
    for store in (one, FeatureStore(WIDTH, tmp_path)):
        assert take(store, 4, 3, 2, 1) == rows(4, 3, 2, 1).tolist()
    assert take(other, 3, 2, 1) == rows(3, 2, 1).tolist()


def cut(path, size):
    with path.open("r+b") as file:
        file.truncate(size)


def files(store):
    return store.directory / "keys.bin", store.directory / "features.f32"


@pytest.mark.parametrize("lost", [1, KEY_BYTES - 1, KEY_BYTES])
def test_a_key_that_was_not_written_whole_is_no_row(tmp_path, lost):
    store = FeatureStore(WIDTH, tmp_path)
    add(store, 1, 2)
    keys, _ = files(store)
    cut(keys, 2 * KEY_BYTES - lost)
    again = FeatureStore(WIDTH, tmp_path)
    assert again.missing([key(1), key(2)]) == {key(2)}
    add(again, 5)
    add(again, 2)
    for store in (again, FeatureStore(WIDTH, tmp_path)):
        assert take(store, 2, 5, 1) == rows(2, 5, 1).tolist()


@pytest.mark.parametrize("lost", [1, 4 * WIDTH, 4 * WIDTH + 1])
def test_features_that_never_reached_the_disk_are_computed_again(tmp_path, lost):
    store = FeatureStore(WIDTH, tmp_path)
    add(store, 1, 2, 3)
    _, features = files(store)
    cut(features, 3 * 4 * WIDTH - lost)
    again = FeatureStore(WIDTH, tmp_path)
    missing = again.missing([key(1), key(2), key(3)])
    assert missing == ({key(3)} if lost <= 4 * WIDTH else {key(2), key(3)})
    add(again, 3, 2)
    for store in (again, FeatureStore(WIDTH, tmp_path)):
        assert take(store, 1, 2, 3) == rows(1, 2, 3).tolist()


def test_remains_of_a_write_without_keys_are_overwritten(tmp_path):
    store = FeatureStore(WIDTH, tmp_path)
    add(store, 1)
    _, features = files(store)
    with features.open("ab") as file:
        file.write(rows(9, 9).tobytes())
    again = FeatureStore(WIDTH, tmp_path)
    add(again, 2)
    assert take(FeatureStore(WIDTH, tmp_path), 1, 2) == rows(1, 2).tolist()


@pytest.mark.parametrize("width", [2, 4])
def test_a_directory_of_another_width_is_refused(tmp_path, width):
    add(FeatureStore(WIDTH, tmp_path), 1, 2)
    with pytest.raises(DataError, match=f"rows of 3 features, expected {width}"):
        FeatureStore(width, tmp_path)


def test_the_directory_says_what_it_depends_on(tmp_path):
    store = FeatureStore(WIDTH, tmp_path, {"backbone": "a"})
    assert json.loads((store.directory / "fingerprint.json").read_text()) == {"backbone": "a", "width": WIDTH}


def test_a_writer_goes_on_behind_half_a_key_of_another_that_was_killed(tmp_path):
    store = FeatureStore(WIDTH, tmp_path)
    add(store, 1)
    keys, features = files(store)
    with features.open("ab") as file:
        file.write(rows(2).tobytes())
    with keys.open("ab") as file:
        file.write(key(2)[:5])
    add(store, 3)
    add(store, 4)
    again = FeatureStore(WIDTH, tmp_path)
    assert again.missing([key(number) for number in (1, 2, 3, 4)]) == {key(2)}
    for each in (store, again):
        assert take(each, 4, 3, 1) == rows(4, 3, 1).tolist()


def flip(path, byte, bit=0):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["features.f32", "sums.u64"])
def test_a_flipped_bit_is_named_when_its_row_is_read(tmp_path, name):
    store = FeatureStore(WIDTH, tmp_path)
    add(store, 1, 2, 3)
    flip(store.directory / name, 13 if name == "features.f32" else 8)
    again = FeatureStore(WIDTH, tmp_path)
    for _ in range(2):
        assert take(again, 1, 3) == rows(1, 3).tolist()
        with pytest.raises(DataError, match=rf"{again.directory}: 1 of \d rows .* Delete this folder"):
            take(again, 1, 2)


def test_rows_of_an_older_version_have_no_checksums(tmp_path):
    store = FeatureStore(WIDTH, tmp_path)
    add(store, 1, 2)
    (store.directory / "sums.u64").unlink()
    again = FeatureStore(WIDTH, tmp_path)
    add(again, 3)
    flip(store.directory / "features.f32", 2 * 4 * WIDTH)
    last = FeatureStore(WIDTH, tmp_path)
    assert take(last, 1, 2) == rows(1, 2).tolist()
    with pytest.raises(DataError, match="are not what was written"):
        take(last, 3)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"width"'])
def test_a_damaged_note_of_the_fingerprint_is_written_anew(tmp_path, text):
    store = FeatureStore(WIDTH, tmp_path, {"backbone": "a"})
    add(store, 1)
    (store.directory / "fingerprint.json").write_text(text)
    again = FeatureStore(WIDTH, tmp_path, {"backbone": "a"})
    assert take(again, 1) == rows(1).tolist()
    assert json.loads((store.directory / "fingerprint.json").read_text()) == {"backbone": "a", "width": WIDTH}


def test_pages_of_short_rows_that_lie_apart_are_given_back(tmp_path, monkeypatch):
    """The system maps much more around a row than the row takes: a file of short rows would be in memory as a whole."""
    given = []
    monkeypatch.setattr(feature_store, "give_back", given.append)
    monkeypatch.setattr(feature_store, "RELEASE_BYTES", 1 << 18)
    store = FeatureStore(WIDTH, tmp_path)
    add(store, *range(10))
    assert take(store, 3, 9) == rows(3, 9).tolist()
    assert not given
    assert take(store, 1) == rows(1).tolist()
    assert len(given) == 1
