"""Rows of files that are damaged: each is named, and those beside it are read."""

from __future__ import annotations

import json

import pytest

from vrm.data import InvalidRowError, read_rows

ROWS = [{"prompt": f"Question {number}", "chosen": "Oak.", "rejected": "Granite."} for number in range(4)]


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def collect(path):
    errors: list[InvalidRowError] = []
    rows = list(read_rows(path, on_error=errors.append))
    return rows, [(error.line, error.problems[0].kind) for error in errors], errors


def test_a_first_line_that_is_an_open_list_leaves_the_lines_after_it(tmp_path):
    lines = [json.dumps(row).encode() + b"\n" for row in ROWS]
    for name in ("rows.jsonl", "rows.json"):
        rows, kinds, _ = collect(write(tmp_path, name, b"[" + lines[0] + b"".join(lines[1:])))
        assert [row for _, row in rows] == ROWS[1:]
        assert kinds == [(1, "invalid JSON")]
    rows, kinds, _ = collect(write(tmp_path, "cut.json", lines[0][:-3] + b"\n" + b"".join(lines[1:])))
    assert [row for _, row in rows] == ROWS[1:]
    assert kinds == [(1, "invalid JSON")]


def test_a_csv_record_that_swallows_lines_says_which(tmp_path):
    _, _, errors = collect(
        write(tmp_path, "rows.csv", b'prompt,chosen,rejected\na,b,c\nx,"y,z\nd,e,f\ng,"h",i\nk,l,m\n')
    )
    assert [error.line for error in errors] == [3]
    assert "(lines 3 to 5 are taken as this one record)" in errors[0].reason


DEPTH = 150


@pytest.mark.parametrize(
    "row",
    [
        '{"prompt": "a", "extra": ' + "[" * DEPTH + "]" * DEPTH + "}",
        '{"prompt": "a", "extra": ' + '{"a":' * DEPTH + "1" + "}" * DEPTH + "}",
    ],
)
def test_rows_nested_too_deep_are_named_alone(tmp_path, row):
    for name, data in (("rows.jsonl", f'{row}\n{{"prompt": "b"}}\n'), ("rows.json", f'[{row}, {{"prompt": "b"}}]')):
        rows, kinds, errors = collect(write(tmp_path, name, data.encode()))
        assert rows == [(2, {"prompt": "b"})]
        assert kinds == [(1, "nested too deep")]
        assert errors[0].field == "extra"


def test_parquet_values_that_python_has_not_are_named_by_row_and_field(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "years": pa.array([None, 2**50, None], pa.timestamp("s")),
        "map": pa.array([None, None, [("a", 1.0), ("a", 2.0)]], pa.map_(pa.string(), pa.float64())),
    }
    for name, line, kind in (("years", 2, "no such value"), ("map", 3, "duplicate key")):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"prompt": ["a", "b", "c"], name: columns[name]}), path)
        rows, kinds, errors = collect(path)
        assert [number for number, _ in rows] == [number for number in (1, 2, 3) if number != line]
        assert kinds == [(line, kind)]
        assert errors[0].field == name
