"""Drill: generated rows and files through readers, doctor, score and train."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from studies.drills.checkpoints_parts.models import reward_model
from studies.drills.outcome import Drill, Outcome, Setting
from studies.drills.pieces import in_pieces
from studies.drills.rows_parts.arbitrary import arbitrary_rows
from studies.drills.rows_parts.columns import columns_of_other_types
from studies.drills.rows_parts.commands import Given, doctor_each, given_files, import_all, score_each, train_each
from studies.drills.rows_parts.damage import check_files, cut_files, flipped_files, odd_files, quoted_files
from studies.drills.rows_parts.files import write_json, write_jsonl
from studies.drills.rows_parts.lines import changed_cells, damaged_lines
from studies.drills.rows_parts.planted import spread
from studies.drills.rows_parts.reading import Expected, Tally, check_rows, check_scoring

Part = Callable[[Path, random.Random, bool, Tally], None]
"""Does one line of the table: in a folder of its own, at a toy size or in full."""


def _check(path: Path, expected: Expected, tally: Tally) -> None:
    check_rows(path, expected, tally)
    check_scoring(path, expected, tally)
    path.unlink()


def fields(folder: Path, rng: random.Random, quick: bool, tally: Tally) -> None:
    """Rows of JSON with one field changed."""
    rows = spread(rng.randrange(10**6))
    for number in range(3 if quick else 100):
        name, write = (("jsonl", write_jsonl), ("json", write_json), ("jsonl.gz", write_jsonl))[number % 3]
        path = folder / f"{number}.{name}"
        _check(path, write(path, list(islice(rows, 80 if quick else 500)), rng), tally)


def lines(folder: Path, rng: random.Random, quick: bool, tally: Tally) -> None:
    """Lines of JSON damaged in their bytes."""
    for number in range(2 if quick else 100):
        path = folder / f"{number}.jsonl"
        _check(path, damaged_lines(path, 100 if quick else 200, number * 1000, rng), tally)


def cells(folder: Path, rng: random.Random, quick: bool, tally: Tally) -> None:
    """Tables with one cell of a row changed."""
    for number in range(2 if quick else 80):
        path = folder / f"{number}.{'csv' if number % 2 else 'tsv'}"
        _check(path, changed_cells(path, 100 if quick else 250, number * 1000, rng), tally)


def columns(folder: Path, rng: random.Random, quick: bool, tally: Tally) -> None:
    """Parquet files with a column of another type."""
    made = columns_of_other_types(folder, 4 if quick else 60)
    for path, expected in made[::12] if quick else made:
        _check(path, expected, tally)


def made_up(folder: Path, rng: random.Random, quick: bool, tally: Tally) -> None:
    """Rows that hypothesis makes up."""
    arbitrary_rows(folder, 3 if quick else 250, 40, tally, rng.randrange(10**6))


def cut(folder: Path, rng: random.Random, quick: bool, tally: Tally) -> None:
    """Files that break off."""
    check_files(cut_files(folder, 1 if quick else 20, rng), tally)


def flipped(folder: Path, rng: random.Random, quick: bool, tally: Tally) -> None:
    """Files with one bit changed."""
    check_files(flipped_files(folder, 1 if quick else 20, rng), tally)


def quoted(folder: Path, rng: random.Random, quick: bool, tally: Tally) -> None:
    """Tables with a quote too many or too few."""
    check_files(quoted_files(folder, 1 if quick else 20, rng), tally)


def odd(folder: Path, rng: random.Random, quick: bool, tally: Tally) -> None:
    """Other encodings, other names, nothing, noise, lines of 10 MB."""
    check_files(islice(odd_files(folder, rng), 0, None, 12 if quick else 1), tally)


PARTS: dict[str, Part] = {
    "one field changed, rows of JSON lines, JSON and gzip": fields,
    "one line damaged in its bytes, JSON lines": lines,
    "one cell changed, CSV and TSV": cells,
    "one column of another type, Parquet": columns,
    "rows that hypothesis makes up": made_up,
    "files cut anywhere, all formats": cut,
    "files with one bit changed, all formats": flipped,
    "tables with a wrong quote": quoted,
    "files in other encodings, under other names, of noise, with lines of 10 MB": odd,
}
"""The lines of the table that readers are tried for."""


COMMANDS: dict[str, tuple[Callable[[list[Given], Path, Tally], None], int]] = {
    "`vrm score`, each file and all as a directory": (score_each, 120),
    "`vrm doctor`, each file": (doctor_each, 60),
    "`vrm train`, each file, its rows in memory and on the disk": (train_each, 20),
}
"""What commands are tried with, and how many files of damaged rows they are given."""


def run(setting: Setting) -> Sequence[Outcome]:
    """Everything."""
    from datasets import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bars()
    disable_progress_bar()
    os.environ["VRM_ROW_CACHE"] = str(setting.work.absolute() / "cache")
    seeds = iter(range(setting.seed, setting.seed + len(PARTS)))
    lines = {name: partial(_reader, setting.quick, next(seeds), part) for name, part in PARTS.items()}
    commands = {name: partial(_command, setting, check, count) for name, (check, count) in COMMANDS.items()}
    return in_pieces(setting, {**lines, **commands})


def _reader(quick: bool, seed: int, part: Part, folder: Path, tally: Tally) -> None:
    part(folder, random.Random(seed), quick, tally)
    shutil.rmtree(os.environ["VRM_ROW_CACHE"], ignore_errors=True)


def _command(
    setting: Setting, check: Callable[[list[Given], Path, Tally], None], most: int, folder: Path, tally: Tally
) -> None:
    import_all()
    reward_model(folder)
    files = given_files(folder / "files", 4 if setting.quick else most, random.Random(setting.seed))
    check(list(files)[: 2 if setting.quick else most], folder, tally)


DRILL = Drill("Rows and files", run)
