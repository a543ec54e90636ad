"""JSON as people keep it: printed over several lines, column by column, joined, with keys twice, in other encodings."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import sys

import pytest

from vrm.data import load_judgments, read_rows
from vrm.data.validation import InvalidDataError
from vrm.errors import DataError

ROWS = [
    {"prompt": "Name a tree.", "chosen": "Oak {", "rejected": "Granite"},
    {
        "prompt": [{"role": "user", "content": '}{ "["'}],
        "chosen": [{"role": "assistant", "content": "12"}],
        "rejected": [{"role": "assistant", "content": "13"}],
    },
    {"prompt": "p", "completions": ["a", "b"], "scores": [1, 2]},
]
TEXTS = [{"prompt": f"What is {n}?", "chosen": f"{n}", "rejected": "no"} for n in range(3)]


def read(path, **arguments):
    errors = []
    rows = list(read_rows(path, on_error=errors.append, **arguments))
    return rows, [(error.line, error.field, error.problems[0].kind) for error in errors], errors


@pytest.fixture(params=["file", "stdin"])
def source(request, tmp_path, monkeypatch):
    """Rows in a file of any name, or on standard input."""

    def give(data: bytes, name: str = "rows.jsonl"):
        if request.param == "stdin":
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
            return "-"
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return give


@pytest.mark.parametrize("indent", [0, 1, 2, "\t"])
@pytest.mark.parametrize("separator", ["\n", "\n\n", "\r\n"])
def test_objects_printed_over_several_lines_are_rows_under_their_first_line(source, indent, separator):
    parts = [json.dumps(row, indent=indent) + separator for row in ROWS]
    rows, problems, _ = read(source("".join(parts).encode()))
    starts = [1 + "".join(parts[:n]).count("\n") for n in range(len(parts))]
    assert rows == list(zip(starts, ROWS, strict=True))
    assert not problems


def test_objects_over_several_lines_stand_beside_those_in_one_and_in_files_named_json(tmp_path):
    text = json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[1], indent=4) + "\n" + json.dumps(ROWS[2]) + "\n"
    for name in ("rows.jsonl", "rows.json"):
        (tmp_path / name).write_text(text)
        assert [row for _, row in read_rows(tmp_path / name)] == ROWS


def test_a_hand_written_object_over_several_lines(source):
    rows, problems, _ = read(source(b'{ "prompt": "a",\n  "chosen": "b",\n  "rejected": "c" }\n{"prompt": "d"}\n'))
    assert rows == [(1, {"prompt": "a", "chosen": "b", "rejected": "c"}), (4, {"prompt": "d"})]
    assert not problems


def test_an_object_without_an_end_takes_no_other_row_with_it(source):
    good = json.dumps(TEXTS[0]).encode()
    data = b"\n".join([b"{", b'{"prompt": "x",', good, b'{"prompt": "cut', good, b"{", b'  "prompt": "y"'])
    rows, problems, _ = read(source(data))
    assert rows == [(3, TEXTS[0]), (5, TEXTS[0])]
    assert [kind for _, _, kind in problems] == ["invalid JSON"] * 4
    assert [line for line, _, _ in problems] == [1, 2, 4, 7]


def test_a_list_over_several_lines_is_read_from_a_file_named_jsonl(source):
    rows, problems, _ = read(source(json.dumps(ROWS, indent=1).encode()))
    assert rows == list(enumerate(ROWS, start=1))
    assert not problems


def test_a_document_of_many_rows_under_one_key_takes_linear_time(tmp_path):
    # One parse a closing bracket would take minutes.
    rows = [ROWS[1]] * 20_000
    (tmp_path / "rows.jsonl").write_text(json.dumps({"data": rows}, indent=2))
    ((_, document),) = read_rows(tmp_path / "rows.jsonl")
    assert document == {"data": rows}


def columns_of(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("rows", [TEXTS, [ROWS[1], ROWS[1]]])
@pytest.mark.parametrize("form", ["lists", "columns", "index", "records", "split", "table"])
def test_json_column_by_column_and_the_other_forms_of_pandas(tmp_path, form, rows):
    path = tmp_path / "rows.json"
    if form == "lists":
        path.write_text(json.dumps(columns_of(rows), indent=1))
    else:
        pandas = pytest.importorskip("pandas")
        pandas.DataFrame(rows).to_json(path, orient=form)
    assert [{name: row[name] for name in rows[0]} for _, row in read_rows(path)] == rows


def test_json_column_by_column_on_one_line(source):
    rows, problems, _ = read(source(json.dumps(columns_of(TEXTS)).encode()))
    assert [row for _, row in rows] == TEXTS
    assert not problems


@pytest.mark.parametrize(
    "row",
    [
        *ROWS,
        {"chosen": ROWS[1]["chosen"], "rejected": ROWS[1]["rejected"]},
        {"completions": ["a", "b"], "scores": [1, 2]},
        {"conversations": [{"from": "human", "value": "a"}], "tags": ["x"]},
        {"prompt": ["a"]},
        {"prompt": ["a", "b"], "chosen": ["c"]},
        {"prompt": {"0": "a", "1": "b"}, "chosen": {"0": "c", "2": "d"}},
    ],
)
def test_one_row_is_not_taken_for_columns(tmp_path, row):
    (tmp_path / "rows.json").write_text(json.dumps(row))
    assert list(read_rows(tmp_path / "rows.json")) == [(1, row)]


TWICE = b'{"prompt": "a", "prompt": "b", "chosen": "c", "rejected": "d"}\n'


def test_a_key_that_stands_twice_is_a_problem_of_the_row(source):
    good = json.dumps(TEXTS[0]).encode() + b"\n"
    data = good + TWICE + b'{"prompt": "a", "chosen_ratings": {"x": 1, "x": 2, "x": 2}}\n' + good
    rows, problems, errors = read(source(data))
    assert [line for line, _ in rows] == [1, 4]
    assert problems == [(2, "prompt", "duplicate key"), (3, "chosen_ratings.x", "duplicate key")]
    assert "the key 'prompt' is given twice" in str(errors[0])
    assert "the key 'x' is given 3 times" in str(errors[1])


def test_a_key_that_stands_twice_in_a_document(tmp_path):
    (tmp_path / "rows.json").write_bytes(b"[" + json.dumps(TEXTS[0]).encode() + b"," + TWICE + b"]")
    assert read(tmp_path / "rows.json")[:2] == ([(1, TEXTS[0])], [(2, "prompt", "duplicate key")])
    for whole in (b'{"data": [], "data": []}', b'{"prompt": ["a"], "prompt": ["b"], "chosen": ["c"]}'):
        (tmp_path / "rows.json").write_bytes(whole)
        assert [kind for _, _, kind in read(tmp_path / "rows.json")[1]] == ["duplicate key"]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("prompt", '[{"role": "user", "role": "user", "content": "a"}]'),
        ("objective_votes", '{"a": 1, "a": 2}'),
        ("tools", '[{"name": "f", "name": "g"}]'),
    ],
)
def test_a_key_that_stands_twice_in_a_cell_of_csv(tmp_path, column, cell):
    quoted = cell.replace('"', '""')
    (tmp_path / "rows.csv").write_text(f'{column},chosen\n"{quoted}",c\n')
    rows, problems, errors = read(tmp_path / "rows.csv")
    assert not rows
    assert problems == [(2, column, "invalid cell")]
    assert "twice" in str(errors[0])


def test_tools_as_text_with_a_key_twice_are_a_problem_of_the_row(tmp_path):
    row = {**TEXTS[0], "tools": '[{"name": "f", "name": "g"}]'}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(InvalidDataError, match="'name' is given twice"):
        load_judgments(tmp_path / "rows.jsonl")


BOM = codecs.BOM_UTF8


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows"])
def test_the_marks_of_joined_files_are_skipped(source, name):
    lines = [json.dumps(row).encode() + b"\n" for row in TEXTS]
    rows, problems, _ = read(source(BOM + lines[0] + BOM + BOM + lines[1] + BOM + b"\n" + lines[2] + BOM, name))
    assert [row for _, row in rows] == TEXTS
    assert not problems


def test_the_marks_of_joined_pretty_printed_and_csv_files_are_skipped(tmp_path):
    (tmp_path / "rows.json").write_bytes(b"".join(BOM + json.dumps(row, indent=1).encode() + b"\n" for row in TEXTS))
    assert [row for _, row in read_rows(tmp_path / "rows.json")] == TEXTS
    (tmp_path / "rows.csv").write_bytes(BOM + b"prompt,chosen\na,b\n" + BOM + b'"c",d\n')
    assert [row["prompt"] for _, row in read_rows(tmp_path / "rows.csv")] == ["a", "c"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.txt", "rows.jsonl.gz"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_utf_16_and_utf_32_are_named(tmp_path, name, encoding):
    data = "".join(json.dumps(row) + "\n" for row in TEXTS).encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(DataError, match=rf"{encoding[:6].upper()}.*UTF-8") as caught:
        list(read_rows(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_utf_16_on_standard_input_is_named(monkeypatch):
    data = json.dumps(TEXTS[0]).encode("utf-16")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(DataError, match="<stdin>: the text is UTF-16"):
        list(read_rows("-"))


def test_marks_before_elements_of_a_list_are_skipped_and_those_in_texts_stay(source):
    texts = [{**TEXTS[0], "prompt": "\ufeffa\ufeff"}, *TEXTS[1:]]
    parts = [json.dumps(row, ensure_ascii=False) for row in texts]
    rows, _, errors = read(source(("[\ufeff" + ",\n\ufeff".join(parts) + "\ufeff]").encode(), "rows.json"))
    assert not errors
    assert [row for _, row in rows] == texts


def test_a_mark_does_not_hide_a_fault(source):
    _, faults, _ = read(source('[\ufeff{"prompt": "a", "prompt": "b"}, {"margin": NaN}]'.encode(), "rows.json"))
    assert faults == [(1, "prompt", "duplicate key"), (2, "margin", "not finite")]
    _, faults, errors = read(source('[\n\ufeff{"prompt": "a",}]'.encode(), "rows.json"))
    assert faults == [(2, "", "invalid JSON")], errors
