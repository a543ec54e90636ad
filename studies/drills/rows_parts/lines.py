"""Lines of JSON damaged in their bytes, and cells of CSV, between sound ones."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from studies.drills.rows_parts.planted import Fate, Planted, sound
from studies.drills.rows_parts.reading import Expected

Damage = tuple[str, Fate, Callable[[bytes, random.Random], bytes]]


def _cut(line: bytes, rng: random.Random) -> bytes:
    return line[: rng.randrange(1, len(line))]


def _flip(line: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(line))
    return (
        line[:place]
        + bytes([rng.choice([value for value in range(256) if value not in (10, line[place])])])
        + line[place + 1 :]
    )


def _put(what: bytes) -> Callable[[bytes, random.Random], bytes]:
    """Into a text."""
    return lambda line, rng: line.replace(b"boil", b"bo" + what + b"il")


def _column(value: str) -> Callable[[bytes, random.Random], bytes]:
    """A further column."""
    return lambda line, rng: line[:-1] + b', "extra": ' + value.encode("utf-8", "surrogatepass") + b"}"


def _whole(what: bytes) -> Callable[[bytes, random.Random], bytes]:
    return lambda line, rng: what


DAMAGES: list[Damage] = [
    ("cut", Fate.BAD, _cut),
    ("a byte changed", Fate.EITHER, _flip),
    *(
        (f"bytes {what!r} in a text", Fate.BAD, _put(what))
        for what in (b"\xff", b"\xe9", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc0\x80")
    ),
    *(
        (f"raw {what!r} in a text", Fate.BAD, _put(what))
        for what in (b"\x00", b"\x01", b"\t", b"\x1f", b'"', b"\\x", b"\\u12", b"\r")
    ),
    *(
        (f"{what!r} in a text", Fate.GOOD, _put(what))
        for what in (b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\x7f", b"\xc2\x85", b"\\u0000", b"\\ud83d\\ude00", b"\\/")
    ),
    ("UTF-16", Fate.BAD, lambda line, rng: line.decode().encode("utf-16-le")),
    ("UTF-16 with its mark", Fate.BAD, lambda line, rng: line.decode().encode("utf-16")),
    ("in base64 alike", Fate.BAD, _whole(b"eyJwcm9tcHQiOiAieCJ9")),
    *(
        (f"extra: {value}", Fate.BAD, _column(value))
        for value in (
            "NaN",
            "-Infinity",
            "[Infinity]",
            '{"a": NaN}',
            "1" * 5000,
            "01",
            "+1",
            ".5",
            "0x1",
            "True",
            "None",
            "'x'",
            "undefined",
            "1,",
            "{a: 1}",
            "[1 2]",
            '{"a": 1, "a": 2}',
        )
    ),
    *((f"extra nested {depth}", Fate.BAD, _column("[" * depth + "]" * depth)) for depth in (150, 990, 5_000, 100_000)),
    *((f"extra open {depth}", Fate.BAD, _column("[" * depth)) for depth in (150, 5_000, 100_000)),
    ("objects nested 100,000", Fate.BAD, _column('{"a": ' * 100_000 + "1" + "}" * 100_000)),
    *(
        (f"extra: {value[:20]}", Fate.GOOD, _column(value))
        for value in ("1e400", "-0", "1" * 4000, "[" * 50 + "]" * 50, '"\\ud800"', "1e-400")
    ),
    ("a key twice", Fate.BAD, lambda line, rng: line[:-1] + b', "prompt": "other"}'),
    ("two objects", Fate.BAD, lambda line, rng: line + b" " + line),
    ("a comma behind", Fate.BAD, lambda line, rng: line + b","),
    ("a comment behind", Fate.BAD, lambda line, rng: line + b" // so"),
    ("single quotes", Fate.BAD, lambda line, rng: line.replace(b'"', b"'")),
    ("no brace at the end", Fate.BAD, lambda line, rng: line[:-1]),
    ("a brace too many", Fate.BAD, lambda line, rng: line + b"}"),
    ("a list without its end", Fate.BAD, lambda line, rng: b"[" + line),
    ("in a list", Fate.BAD, lambda line, rng: b"[" + line + b"]"),
    *(
        (repr(what[:20]), Fate.BAD, _whole(what))
        for what in (
            b"[]",
            b"[1, 2]",
            b"5",
            b'"text"',
            b"null",
            b"true",
            b"NaN",
            b"}",
            b"]",
            b"{",
            b"{}",
            b"\x00" * 9,
            b"\xff\xfe",
            b"prompt,chosen,rejected",
            b"<html>",
            b"\x1f\x8b\x08\x00",
            b"PAR1",
            b"x" * 100_000,
            b'"' + b"x" * 100_000,
        )
    ),
    *((f"blank {what!r}", Fate.NOTHING, _whole(what)) for what in (b"", b"   ", b"\t", b"\x0b\x0c", b"\xef\xbb\xbf")),
    *(
        (f"{what!r} before", Fate.GOOD, lambda line, rng, what=what: what + line)
        for what in (b"  ", b"\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf")
    ),
    *((f"{what!r} behind", Fate.GOOD, lambda line, rng, what=what: line + what) for what in (b"  ", b"\r", b"\t\r")),
]

TELL_THE_FORMAT = (
    "UTF-16",
    "UTF-16 with its mark",
    repr(b"PAR1"),
    repr(b"\xff\xfe"),
    repr(b"\x1f\x8b\x08\x00"),
    repr(b"\x00" * 9),
)
"""At the beginning of a file these say what the whole file is."""


def damaged_lines(path: Path, how_many: int, first: int, rng: random.Random) -> Expected:
    """Lines of JSON: every second one, from the first or the second on, is damaged in one of the ways above."""
    expected, lines, left = {}, list[bytes](), list[Damage]()
    end = rng.choice([b"\n", b"\r\n"])
    damaged_first = rng.random() < 0.5
    for number in range(first, first + how_many):
        line = json.dumps(sound(number)).encode()
        planted = Planted(sound(number))
        if (number - first) % 2 == int(not damaged_first):
            left = left or rng.sample(DAMAGES, len(DAMAGES))
            name, fate, damage = left.pop()
            if not lines and name in TELL_THE_FORMAT:
                name, fate, damage = DAMAGES[0]
            line = damage(line, rng)
            planted = Planted({}, fate, "", name, fate)
        lines.append(line)
        expected[len(lines)] = planted
    path.write_bytes(end.join(lines) + end)
    return expected


CELLS: list[tuple[str, str, Fate]] = [
    *(
        (column, value, Fate.GOOD)
        for column in ("prompt", "chosen", "rejected")
        for value in (
            "7",
            "true",
            "NaN",
            "[1, 2]",
            "{",
            "[{",
            '[{"a": 1}]',
            "a,b",
            'say "x"',
            "two\nlines",
            "x" * 200_000,
            "\x00",
            "\u200bx",
            "=1+1",
        )
    ),
    *((column, value, Fate.BAD) for column in ("chosen", "rejected") for value in ("", "  ", "\u200b", "\r\n")),
    ("prompt", "", Fate.BAD),
    *((column, '[{"role": "robot", "content": "x"}]', Fate.BAD) for column in ("prompt", "chosen", "rejected")),
    *(
        (column, '[{"role": "user", "role": "user", "content": "x"}]', Fate.BAD)
        for column in ("prompt", "chosen", "rejected")
    ),
    *(
        (column, value, Fate.BAD)
        for column in ("preference", "margin")
        for value in ("x", "nan", "inf", "-Infinity", "1e400", "True", "[1]", "1,5", "0x1", "9" * 400)
    ),
    *(("preference", value, Fate.BAD) for value in ("1.5", "-1")),
    *((column, value, Fate.GOOD) for column in ("preference", "margin") for value in ("", " ", "0.5", " 1 ", "1e-3")),
    *(
        (column, value, Fate.BAD)
        for column in ("chosen_ratings", "objective_votes")
        for value in (
            "x",
            "5",
            "[1]",
            "{",
            '{"safety": "1"}',
            '{"safety": NaN}',
            '{"safety": 1e400}',
            '{"safety": 1, "safety": 2}',
            "{'safety': 1}",
            '{"\\ud800": 1}',
            "[" * 5000,
            '{"safety": ' + "1" * 5000 + "}",
        )
    ),
    *(
        (column, value, Fate.GOOD)
        for column in ("chosen_ratings", "objective_votes")
        for value in ("", " ", '{"safety": 1}')
    ),
    *(("category", value, Fate.GOOD) for value in ("", "x", "7", "\u202e")),
    *(("tools", value, Fate.BAD) for value in ("x", "{}", "[5]", '[{"a": "\\ud800"}]')),
    *(("chat_template_kwargs", value, Fate.BAD) for value in ("x", "[]", '{"a": "\\ud800"}', '{"a": NaN}')),
]
"""Column, cell, and what must become of the row."""

HEADER = [
    "prompt",
    "chosen",
    "rejected",
    "preference",
    "margin",
    "chosen_ratings",
    "objective_votes",
    "category",
    "tools",
    "chat_template_kwargs",
]


def changed_cells(path: Path, how_many: int, first: int, rng: random.Random) -> Expected:
    """A table of comma- or tab-separated values, every second row with one cell changed; some of another length."""
    delimiter, end = "\t" if ".tsv" in path.name else ",", rng.choice(["\n", "\r\n"])
    records = [csv_record(HEADER, delimiter, end)]
    line = 2
    expected, left = {}, list[tuple[str, str, Fate]]()
    labels = {"preference", "margin", "chosen_ratings", "objective_votes"}
    for number in range(first, first + how_many):
        row = {name: value if isinstance(value, str) else json.dumps(value) for name, value in sound(number).items()}
        planted = Planted({"prompt": row["prompt"]})
        if number % 2:
            left = left or rng.sample(CELLS, len(CELLS))
            column, cell, fate = left.pop()
            row[column] = cell
            scored = Fate.EITHER if column in labels else fate
            planted = Planted(
                {"prompt": None}, fate, column if fate is Fate.BAD else "", f"{column}: {cell!r:.60}", scored
            )
        cells = [row.get(name, "") for name in HEADER]
        if number % 50 == 1:
            cells = cells[:-1] if number % 100 == 1 else [*cells, "more"]
            planted = Planted({}, Fate.BAD, "", f"{len(cells)} cells", Fate.BAD)
        records.append(csv_record(cells, delimiter, end))
        expected[line] = planted
        line += records[-1].count("\n")
    path.write_text("".join(records), encoding="utf-8", newline="")
    return expected


def csv_record(cells: Sequence[str], delimiter: str, end: str) -> str:
    """Cells as a line of a table."""
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator=end).writerow(cells)
    return buffer.getvalue()
