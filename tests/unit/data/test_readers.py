from __future__ import annotations

import gzip
import io
import json
import sys

import pytest

from vrm.data import InvalidRowError, parse_row, read_rows
from vrm.data.readers import locate
from vrm.errors import DataError

ROWS = [
    {"prompt": "Name a tree.", "chosen": "Oak.", "rejected": 'Granite, "rock"', "objective_votes": {"facts": 2}},
    {
        "prompt": [{"role": "user", "content": "Zwölf?\nYes"}],
        "chosen": [{"role": "assistant", "content": "12"}],
        "rejected": [{"role": "assistant", "content": "13"}],
        "preference": 0.75,
        "chosen_ratings": {"facts": 1.5},
    },
    {"prompt": "p", "completions": ["a", "b", "c"], "scores": [1, 2, 3], "source": "s"},
]


def jsonl(rows) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def collect(path, **arguments):
    errors: list[InvalidRowError] = []
    rows = list(read_rows(path, on_error=errors.append, **arguments))
    return rows, [(error.line, error.problems[0].kind) for error in errors], errors


def judgments(path, **arguments):
    return [parse_row(row) for _, row in read_rows(path, **arguments)]


EXPECTED = [parse_row(row) for row in ROWS]


@pytest.fixture(params=["plain", "gzip"])
def write(request, tmp_path):
    def writer(name: str, data: bytes):
        path = tmp_path / (name if request.param == "plain" else f"{name}.gz")
        path.write_bytes(data if request.param == "plain" else gzip.compress(data))
        return path

    return writer


def test_jsonl(write):
    path = write("rows.jsonl", jsonl(ROWS[:1]) + b"\n  \n" + jsonl(ROWS[1:]))
    assert [line for line, _ in read_rows(path)] == [1, 4, 5]
    assert [row for _, row in read_rows(path)] == ROWS


@pytest.mark.parametrize("document", [ROWS, {"data": ROWS, "version": 2}])
def test_json(write, document):
    path = write("rows.json", json.dumps(document, indent=1).encode())
    assert list(read_rows(path)) == list(enumerate(ROWS, start=1))


def test_json_that_is_jsonl_and_json_of_one_row(write):
    assert [row for _, row in read_rows(write("lines.json", jsonl(ROWS)))] == ROWS
    assert [row for _, row in read_rows(write("one.json", jsonl(ROWS[:1])))] == ROWS[:1]


@pytest.mark.parametrize(("name", "separator"), [("rows.csv", ","), ("rows.tsv", "\t")])
def test_csv_and_tsv(write, name, separator):
    import csv

    names = list(dict.fromkeys(name for row in ROWS for name in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    writer.writerow(names)
    for row in ROWS:
        cells = [row.get(name, "") for name in names]
        writer.writerow([cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False) for cell in cells])
    path = write(name, b"\xef\xbb\xbf" + text.getvalue().encode())
    assert judgments(path) == EXPECTED


def test_csv_numbers_are_lines_and_records_may_span_several(write):
    path = write("rows.csv", b'prompt,chosen,rejected\n"a\nb",c,d\ne,f,g\n')
    assert [line for line, _ in read_rows(path)] == [2, 4]


def test_csv_cells_follow_the_mapping(write):
    mapping = {"prompt": "q", "objective_votes": "why"}
    path = write("rows.csv", b'q,why,chosen,extra\n42,"{""facts"": 1}",7,[1]\n')
    assert list(read_rows(path, mapping=mapping)) == [
        (2, {"q": "42", "why": {"facts": 1}, "chosen": "7", "extra": "[1]"})
    ]


def test_csv_empty_cells_are_missing_but_an_empty_prompt_stays_one(write):
    path = write("rows.csv", b"prompt,chosen,rejected,preference,scores\n,a,b,,\n")
    expected = {"prompt": "", "chosen": "a", "rejected": "b", "preference": None, "scores": None}
    assert list(read_rows(path)) == [(2, expected)]


def test_csv_text_that_only_looks_like_messages_stays_text(write):
    path = write("rows.csv", b'prompt,chosen,rejected\n"[{not json",[1],"[{""a"": 1}]"\n')
    assert next(read_rows(path))[1] == {"prompt": "[{not json", "chosen": "[1]", "rejected": '[{"a": 1}]'}


def test_csv_cells_longer_than_the_csv_modules_default(write):
    path = write("rows.csv", b"prompt\n" + b"x" * 200_000 + b"\n")
    assert len(next(read_rows(path))[1]["prompt"]) == 200_000


def test_csv_bad_rows_are_reported_and_the_following_read(write):
    lines = [
        b"prompt,preference,ratings",
        b"a,0.5,",
        b"b,half,",
        b'c,,"[1,"',
        b'd,,"[NaN]"',
        b"e,,,",
        b'"f"g,,',
        b"h\xff,,",
        b"i,1,",
    ]
    rows, kinds, errors = collect(write("rows.csv", b"\n".join(lines) + b"\n"))
    assert [(line, row["prompt"]) for line, row in rows] == [(2, "a"), (9, "i")]
    assert kinds == [
        (3, "invalid cell"),
        (4, "invalid cell"),
        (5, "invalid cell"),
        (6, "lengths differ"),
        (7, "invalid CSV"),
        (8, "not UTF-8"),
    ]
    assert [error.field for error in errors[:3]] == ["preference", "ratings", "ratings"]


@pytest.mark.parametrize("header", [b"a,b,a\n1,2,3\n", b",\n1,2\n"])
def test_csv_bad_header_ends_the_file(write, header):
    rows, kinds, _ = collect(write("rows.csv", header))
    assert (rows, kinds) == ([], [(1, "bad header")])


def test_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [ROWS[1], {**ROWS[1], "preference": None, "chosen_ratings": {"style": 2.0}}]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    found = judgments(path)
    assert found[0] == EXPECTED[1]
    assert found[1].preference == 1.0
    assert [line for line, _ in read_rows(path)] == [1, 2]


def test_parquet_is_known_by_its_content_and_read_in_batches(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "rows.bin"
    votes = pa.array([[("facts", 1.0)]] * 3000, pa.map_(pa.string(), pa.float64()))
    pq.write_table(pa.table({"prompt": [str(n) for n in range(3000)], "objective_votes": votes}), path)
    rows = list(read_rows(path))
    assert [line for line, _ in rows] == list(range(1, 3001))
    assert rows[-1][1] == {"prompt": "2999", "objective_votes": {"facts": 1.0}}


def test_parquet_with_text_that_is_not_utf8(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.array([b"good", b"b\xffd", b"fine"], pa.binary()).view(pa.string())
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": text, "n": [1, 2, 3]}), path)
    rows, kinds, errors = collect(path)
    assert [row["prompt"] for _, row in rows] == ["good", "fine"]
    assert kinds == [(2, "not UTF-8")]
    assert (errors[0].field, "byte 2 is 0xff" in errors[0].reason) == ("prompt", True)


@pytest.mark.parametrize(("name", "data"), [("a.parquet", b"hello"), ("b.parquet", b"PAR1 damaged")])
def test_damaged_parquet(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=name):
        list(read_rows(path))


def test_saved_dataset_and_dataset_dict(tmp_path):
    import datasets

    data = datasets.Dataset.from_list([ROWS[1], ROWS[1]])
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": data, "test": data.select([0])}).save_to_disk(tmp_path / "two")
    assert judgments(tmp_path / "one") == [EXPECTED[1]] * 2
    assert len(judgments(f"{tmp_path}/two:test")) == 1
    assert len(judgments(tmp_path / "two", split="train")) == 2
    with pytest.raises(DataError, match="has the splits train, test; choose one"):
        list(read_rows(tmp_path / "two"))
    with pytest.raises(DataError, match="no split 'dev'; it has train, test"):
        list(read_rows(f"{tmp_path}/two:dev"))
    with pytest.raises(DataError, match="has no splits"):
        list(read_rows(f"{tmp_path}/one:train"))
    with pytest.raises(DataError, match="names the split 'test', but the split 'train'"):
        list(read_rows(f"{tmp_path}/two:test", split="train"))


def test_damaged_saved_dataset(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match="not readable as a saved dataset"):
        list(read_rows(tmp_path))


@pytest.mark.parametrize("prefix", ["", "hub:"])
def test_directory_of_data_files_through_load_dataset(tmp_path, monkeypatch, prefix):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "train.jsonl").write_bytes(jsonl([ROWS[1]]))
    assert judgments(f"{prefix}{directory}") == [EXPECTED[1]]
    assert judgments(f"{prefix}{directory}:train") == [EXPECTED[1]]


def test_hub_arguments_and_failures(monkeypatch):
    import datasets

    calls = []

    def load_dataset(name, config, data_dir):
        calls.append((name, config, data_dir))
        if name.endswith("gone"):
            raise datasets.exceptions.DatasetNotFoundError("no such dataset")
        return datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS[:1])})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert judgments("owner/name:train") == EXPECTED[:1]
    assert judgments("hub:owner/name/config:train") == EXPECTED[:1]
    assert calls == [("owner/name", None, None), ("owner/name", "config", None)]
    with pytest.raises(DataError, match=r"hub:owner/gone: .*DatasetNotFoundError"):
        list(read_rows("hub:owner/gone"))


@pytest.mark.parametrize("data", [jsonl(ROWS), json.dumps(ROWS).encode(), gzip.compress(jsonl(ROWS))])
def test_standard_input(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert [row for _, row in read_rows("-")] == ROWS
    assert not sys.stdin.buffer.closed


def test_jsonl_bad_lines_are_reported_and_the_following_read(write):
    lines = [
        b'{"prompt": "ok"}',
        b'{"prompt": "a", }',
        b'{"prompt": "b\xff"}',
        b"[1, 2]",
        b'{"prompt": "c", "ratings": [{"style": NaN}, {"facts": -Infinity}]}',
        b"[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b'{"prompt": "last"}',
    ]
    rows, kinds, errors = collect(write("rows.jsonl", b"\n".join(lines)))
    assert rows == [(1, {"prompt": "ok"}), (8, {"prompt": "last"})]
    assert kinds == [
        (2, "invalid JSON"),
        (3, "not UTF-8"),
        (4, "not an object"),
        (5, "not finite"),
        (6, "invalid JSON"),
        (7, "invalid JSON"),
    ]
    assert "at column 17" in errors[0].reason
    assert "byte 14 of the line is 0xff" in errors[1].reason
    assert [problem.field for problem in errors[3].problems] == ["ratings[0].style", "ratings[1].facts"]


def test_reading_stops_at_the_first_bad_line_by_default(write):
    rows = read_rows(write("rows.jsonl", b'{"a": 1}\nnonsense\n{"a": 2}\n'))
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(InvalidRowError, match=r"rows\.jsonl(\.gz)?:2: not valid JSON"):
        next(rows)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'[{"a": 1},\n {"a": }]', (2, "invalid JSON")),
        (b'[{"a": 1},\n {"a": "\xff"}]', (2, "not UTF-8")),
        (b'[{"a": 1}, 5]', (2, "not an object")),
        (b'[{"a": 1}, {"a": [NaN]}]', (2, "not finite")),
        (b"5", (1, "not an object")),
    ],
)
def test_bad_json_documents(write, data, expected):
    _, kinds, _ = collect(write("rows.json", data))
    assert kinds == [expected]


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.jsonl", b""), ("b.jsonl", b"\n \n"), ("c.json", b""), ("d.json", b"\n"), ("e.csv", b""), ("f.json", b"[]")],
)
def test_empty_files(write, name, data):
    rows, kinds, _ = collect(write(name, data))
    assert (rows, kinds) == ([], [(0, "empty file")])


def test_csv_with_a_header_alone_is_empty(write):
    assert collect(write("rows.csv", b"prompt,chosen\n"))[1] == [(0, "empty file")]


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.json.gz", "rows.csv.gz"])
def test_truncated_gzip_is_one_error_after_the_complete_rows(tmp_path, name):
    import random

    words = random.Random(0)
    rows = [{"prompt": " ".join(str(words.random()) for _ in range(50))} for _ in range(400)]
    text = jsonl(rows) if "jsonl" in name else json.dumps(rows).encode()
    if "csv" in name:
        text = b"prompt\n" + b"".join(row["prompt"].encode() + b"\n" for row in rows)
    whole = gzip.compress(text)
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) // 2])
    found, kinds, _ = collect(path)
    assert [kind for _, kind in kinds] == ["truncated gzip"]
    if "json.gz" not in name.replace("jsonl", ""):
        assert 100 < len(found) < 300
        assert [row for _, row in found] == rows[: len(found)]
        assert kinds[0][0] == found[-1][0] + 1


def test_gzip_with_damaged_bytes(tmp_path):
    data = bytearray(gzip.compress(jsonl(ROWS * 50)))
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(data)
    assert {kind for _, kind in collect(path)[1]} <= {"unreadable", "invalid JSON", "not UTF-8", "not finite"}
    assert collect(path)[1]


def test_rows_are_streamed(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl(ROWS) + b"nonsense\n")
    rows = read_rows(path)
    assert [next(rows)[0] for _ in ROWS] == [1, 2, 3]  # the bad fourth line has not been read
    rows.close()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.txt", b"hello", "the format is unknown"),
        ("x.jsonl.gz", b"plain", "named .gz, but it is not gzip data"),
        ("x.parquet", b"", "does not begin with the mark PAR1"),
    ],
)
def test_unknown_formats(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / name)


@pytest.mark.parametrize(("name", "data", "kind"), [("a", b' {"p": 1}', "jsonl"), ("b.txt", b"\n[1]", "json")])
def test_unknown_names_are_read_by_content(tmp_path, name, data, kind):
    (tmp_path / name).write_bytes(data)
    assert locate(tmp_path / name).format == kind


def test_missing_files_suggest_a_similar_one(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(jsonl(ROWS))
    with pytest.raises(DataError, match=r"no file or directory .*Did you mean '.*train\.jsonl'\?"):
        read_rows(tmp_path / "trian.jsonl")
    with pytest.raises(DataError, match="does not exist either"):
        read_rows(tmp_path / "absent" / "train.jsonl")
    with pytest.raises(DataError, match="there are no splits in a file"):
        read_rows(f"{tmp_path}/train.jsonl:dev")
    with pytest.raises(DataError, match="there are no splits in a file"):
        read_rows("-", split="dev")


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("a.b.jsonl.gz", "a.b"),
        ("rows.csv", "rows"),
        ("rows.v1", "rows.v1"),
        ("-", "stdin"),
        ("hub:own/name", "own/name"),
    ],
)
def test_stems(tmp_path, monkeypatch, path, stem):
    monkeypatch.chdir(tmp_path)
    if path[0] not in "-h":
        (tmp_path / path).write_bytes(gzip.compress(b"{}") if path.endswith("gz") else b"{}")
    assert locate(path).stem == stem
