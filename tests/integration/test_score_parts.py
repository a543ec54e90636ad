"""`vrm score` from a directory to a directory: one output file a part, whole or not there, and continued."""

from __future__ import annotations

import json

import pytest

from vrm.cli.main import main
from vrm.inference import score_output
from vrm.inference.score_parts import PROGRESS, ParquetSink

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def rows(part, count=5):
    words = ["water", "city", "plan", "good"]
    return [
        {
            "prompt": words[n % 4],
            "completion": " ".join(words[: 1 + (n + part) % 4]),
            "id": part * 100 + n,
            "when": n / 2,
        }
        for n in range(count)
    ]


@pytest.fixture
def source(tmp_path):
    """Three Parquet parts, one of them in a folder and one with a bad row, and what is no part."""
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    for part, name in enumerate(["a.parquet", "b.parquet", "more/a.parquet"]):
        table = rows(part)
        if part == 1:
            table[2]["completion"] = None
        pq.write_table(pa.Table.from_pylist(table), folder / name)
    (folder / "_SUCCESS").write_text("")
    (folder / ".hidden.parquet").write_text("")
    return folder


def parts(folder):
    return {
        str(file.relative_to(folder)): pq.read_table(file).to_pylist() for file in sorted(folder.rglob("*.parquet"))
    }


def test_every_part_has_its_rows(tiny_model_dir, source, tmp_path, capsys):
    output = tmp_path / "out"
    keep = ("--keep", "when", "--keep", "prompt", "--on-bad-rows", "skip")
    assert run("score", tiny_model_dir, source, "-o", f"{output}/", *keep) == 0
    assert "wrote 15 rows" in capsys.readouterr().err
    found = parts(output)
    assert list(found) == ["a.parquet", "b.parquet", "more/a.parquet"]
    assert len({str(pq.read_schema(output / name)) for name in found}) == 1
    for number, (name, scored) in enumerate(found.items()):
        given = rows(number)
        assert [row["line"] for row in scored] == [1, 2, 3, 4, 5]
        assert [row["id"] for row in scored] == [row["id"] for row in given]
        assert [row["input"] for row in scored] == [{"when": row["when"], "prompt": row["prompt"]} for row in given]
        for row in scored:
            bad = name == "b.parquet" and row["line"] == 3
            assert (row["rewards"] is None) == bad
            assert bool(row["error"]) == bad
    one = tmp_path / "one.jsonl"
    assert run("score", tiny_model_dir, source / "a.parquet", "-o", one) == 0
    expected = [json.loads(line) for line in one.read_text().splitlines()]
    for row, other in zip(found["a.parquet"], expected, strict=True):
        assert row["rewards"] == pytest.approx(other["rewards"], abs=1e-5)
        assert row["objective_weights"] == pytest.approx(other["objective_weights"], abs=1e-5)
    assert not list(output.rglob(".*"))
    assert run("score", tiny_model_dir, source, "-o", output, *keep) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run("score", tiny_model_dir, source, "-o", output, *keep, "--overwrite") == 0


def test_an_interrupted_run_goes_on_with_the_next_part(tiny_model_dir, source, tmp_path, monkeypatch, capsys):
    output, skip = tmp_path / "out", ("--on-bad-rows", "skip")
    original, written = ParquetSink.complete, []

    def interrupted(self):
        if written:
            raise KeyboardInterrupt
        written.append(self.name)
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(ParquetSink, "complete", interrupted)
        assert run("score", tiny_model_dir, source, "-o", f"{output}/", *skip) == 130
    assert "stopped after 1 of 3 parts" in capsys.readouterr().err
    assert [file.name for file in output.iterdir() if not file.name.startswith(".")] == ["a.parquet"]
    first = (output / "a.parquet").stat().st_mtime_ns
    (output / "b.parquet").touch()  # as an older version left a part that was killed at its beginning
    (output / "more").mkdir(exist_ok=True)
    for folder in (output, output / "more"):
        (folder / f".vrm-{'1' * 32}").write_text("what a killed run had of a part")
    assert run("score", tiny_model_dir, source, "-o", output, *skip, "--kappa", 1) == 1
    assert "other settings: kappa" in capsys.readouterr().err
    assert run("score", tiny_model_dir, source, "-o", output, *skip) == 0
    assert "continuing" in capsys.readouterr().err
    assert (output / "a.parquet").stat().st_mtime_ns == first
    assert len(parts(output)) == 3
    assert not (output / PROGRESS).exists()
    assert not list(output.rglob(".vrm-*"))


def test_a_run_that_was_killed_before_its_notes_is_begun_anew(tiny_model_dir, source, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    for name in (f".vrm-{'1' * 32}", f"{PROGRESS}.lock"):
        (output / name).touch()
    assert run("score", tiny_model_dir, source, "-o", f"{output}/", "--on-bad-rows", "skip") == 0
    assert len(parts(output)) == 3
    assert not list(output.rglob(".vrm-*"))


def test_parts_of_lines_are_continued_within_a_part(tiny_model_dir, tmp_path, monkeypatch, capsys):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for part in range(2):
        lines = [json.dumps({"prompt": "city", "completion": f"good plan {n}"}) for n in range(600)]
        (folder / f"part{part}.jsonl").write_text("\n".join(lines) + "\n")
    original, windows = score_output.ScoreFile.write, []

    def interrupted(self, window):
        if len(windows) == 3:
            raise KeyboardInterrupt
        windows.append(len(window))
        original(self, window)

    with monkeypatch.context() as patch:
        patch.setattr(score_output.ScoreFile, "write", interrupted)
        assert run("score", tiny_model_dir, folder, "-o", f"{output}/") == 130
    assert len((output / "part1.jsonl").read_text().splitlines()) == 512
    assert run("score", tiny_model_dir, folder, "-o", f"{output}/") == 0
    assert "wrote 88 rows" in capsys.readouterr().err
    for part in range(2):
        scored = [json.loads(line) for line in (output / f"part{part}.jsonl").read_text().splitlines()]
        assert [row["line"] for row in scored] == list(range(1, 601))


def test_directories_that_hold_no_parts_or_equal_names(tiny_model_dir, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "notes.md").write_text("no rows")
    assert run("score", tiny_model_dir, folder, "-o", f"{tmp_path}/out/") == 1
    assert "no data file" in capsys.readouterr().err
    assert run("score", tiny_model_dir, folder, "-o", f"{folder}/out/") == 1
    assert "lies in the input" in capsys.readouterr().err
    for name in ("a.jsonl", "a.csv"):
        (folder / name).write_text("prompt,completion\ncity,plan\n")
    assert run("score", tiny_model_dir, folder, "-o", f"{tmp_path}/out/") == 1
    assert "different names" in capsys.readouterr().err
