from __future__ import annotations

import gzip
import json
import os
import pickle
import random
from dataclasses import replace
from functools import partial

import pytest

from vrm.data import InvalidDataError, Source, load_judgments, mix, parse_row, prompt_key, split_by_prompt
from vrm.data import storage as placing
from vrm.data.readers import locate, read_location
from vrm.data.row_tables import joined
from vrm.data.schema import Judgment
from vrm.data.shared_cache import USED
from vrm.data.spans import jsonl_spans, parquet_spans
from vrm.data.stored import making, reading, tables
from vrm.data.stored.codec import decode, encode
from vrm.data.stored.rows import StoredRows
from vrm.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test alone, and sources cut into small parts, of which several processes read some each."""
    monkeypatch.setenv("VRM_ROW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "jsonl_spans", partial(jsonl_spans, size=400))
    monkeypatch.setattr(reading, "parquet_spans", partial(parquet_spans, size=8))
    monkeypatch.setattr(making, "free_cores", lambda: 2)
    return tmp_path / "cache"


def texts(seed=0, count=150):
    """Lines of a JSONL file with everything that can be there: all kinds of rows, several raters, and faults."""
    generator = random.Random(seed)
    lines = []
    for number in range(count):
        pair = {"prompt": f"question {number % 17} {generator.choice('äöü')}", "chosen": "right", "rejected": "wrong"}
        kinds = [
            pair | {"extra": 1},
            pair | {"annotator": f"rater {number % 3}", "prompt": "one pair"},
            pair | {"annotator": "the same", "prompt": "another pair"},
            pair | {"chosen_ratings": {"safety": number}, "objective_votes": {"safety": 2}},
            pair | {"judgments": [{"annotator": "a", "preference": 1}, {"preference": 0.5}]},
            {"prompt": [{"role": "user", "content": "hi"}], "completions": [[message("a")], [message("b")]]}
            | {"scores": [1, 2.5]},
            pair | {"rejected": "right"},
            pair | {"margin": "high"},
            {"prompt": "alone"},
            pair | {"prompt": "\ud800 a lone surrogate"},
        ]
        text = json.dumps(generator.choice(kinds))
        broken = generator.choice([text, text, text, text, text[: len(text) // 2], "", "[]", text.replace(",", ",\n ")])
        lines.append(broken)
    return lines


def message(content):
    return {"role": "assistant", "content": content}


def both(path, **options):
    """What is read into memory, and what is read onto the disk."""
    return (load_judgments(path, on_bad_rows="skip", storage=storage, **options) for storage in ("memory", "disk"))


def same(memory, disk):
    assert isinstance(disk.judgments, StoredRows)
    assert list(disk.judgments) == list(memory.judgments)
    assert disk.report == memory.report
    assert disk.report.render() == memory.report.render()


@pytest.mark.parametrize("seed", range(5))
def test_rows_and_report_are_those_of_memory(tmp_path, seed):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(texts(seed)) + "\n")
    assert len(jsonl_spans(path, 400)) > 5
    memory, disk = both(path)
    same(memory, disk)
    assert disk.report.problems
    assert disk.report.groups


@pytest.mark.parametrize("size", [1, 300])
@pytest.mark.parametrize("seed", range(6))
def test_parts_of_a_file_are_read_as_the_whole(tmp_path, seed, size):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(texts(seed)))
    location = locate(path)

    def read(*spans):
        errors, rows = [], []
        for span in spans:
            rows += read_location(replace(location, span=span), on_error=errors.append)
        return rows, [error.problems for error in errors]

    assert read(*jsonl_spans(path, size)) == read(None)


def test_other_formats(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [json.loads(line) for line in texts() if line.startswith("{") and line.endswith("}") and "\n" not in line]
    rows = [
        {"prompt": str(row["prompt"]).replace("\ud800", ""), "chosen": "a", "rejected": row.get("rejected")}
        for row in rows
    ]
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(tmp_path / "rows.parquet", batch_size=5)
    table.save_to_disk(tmp_path / "saved")
    table.to_csv(tmp_path / "rows.csv")
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert len(parquet_spans(str(tmp_path / "rows.parquet"), 8)) > 2
    for name in ("rows.parquet", "saved", "rows.csv", "rows.json", "rows.jsonl.gz"):
        same(*both(tmp_path / name))


def test_recipes_mappings_and_limits_are_read_in_one_piece(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"p{n}", "a": "x", "b": "y"}) for n in range(100)))
    mapping = {"chosen": "a", "rejected": "b"}
    same(*both(Source(path, mapping=mapping, limit=30)))
    memory, disk = both([Source(path, mapping=mapping, weight=2.5), Source(path, mapping=mapping, name="again")])
    same(memory, disk)
    with pytest.raises(InvalidDataError) as error:
        load_judgments(Source(path, mapping={"chosen": "c"}), storage="disk")
    with pytest.raises(InvalidDataError) as in_memory:
        load_judgments(Source(path, mapping={"chosen": "c"}))
    assert str(error.value) == str(in_memory.value)


def test_an_empty_file_is_the_same_error(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n\n")
    errors = []
    for storage in ("memory", "disk"):
        with pytest.raises(InvalidDataError) as error:
            load_judgments(tmp_path / "rows.jsonl", storage=storage)
        errors.append(str(error.value))
    assert errors[0] == errors[1]


def test_a_second_reading_reads_nothing_and_other_content_is_read(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(texts()))
    _, first = both(path)
    calls = []
    monkeypatch.setattr(
        "vrm.data.load.parse_row", lambda *args, **options: calls.append(1) or parse_row(*args, **options)
    )
    monkeypatch.setattr(making, "free_cores", lambda: 1)
    again = load_judgments(path, on_bad_rows="skip", storage="disk")
    assert not calls
    assert list(again.judgments) == list(first.judgments)
    assert again.report == first.report
    path.write_text("\n".join(texts(1)))
    load_judgments(path, on_bad_rows="skip", storage="disk")
    assert calls


def test_choices_splits_and_mixtures_are_those_of_memory(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(texts(seed, 200)))
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    memory, disk = both(paths)
    weights = {"a": 0.5, "b": 1.5}
    assert list(mix(disk.by_source, weights, 3)) == list(mix(memory.by_source, weights, 3))
    splits = (split_by_prompt(loaded.judgments, 0.3, 1) for loaded in (disk, memory))
    for mine, theirs in zip(*splits, strict=True):
        assert list(mine) == list(theirs)
        assert isinstance(mine, StoredRows)
    backwards = joined([disk.by_source["b"].pick(range(5)), disk.by_source["a"]])
    assert list(backwards) == [*memory.by_source["b"][:5], *memory.by_source["a"]]
    assert list(backwards.prompt_keys()) == [prompt_key(row) for row in backwards]
    edited = backwards.edited(lambda row: Judgment("new", row.completions), "new")
    assert {row.prompt for row in edited} == {"new"}
    assert list(pickle.loads(pickle.dumps(backwards))) == list(backwards)


def test_what_was_computed_of_rows_is_remembered(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(texts()))
    _, disk = both(tmp_path / "a.jsonl")
    rows, values = disk.judgments, iter(range(10))
    compute = lambda: next(values)  # noqa: E731
    assert [rows.remembered("n", compute), rows.remembered("n", compute), rows.remembered("m", compute)] == [0, 0, 1]
    assert rows[:3].remembered("n", compute) == 2
    assert rows.edited(lambda row: row, "none").remembered("n", compute) == 3


def test_nobody_else_can_read_the_texts(tmp_path, cache):
    (tmp_path / "a.jsonl").write_text("\n".join(texts()))
    load_judgments(tmp_path / "a.jsonl", on_bad_rows="skip", storage="disk")
    (folder,) = cache.iterdir()
    assert folder.stat().st_mode & 0o077 == 0


def test_a_remembered_value_that_was_damaged_is_computed_again(tmp_path, cache):
    (tmp_path / "a.jsonl").write_text("\n".join(texts()))
    _, disk = both(tmp_path / "a.jsonl")
    assert disk.judgments.remembered("n", lambda: 12) == 12
    (file,) = cache.rglob("remembered/*")
    for content in (file.read_text().replace("12", "13"), "", "no sum"):
        file.write_text(content)
        assert disk.judgments.remembered("n", lambda: 12) == 12


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "removed", "list cut"])
def test_a_damaged_table_is_made_anew(tmp_path, cache, damage):
    (tmp_path / "a.jsonl").write_text("\n".join(texts()))
    _, disk = both(tmp_path / "a.jsonl")
    before = list(disk.judgments)
    tables.opened.cache_clear()
    (file, *_) = sorted(cache.rglob("*.arrow"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "list cut":
        (listed,) = cache.glob("*/rows.json")
        listed.write_text(listed.read_text()[:20])
    elif damage == "removed":
        file.unlink()
    else:
        file.write_bytes({"flipped": data, "cut": data[:-40], "emptied": b""}[damage])
    _, disk = both(tmp_path / "a.jsonl")
    assert list(disk.judgments) == before


def test_a_list_of_an_older_version_is_read(tmp_path, cache, monkeypatch):
    (tmp_path / "a.jsonl").write_text("\n".join(texts()))
    _, disk = both(tmp_path / "a.jsonl")
    before = list(disk.judgments)
    (listed,) = cache.glob("*/rows.json")
    listed.write_text(json.dumps(list(json.loads(listed.read_text()))))
    monkeypatch.setattr(making, "_made", None)
    _, disk = both(tmp_path / "a.jsonl")
    assert list(disk.judgments) == before


def test_rows_that_json_changes_are_refused():
    row = Judgment("a", ["b", "c"], 1.0, tools=[("a", "tuple")], file="f", line=3)
    with pytest.raises(DataError, match=r"f:3.*data.storage: memory"):
        encode(row)
    assert decode(encode(Judgment("\ud800", ["b", "c"], 0.5))) == Judgment("\ud800", ["b", "c"], 0.5)


def test_a_source_that_comes_once_stays_in_memory(tmp_path):
    with pytest.raises(ConfigError, match=r"storage: disk.*<stdin>"):
        load_judgments("-", storage="disk")
    (tmp_path / "a.jsonl").write_text("\n".join(texts()))
    assert isinstance(load_judgments(tmp_path / "a.jsonl", on_bad_rows="skip", storage="auto").judgments, list)


def test_errors_while_reading_are_those_of_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n")

    def fail(row):
        raise DataError("cannot be kept")

    monkeypatch.setattr(reading, "encode", fail)
    with pytest.raises(DataError, match="cannot be kept"):
        load_judgments(path, storage="disk")


def test_the_oldest_rows_go_where_the_cache_is_full(tmp_path, monkeypatch, cache):
    folders = []
    for seed in range(3):
        path = tmp_path / f"{seed}.jsonl"
        path.write_text("\n".join(texts(seed)))
        load_judgments(path, on_bad_rows="skip", storage="disk")
        folders.append(next(folder for folder in cache.iterdir() if folder not in folders))
        held = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
        monkeypatch.setenv("VRM_ROW_CACHE_GB", str((held + 2 * path.stat().st_size) / 1e9))
        if seed == 0:
            os.utime(folders[0] / USED, (0, 0))
        elif seed == 1:
            assert folders[0].exists(), "it is read by this process"
            reading._HELD.clear()
    assert [folder.exists() for folder in folders] == [False, True, True]


def test_rows_stay_in_memory_where_no_cache_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setenv("VRM_ROW_CACHE", "none")
    monkeypatch.setattr(placing, "DISK_FROM_BYTES", 0)
    (tmp_path / "a.jsonl").write_text("\n".join(texts()))
    assert isinstance(load_judgments(tmp_path / "a.jsonl", on_bad_rows="skip", storage="auto").judgments, list)
    with pytest.raises(ConfigError, match="VRM_ROW_CACHE"):
        load_judgments(tmp_path / "a.jsonl", storage="disk")
