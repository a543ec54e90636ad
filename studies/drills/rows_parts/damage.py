"""Files damaged as a whole: cut, changed in a bit, in another encoding, under another name, of nothing, of noise."""

from __future__ import annotations

import gzip
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from studies.drills.rows_parts.lines import csv_record
from studies.drills.rows_parts.planted import sound
from studies.drills.rows_parts.reading import Tally, read_both_ways

from vrm.data.schema import Judgment

ROWS = 200
FORMATS = ("jsonl", "jsonl.gz", "json", "json.gz", "csv", "csv.gz", "tsv", "parquet")


@dataclass(frozen=True)
class DamagedFile:
    """A file and what must come of it.

    Attributes:
        name: of what was done.
        path: of the file.
        at_least: rows from the first on that must be read.
        refused: whether something must be said; False: nothing may be; None: where a row is missing.
        exact: whether every row that is read must be one of the sound ones, as it was.
    """

    name: str
    path: Path
    at_least: int = 0
    refused: bool | None = True
    exact: bool = True


def sound_texts(rows: int) -> list[dict[str, str]]:
    """Rows of three texts, as every format holds them."""
    return [{name: sound(number)[name] for name in ("prompt", "chosen", "rejected")} for number in range(rows)]


def whole_file(path: Path, rows: int = ROWS) -> bytes:
    """The bytes of a sound file of the format that its name says; written there too."""
    texts, name = sound_texts(rows), path.name.removesuffix(".gz")
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(texts), path, row_group_size=50)
        return path.read_bytes()
    if name.endswith("jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in texts)
    elif name.endswith("json"):
        text = json.dumps(texts)
    else:
        records = [list(texts[0]), *(list(row.values()) for row in texts)]
        text = "".join(csv_record(cells, "\t" if name.endswith("tsv") else ",", "\n") for cells in records)
    data = gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode()
    path.write_bytes(data)
    return data


def cut_files(folder: Path, each: int, rng: random.Random) -> Iterator[DamagedFile]:
    """Files of every format that break off somewhere."""
    for kind in FORMATS:
        data = whole_file(folder / f"whole.{kind}")
        for number in range(each):
            size = rng.randrange(1, len(data) - 1)
            path = folder / f"cut-{number}.{kind}"
            path.write_bytes(data[:size])
            begun = _decompressed(data[:size]) if kind.endswith(".gz") else data[:size]
            lines = begun.count(b"\n") - (kind[1:3] == "sv")
            by_line = kind.removesuffix(".gz") in ("jsonl", "csv", "tsv")
            # A table that ends inside its last cell cannot be told from a whole one.
            yield DamagedFile(f"{kind} cut", path, max(lines, 0) if by_line else 0, None, kind not in ("csv", "tsv"))


def _decompressed(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(data)
    except zlib.error:
        return b""


def flipped_files(folder: Path, each: int, rng: random.Random) -> Iterator[DamagedFile]:
    """Files of every format with one bit changed."""
    for kind in FORMATS:
        data = whole_file(folder / f"whole.{kind}")
        for number in range(each):
            place, changed = rng.randrange(len(data)), bytearray(data)
            changed[place] ^= 1 << rng.randrange(8)
            path = folder / f"bit-{number}.{kind}"
            path.write_bytes(changed)
            lines = data[:place].count(b"\n") - (kind in ("csv", "tsv"))
            yield DamagedFile(
                f"{kind} with a bit changed", path, max(lines, 0) if kind in ("jsonl", "csv", "tsv") else 0, None, False
            )


def quoted_files(folder: Path, each: int, rng: random.Random) -> Iterator[DamagedFile]:
    """Tables with a quote too many or too few somewhere."""
    for kind in ("csv", "tsv"):
        rows = [
            [row["prompt"], *(f'{row[name]}, "so"' for name in ("chosen", "rejected"))] for row in sound_texts(ROWS)
        ]
        records = [
            csv_record(cells, "\t" if kind == "tsv" else ",", "\n")
            for cells in [["prompt", "chosen", "rejected"], *rows]
        ]
        for number in range(each):
            text = "".join(records)
            places = [found.start() for found in re.finditer('"', text)]
            place = rng.choice(places)
            text = text[:place] + rng.choice(["", '""', '"x', 'x"']) + text[place + 1 :]
            path = folder / f"quote-{number}.{kind}"
            path.write_text(text, encoding="utf-8")
            yield DamagedFile(f"{kind} with a wrong quote", path, text[:place].count("\n") - 1, None, False)


def odd_files(folder: Path, rng: random.Random) -> Iterator[DamagedFile]:
    """Other encodings, other names, nothing, noise, very long lines."""
    lines = whole_file(folder / "whole.jsonl").decode()
    table = whole_file(folder / "whole.csv").decode()

    def file(name: str, suffix: str, data: bytes | str, **fate: object) -> DamagedFile:
        path = folder / f"{re.sub('[^a-z0-9]', '-', name.lower())}.{suffix}"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return DamagedFile(f"{name} as .{suffix}", path, **fate)  # type: ignore[arg-type]

    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        for suffix, text in (("jsonl", lines), ("json", f"[{lines}]"), ("csv", table)):
            yield file(encoding, suffix, text.encode(encoding))
    for encoding in ("latin-1", "cp1252", "shift-jis", "utf-7", "cp037"):
        for suffix, text in (("jsonl", lines), ("csv", table)):
            odd = text.replace("boil", "b\xf6il" if encoding != "shift-jis" else "\u6cb8")
            yield file(encoding, suffix, odd.encode(encoding), exact=False, refused=encoding != "utf-7")
    for suffix in ("jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz", "txt", ""):
        empty = [
            "",
            " \n\n ",
            "\ufeff",
            "\ufeff\n",
            b"\x00",
            b"\x00" * 10**6,
            rng.randbytes(10_000),
            b"\x1f\x8b",
            "\n" * 10**5,
        ]
        for number, data in enumerate(empty):
            yield file(f"nothing {number}", suffix, data)
    yield file("marks", "jsonl", "\ufeff" + lines.replace("\n", "\n\ufeff"), at_least=ROWS, refused=False)
    yield file("CR LF", "jsonl", lines.replace("\n", "\r\n"), at_least=ROWS, refused=False)
    yield file("CR LF", "csv", "\ufeff" + table.replace("\n", "\r\n"), at_least=ROWS, refused=False)
    yield file("CR alone", "jsonl", lines.replace("\n", "\r"))
    yield file("CR alone", "csv", table.replace("\n", "\r"), refused=None)
    yield file("lines", "json", lines, at_least=ROWS, refused=False)
    yield file("lines", "csv", lines)
    yield file("lines", "parquet", lines)
    yield file("lines", "txt", lines, at_least=ROWS, refused=False)
    yield file("lines", "jsonl.gz", lines)
    yield file("table", "jsonl", table)
    yield file("table", "json", table)
    yield file("table", "tsv", table)
    packed = gzip.compress(lines.encode())
    yield file("gzip", "jsonl", packed, at_least=ROWS, refused=False)
    yield file("gzip twice", "jsonl.gz", gzip.compress(packed))
    yield file("two members", "jsonl.gz", packed + gzip.compress(lines.encode()), at_least=ROWS, refused=False)
    yield file("gzip and zeros", "jsonl.gz", packed + b"\x00" * 512, at_least=ROWS, refused=False)
    yield file("gzip and noise", "jsonl.gz", packed + b"noise", at_least=ROWS)
    yield file("Parquet", "jsonl", whole_file(folder / "whole.parquet"), at_least=ROWS, refused=False)
    ten = 10 << 20
    for name, line in _long_lines(ten):
        good = name == "a long text"
        yield file(name, "jsonl", lines.encode() + line + b"\n" + lines.encode(), at_least=ROWS, refused=not good)
        yield file(name, "json", line, refused=not good)


def _long_lines(size: int) -> Iterator[tuple[str, bytes]]:
    yield "a long text", json.dumps({**sound(ROWS), "chosen": "word " * (size // 5)}).encode()
    yield "long noise", b"x" * size
    yield "a long number", b'{"prompt": ' + b"1" * size + b"}"
    yield "many brackets", b"[" * size
    yield "many braces", b'{"a":' * (size // 5)
    yield "a long list", b"[[" + b"1," * (size // 2) + b"1]]"
    yield "a text without its end", b'{"prompt": "' + b"x" * size
    yield "zeros", b"\x00" * size
    yield "many keys", json.dumps({str(number): 1 for number in range(size // 12)}).encode()


def check_files(
    files: Iterator[DamagedFile], tally: Tally, after: Callable[[Path], object] = lambda path: None
) -> None:
    """Read damaged files from memory and from the disk."""
    known = {row["prompt"]: row for row in sound_texts(ROWS + 1)}
    for file in files:
        tally.tries += 1
        before = tally.faults
        _check_file(file, known, tally)
        after(file.path)
        if tally.faults == before:
            file.path.unlink()


def _check_file(file: DamagedFile, known: dict[str, dict[str, str]], tally: Tally) -> None:
    read = read_both_ways(file.path, tally, refusal=file.refused is not False)
    if read is None:
        return
    rows, report = read
    tally.refused += not report.ok
    if not report.ok and not all(problem.file == str(file.path) and problem.reason for problem in report.problems):
        tally.fault(f"{file.name}: the file is not named: {report.problems[0]}")
    missing = file.at_least - sum(row.prompt in known for row in rows[: file.at_least])
    if missing > 0 and not _named_span(report.problems, file):
        tally.fault(f"{file.name}: {missing} rows before the damage are not read; {report.problems[:1]}", missing)
    if report.ok and (file.refused or (file.refused is None and len(rows) < ROWS and file.exact)):
        tally.fault(f"{file.name}: {len(rows)} rows are read and nothing is said ({file.path.name})")
    if not report.ok and file.refused is False:
        tally.fault(f"{file.name}: refused: {report.problems[0]}")
    if file.exact and not all(_is_sound(row, known) for row in rows):
        tally.fault(f"{file.name}: other rows are read than there were")


def _is_sound(row: Judgment, known: dict[str, dict[str, str]]) -> bool:
    texts = known.get(str(row.prompt))
    return texts is not None and (
        row.completions == [texts["chosen"], texts["rejected"]] or len(str(row.completions)) > 10**6
    )


def _named_span(problems: object, file: DamagedFile) -> bool:
    return file.name.endswith(" quote") and "are taken as this one record" in str(problems)
