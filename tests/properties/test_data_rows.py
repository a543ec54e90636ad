"""Any row, any file: checked without a crash, and read back as it was written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vrm.data import InvalidRowError, parse_row, parse_scoring_row, read_rows
from vrm.data.columns import row_columns
from vrm.data.style import says_nothing

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool", "human"]), "content": json_values}),
    max_size=3,
)
rows = st.dictionaries(
    st.sampled_from([*row_columns(), "completion", "other"]), json_values | messages | st.text(min_size=1)
)

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: not says_nothing(text))
names = st.text("abcdefgh_", min_size=1, max_size=6)
numbers = st.floats(-1e6, 1e6)
valid_pairs = st.fixed_dictionaries(
    {"prompt": words, "chosen": words, "rejected": words},
    optional={
        "preference": st.floats(0, 1),
        "margin": numbers,
        "chosen_ratings": st.dictionaries(names, numbers, max_size=3),
        "objective_votes": st.dictionaries(names, st.floats(0.1, 10), min_size=1, max_size=3),
        "category": words,
    },
).filter(lambda row: row["chosen"] != row["rejected"])


@given(rows, st.sampled_from([parse_row, parse_scoring_row]))
@example({"chosen": "0", "rejected": "0"}, parse_scoring_row)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_row_is_a_judgment_or_an_error_that_says_where(row, parse):
    judgment, problems = outcome(parse, row)
    if judgment is None:
        assert problems
        assert all(problem.reason and problem.kind for problem in problems)
    else:
        assert judgment.prompt
        assert all(judgment.completions)
        assert len(judgment.completions) != 1 or parse is parse_scoring_row


def outcome(parse, row):
    try:
        return parse(row, file="f", line=1), ()
    except InvalidRowError as error:
        return None, error.problems


@given(valid_pairs)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_valid_pairs_parse_to_what_they_say(row):
    judgment = parse_row(row)
    assert judgment.completions == [row["chosen"], row["rejected"]]
    assert judgment.preference == row.get("preference", 1.0)
    assert judgment.objective_votes == row.get("objective_votes")


def read(name: str, data: bytes):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes(data)
        return [parse_row(row) for _, row in read_rows(path)]


@given(st.lists(valid_pairs, min_size=1, max_size=5), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_jsonl_and_json_give_the_rows_back(rows, ascii_only):
    expected = [parse_row(row) for row in rows]
    lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode()
    assert read("rows.jsonl", lines) == expected
    assert read("rows.jsonl.gz", gzip.compress(lines)) == expected
    assert read("rows.json", json.dumps(rows, ensure_ascii=ascii_only).encode()) == expected


@given(st.lists(valid_pairs, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_csv_gives_the_rows_back(rows):
    columns = ["prompt", "chosen", "rejected", "preference", "margin", "chosen_ratings", "objective_votes", "category"]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        cells = [row.get(name, "") for name in columns]
        writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    assert read("rows.csv", text.getvalue().encode()) == [parse_row(row) for row in rows]


@given(st.binary(max_size=300), st.sampled_from(["a.jsonl", "a.json", "a.csv"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_read_or_reported(data, name):
    errors: list[InvalidRowError] = []
    with tempfile.TemporaryDirectory() as directory:
        for suffix, content in (("", data), (".gz", gzip.compress(data)[:-9])):
            path = Path(directory) / (name + suffix)
            path.write_bytes(content)
            rows = list(read_rows(path, on_error=errors.append))
            assert rows or errors
            assert all(isinstance(row, dict) for _, row in rows)
