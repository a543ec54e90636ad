"""Rows that come once: named pipes, process substitutions and standard input are opened and read a single time."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading
from contextlib import contextmanager

import pytest

from vrm.config import load_config
from vrm.data import Source, load_judgments, read_rows
from vrm.data.readers import locate
from vrm.errors import DataError
from vrm.inference.score import read_scoring_rows
from vrm.inference.score_output import source_fingerprint

ROWS = [{"prompt": f"What is {n}?", "chosen": f"{n}", "rejected": "no"} for n in range(3)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = b"prompt,chosen,rejected\n" + b"".join(f"What is {n}?,{n},no\n".encode() for n in range(3))

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")


@contextmanager
def writing(path, data: bytes):
    """Somebody who writes to a named pipe once; a second opening would wait for ever."""
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(data), daemon=True)
    writer.start()
    yield path
    writer.join(timeout=10)
    assert not writer.is_alive()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", JSONL),
        ("rows.json", json.dumps(ROWS).encode()),
        ("rows.csv", CSV),
        ("rows.tsv", CSV.replace(b",", b"\t")),
        ("rows.jsonl.gz", gzip.compress(JSONL, mtime=0)),
        ("rows", JSONL),
        ("list", json.dumps(ROWS, indent=1).encode()),
        ("zipped", gzip.compress(JSONL, mtime=0)),
    ],
)
def test_a_named_pipe_is_read_once(tmp_path, name, data):
    with writing(tmp_path / name, data) as pipe:
        location = locate(pipe)
        assert location == locate(pipe)
        assert source_fingerprint(str(pipe)) == {"path": "-"}
        assert [row for _, row in read_rows(pipe)] == ROWS


def test_a_named_pipe_is_loaded_and_scored(tmp_path):
    with writing(tmp_path / "one.jsonl", JSONL) as pipe:
        loaded = load_judgments(Source(pipe))
        assert [row.source for row in loaded.judgments] == ["one"] * 3
    with writing(tmp_path / "two.jsonl", JSONL) as pipe:
        assert [row.line for row in read_scoring_rows(str(pipe))] == [1, 2, 3]


def test_a_process_substitution_is_read_once():
    read, write = os.pipe()
    os.write(write, JSONL)
    os.close(write)
    try:
        loaded = load_judgments(f"/dev/fd/{read}")
    finally:
        os.close(read)
    assert len(loaded.judgments) == 3
    assert loaded.judgments[0].source == f"/dev/fd/{read}"


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0", "-"])
def test_names_of_standard_input_are_standard_input(monkeypatch, name):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JSONL)))
    assert locate(name).label == "<stdin>"
    assert [row for _, row in read_rows(name)] == ROWS


def test_standard_input_that_is_closed_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="<stdin>: standard input is closed"):
        list(read_rows("-"))


def test_parquet_through_a_pipe_is_named(tmp_path):
    with writing(tmp_path / "rows", b"PAR1" + bytes(64)) as pipe, pytest.raises(DataError, match="save it to a file"):
        list(read_rows(pipe))


def test_an_empty_pipe_and_dev_null_have_no_row(tmp_path):
    with writing(tmp_path / "rows.jsonl", b"") as pipe, pytest.raises(DataError, match="not a single row"):
        list(read_rows(pipe))
    with pytest.raises(DataError, match="not a single row"):
        list(read_rows("/dev/null"))


def test_a_pipe_has_no_split(tmp_path):
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="no splits in a file"):
        locate(tmp_path / "rows.jsonl", split="train")


def test_a_configuration_comes_through_a_pipe(tmp_path):
    with writing(tmp_path / "run.yaml", b"output_dir: out\ndata: {train: rows.jsonl}\n") as pipe:
        assert load_config(pipe).output_dir == "out"
