"""Files of damaged rows given to the commands: `vrm doctor`, `vrm score` of a file and of a directory, `vrm train`."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import count, islice
from pathlib import Path

import yaml
from studies.drills.checkpoints_parts.models import backbone, reward_model
from studies.drills.forked import in_child, vrm
from studies.drills.rows_parts.damage import cut_files, flipped_files, odd_files
from studies.drills.rows_parts.files import write_json, write_jsonl
from studies.drills.rows_parts.lines import changed_cells, damaged_lines
from studies.drills.rows_parts.planted import Fate, spread
from studies.drills.rows_parts.reading import Expected, Tally

SECONDS = 120
IMPORTED = (
    "vrm.cli.doctor",
    "vrm.cli.score",
    "vrm.cli.train",
    "vrm.doctor.view",
    "vrm.inference.score_parts",
    "vrm.train.run",
    "datasketch",
    "peft",
    "py3langid",
    "transformers.models.qwen3.modeling_qwen3",
)


@dataclass(frozen=True)
class Given:
    """A file for commands; `expected` is empty where the whole file is damaged."""

    path: Path
    expected: Expected


def import_all() -> None:
    """Import what commands import, so that forks need not."""
    for name in IMPORTED:
        import_module(name)


def given_files(folder: Path, how_many: int, rng: random.Random) -> Iterator[Given]:
    """Files of damaged rows in turn, and every fourth one damaged as a whole."""
    folder.mkdir(parents=True)
    rows = spread(rng.randrange(10**6))
    whole = _shuffled_damage(folder / "whole", how_many // 4 + 1, rng)
    for number in range(how_many):
        name = ("rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "lines.jsonl", "rows.jsonl.gz")[number % 6]
        path = folder / f"{number}-{name}"
        if number % 4 == 3:
            yield Given(next(whole), {})
        elif name.startswith("lines"):
            yield Given(path, damaged_lines(path, 40, number * 1000, rng))
        elif "sv" in name:
            yield Given(path, changed_cells(path, 40, number * 1000, rng))
        else:
            yield Given(path, (write_json if name.endswith("json") else write_jsonl)(path, list(islice(rows, 40)), rng))


def _shuffled_damage(folder: Path, how_many: int, rng: random.Random) -> Iterator[Path]:
    folder.mkdir()
    files = [
        *cut_files(folder, how_many // 16 + 1, rng),
        *flipped_files(folder, how_many // 16 + 1, rng),
        *odd_files(folder, rng),
    ]
    rng.shuffle(files)
    return (file.path for file in files if file.path.stat().st_size < 10**6 and "pipe" not in file.name)


def score_each(files: list[Given], work: Path, tally: Tally) -> None:
    """`vrm score` of each file, and of all files of planted rows as one directory, whose rows must be the same."""
    model = reward_model(work)
    parts, outputs = work / "parts", {}
    parts.mkdir()
    for number, given in enumerate(files):
        tally.tries += 1
        output = work / f"scores-{number}.jsonl"
        code, err = _run(
            ["score", model, given.path, "-o", output, "--on-bad-rows", "skip", "--keep", "all"], work, tally
        )
        if code == 0:
            _check_scores(output, given.expected, tally)
            outputs[f"{number}-{given.path.name}"] = output
            shutil.copy(given.path, parts / f"{number}-{given.path.name}")
        elif code == 1:
            tally.refused += 1
            if given.expected or str(given.path) not in err:
                tally.fault(f"score {given.path.name}: {err[-300:]}")
    together = work / "scores"
    tally.tries += 1
    code, err = _run(
        ["score", model, parts, "-o", f"{together}/", "--on-bad-rows", "skip", "--keep", "all"], work, tally
    )
    if code != 0:
        tally.fault(f"score of a directory: {err[-300:]}")
        return
    for name, output in outputs.items():
        if not name.endswith(".parquet"):
            _compare(output, next(together.glob(f"{name.partition('.')[0]}.*")), tally)


def _compare(one: Path, other: Path, tally: Tally) -> None:
    import gzip

    data = other.read_bytes()
    text = gzip.decompress(data) if other.suffix == ".gz" else data
    expected = one.read_text(encoding="utf-8")
    if _placeless(expected, one) != _placeless(text.decode(), other):
        tally.fault(f"score: the rows of {one.name} are others in a directory")


def _placeless(text: str, path: Path) -> list[dict[str, object]]:
    """Rows without the words of errors, which name the file."""
    rows = [json.loads(line) for line in text.split("\n") if line]
    return [{**row, "error": bool(row.get("error"))} for row in rows]


def _check_scores(output: Path, expected: Expected, tally: Tally) -> None:
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").split("\n") if line]
    by_line = {row["line"]: row for row in rows}
    if len(by_line) != len(rows):
        tally.fault(f"score {output.name}: a row is written twice")
    for line, planted in expected.items():
        row, sound = by_line.get(line, {}), planted.name == "sound"
        if planted.fate_scored is Fate.GOOD and "rewards" not in row:
            tally.fault(f"score: {planted.name} has no rewards: {row.get('error')}", int(sound))
        elif planted.fate_scored is Fate.BAD and "error" not in row:
            tally.fault(f"score: {planted.name} has rewards or is left out")


def doctor_each(files: list[Given], work: Path, tally: Tally) -> None:
    """`vrm doctor` of each file."""
    for number, given in enumerate(files):
        tally.tries += 1
        report = work / f"doctor-{number}.json"
        code, err = _run(["doctor", given.path, "--json", report], work, tally)
        if code == 0 and report.exists():
            json.loads(report.read_text(encoding="utf-8"))
        elif code == 1:
            tally.refused += 1
            if not report.exists() and str(given.path) not in err:
                tally.fault(f"doctor {given.path.name}: {err[-300:]}")


def train_each(files: list[Given], work: Path, tally: Tally) -> None:
    """`vrm train` on each file, its rows in memory and on the disk, which must give the same weights."""
    for number, given in enumerate(files):
        weights = []
        for storage in ("memory", "disk"):
            tally.tries += 1
            run = work / f"run-{number}-{storage}"
            code, err = _run(["train", _config(run, given.path, backbone(work, "decoder"), storage)], work, tally)
            model = run / "model" / "model.safetensors"
            weights.append(model.read_bytes() if code == 0 else None)
            if code == 1:
                tally.refused += 1
                if str(given.path) not in err and "NumericsError" not in err and "not finite" not in err:
                    tally.fault(f"train {given.path.name}: {err[-300:]}")
            shutil.rmtree(run, ignore_errors=True)
        if weights[0] != weights[1]:
            tally.fault(f"train {given.path.name}: other weights from the disk than from memory")


def _config(run: Path, rows: Path, source: Path, storage: str) -> Path:
    values = {
        "output_dir": str(run),
        "data": {"train": str(rows), "on_bad_rows": "skip", "on_overlong": "truncate", "storage": storage},
        "model": {"backbone": str(source), "num_free_objectives": 1, "num_features": 4, "max_input_tokens": 64},
        "train": {"epochs": 1, "batch_size": 32, "precision": "float32"},
        "features": {"cache": "none"},
    }
    path = run.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


NUMBERS = count()


def _run(arguments: list[object], work: Path, tally: Tally) -> tuple[int, str]:
    """Exit status and the words on stderr; a traceback, a signal or a hang is a fault."""
    words = work / f"words-{next(NUMBERS)}"

    def command() -> None:
        signal.alarm(SECONDS)
        vrm(arguments)

    code = in_child(command, words)
    err = Path(f"{words}.err").read_text(encoding="utf-8", errors="replace")
    if code not in (0, 1) or "Traceback" in err:
        tally.fault(f"{' '.join(map(str, arguments[:3]))}: exit status {code}, {err.strip()[-300:]}")
    Path(f"{words}.err").unlink()
    Path(f"{words}.out").unlink()
    return code, err
