"""Outputs of scoring that can be continued: whole rows alone, the same settings alone, one writer alone."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from filelock import FileLock

from vrm.errors import DataError
from vrm.files import holds_something
from vrm.inference import score_output
from vrm.inference.score_output import ScoreFile, encode_row


def read_lines(path: Path) -> list[str]:
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode().splitlines()


SETTINGS = {"input": {"path": "in.jsonl"}, "kappa": None}
ROWS = [{"line": number, "text": "ä" * number} for number in range(1, 7)]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
@pytest.mark.parametrize("cut", [0, 1, 3])
def test_a_file_continues_after_its_last_whole_rows(tmp_path, name, cut):
    path = tmp_path / name
    sink = ScoreFile(path, SETTINGS)
    for start in (0, 2):
        sink.write(ROWS[start : start + 2])
    sink.close()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - cut])
    whole = 4 if cut == 0 else 3 if name == "out.jsonl" else 2
    sink = ScoreFile(path, SETTINGS)
    assert sink.rows_done == whole
    sink.write(ROWS[whole:])
    sink.complete()
    sink.close()
    assert read_lines(path) == [encode_row(row).rstrip() for row in ROWS]
    assert not sink.progress.exists()


def test_a_complete_file_is_not_overwritten_unasked(tmp_path):
    path = tmp_path / "out.jsonl"
    sink = ScoreFile(path, SETTINGS)
    sink.write(ROWS)
    sink.complete()
    sink.close()
    with pytest.raises(DataError, match="--overwrite"):
        ScoreFile(path, SETTINGS)
    assert len(read_lines(path)) == 6
    sink = ScoreFile(path, SETTINGS, overwrite=True)
    assert sink.rows_done == 0
    sink.close()
    assert read_lines(path) == []


def test_other_settings_do_not_continue_a_file(tmp_path):
    path = tmp_path / "out.jsonl"
    sink = ScoreFile(path, SETTINGS)
    sink.write(ROWS)
    sink.close()
    with pytest.raises(DataError, match=r"kappa was null, now 1\.0"):
        ScoreFile(path, {**SETTINGS, "kappa": 1.0})
    assert len(read_lines(path)) == 6
    (tmp_path / "out.jsonl.progress.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        ScoreFile(path, SETTINGS)


def test_rows_from_standard_input_do_not_continue_a_file(tmp_path):
    settings = {"input": {"path": "-"}}
    sink = ScoreFile(tmp_path / "out.jsonl", settings)
    sink.write(ROWS)
    sink.close()
    with pytest.raises(DataError, match="standard input"):
        ScoreFile(tmp_path / "out.jsonl", settings)


def test_an_output_is_looked_at_when_nobody_else_writes_it(tmp_path, monkeypatch):
    """The other run ends, under other settings, between the look at the output and the first row."""
    acquire = FileLock.acquire

    def late(self, *args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(FileLock, "acquire", acquire)
            other = ScoreFile(tmp_path / "out.jsonl", {**SETTINGS, "kappa": 9.0})
            other.write(ROWS)
            other.close()
        return acquire(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "acquire", late)
        with pytest.raises(DataError, match=r"begun under other settings: kappa was 9\.0"):
            ScoreFile(tmp_path / "out.jsonl", SETTINGS)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_there_when_its_notes_are(tmp_path, monkeypatch, overwrite):
    """Killed before the notes are in their place: an output without them would be called complete."""

    def killed(path, text):
        raise KeyboardInterrupt

    if overwrite:
        (tmp_path / "out.jsonl").write_text("rows of other settings\n")
    monkeypatch.setattr(score_output, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        ScoreFile(tmp_path / "out.jsonl", SETTINGS, overwrite)
    monkeypatch.undo()
    assert not holds_something(tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").exists() == overwrite
    sink = ScoreFile(tmp_path / "out.jsonl", SETTINGS)
    assert sink.rows_done == 0
    sink.close()


def test_two_runs_do_not_write_to_one_file(tmp_path):
    sink = ScoreFile(tmp_path / "out.jsonl", SETTINGS)
    with pytest.raises(DataError, match="another process"):
        ScoreFile(tmp_path / "out.jsonl", SETTINGS)
    sink.close()
    ScoreFile(tmp_path / "out.jsonl", SETTINGS).close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.jsonl", "out.jsonl.progress.json"]


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        ScoreFile(tmp_path / "absent" / "out.jsonl", SETTINGS)
