"""Tables in terminals of any width: names can be read and no number is cut."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.table import Column

from vrm.results.formats import NAME_WIDTH, table

NUMBERS = ("1,234", "100.0 [100.0, 100.0]", "99.9", "88.8", "77.7", "0.123", "0.456", "0.789")


def printed(width: int, *names: str, encoding: str = "utf-8") -> list[str]:
    built = table("A title", ["", "pairs", "accuracy", "lc", "sure", "longer", "NLL", "Brier", "ECE"], "a caption")
    for name in names:
        built.add_row(name, *NUMBERS)
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width).print(built, crop=False)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 81, 100, 160])
def test_names_and_numbers_are_whole_at_any_width(width):
    lines = printed(width, "all", "relationships")
    for name in ("all", "relationships"):
        (line,) = (line for line in lines if name in line)
        assert all(number in line for number in NUMBERS)
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_eighty_columns_hold_the_table_and_long_names_are_folded(encoding):
    name = "a/very/long/name/of/a/category"
    lines = printed(80, name, encoding=encoding)
    assert max(map(len, lines)) <= 80
    start = next(index for index, line in enumerate(lines) if name[:NAME_WIDTH] in line)
    assert name in "".join(re.split("[ |]", line.strip("│| "))[0] for line in lines[start : start + 2])


def test_text_beside_names_wraps_and_is_not_cut():
    built = table("", ["name", Column("what it does")])
    built.add_row("x", "supercalifragilisticexpialidocious " * 3)
    stream = io.StringIO()
    Console(file=stream, width=30).print(built, crop=False)
    assert "…" not in stream.getvalue()
    assert stream.getvalue().replace("\n", "").replace("│", "").replace(" ", "").count("supercali") == 3
