"""Planted rows as files of every format, with the number that each row has there."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path

from studies.drills.rows_parts.planted import Planted
from studies.drills.rows_parts.reading import Expected


def as_json(planted: Planted, rng: random.Random) -> str:
    """A row as one line; infinities as the literal or as a number that is too large."""
    text = json.dumps(planted.values, separators=rng.choice([(",", ":"), (", ", ": ")]))
    return text.replace("Infinity", "1e400") if rng.random() < 0.5 else text


def write_jsonl(path: Path, rows: Sequence[Planted], rng: random.Random) -> Expected:
    """Lines, with line ends of Unix or of Windows, blank lines between some, a mark at the beginning of some."""
    end = rng.choice(["\n", "\r\n"])
    lines, expected = [], {}
    for row in rows:
        while rng.random() < 0.05:
            lines.append(rng.choice(["", "  ", "\t"]))
        mark = "\ufeff" if rng.random() < 0.02 or not lines else ""
        lines.append(mark + as_json(row, rng))
        expected[len(lines)] = row
    data = (end.join(lines) + rng.choice(["", end])).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return expected


def write_json(path: Path, rows: Sequence[Planted], rng: random.Random) -> Expected:
    """A list of rows."""
    path.write_text(f"[{', '.join(as_json(row, rng) for row in rows)}]\n", encoding="utf-8")
    return dict(enumerate(rows, start=1))
