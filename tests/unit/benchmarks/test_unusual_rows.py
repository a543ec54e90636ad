"""Odd rows are counted by reason and never crash; a file that is wrong as a whole is an error that names the place."""

from __future__ import annotations

import gzip
import json

import pytest

from vrm.benchmarks import get_benchmark
from vrm.errors import DataError

# For each benchmark a field of a completion, and how its value is wrapped in the row.
COMPLETIONS = {
    "rewardbench": ("rejected", lambda value: value),
    "rewardbench2": ("rejected", lambda value: [value, "x 1"]),
    "rm-bench": ("chosen", lambda value: [value, "bb 2", "ccc 3"]),
    "rmb": ("chosen", lambda value: {"answer": value}),
    "judgebench": ("response_A", lambda value: value),
    "llmbar": ("output_2", lambda value: value),
    "autoj": ("response 1", lambda value: value),
    "pandalm": ("response2", lambda value: value),
    "mt-bench-human": (
        "conversation_a",
        lambda value: [{"role": "user", "content": "q0"}, {"role": "assistant", "content": value}],
    ),
    "ppe": ("response_1", lambda value: value),
}


@pytest.mark.parametrize("name", COMPLETIONS)
def test_completions_of_any_kind(load, samples, figures, name):
    field, wrapped = COMPLETIONS[name]
    good = samples.rows(name)
    odd = [{**good[0], field: wrapped(value)} for value in (7, 2.5, "", None, ["a"], {"b": 1}, True, "\ud800")]
    missing = {key: value for key, value in good[0].items() if key != field}
    loaded = load(name, good + odd + [missing])
    figures(loaded)
    reasons = {reason: entry.count for reason, entry in loaded.unusual.reasons.items()}
    assert reasons["a number where a text belongs, read as its digits"] == 2
    assert reasons["empty completion"] == 1
    assert reasons["half of a surrogate pair, replaced"] == 1
    assert loaded.unusual.left_out == 5
    assert loaded.rows == len(good) + 9
    assert len(loaded.examples) == len(good) + 4
    texts = [str(example.judgment.completions) for example in loaded.examples]
    assert any("'7'" in text for text in texts)
    places = [place for entry in loaded.unusual.reasons.values() for place in entry.places]
    assert any(place[1] == len(good) + 1 and place[2].startswith(field) for place in places)
    assert json.loads(json.dumps(loaded.unusual.to_dict()))["left_out"] == 5


@pytest.mark.parametrize("name", ["judgebench", "llmbar", "autoj", "pandalm", "rewardbench"])
def test_rows_without_a_field_null_labels_and_rows_that_are_none(load, samples, name):
    good = samples.rows(name)
    label = {"pandalm": "annotator1", "rewardbench": "subset"}.get(name, "label")
    odd = [{}, [1, 2], None, "text", {**good[0], label: None}]
    loaded = load(name, good + odd)
    assert loaded.unusual.left_out == 5
    assert loaded.unusual.reasons["row not readable: not an object"].count == 3
    assert loaded.unusual.reasons[f"'{label}' is null"].count == 1


def test_empty_prompts_identical_sides_and_repeated_ids_are_kept_and_counted(load, samples):
    rows = samples.rows("judgebench")
    rows += [{**rows[0], "question": ""}, {**rows[0], "response_B": rows[0]["response_A"]}, rows[1]]
    loaded = load("judgebench", rows)
    reasons = {reason: (entry.count, entry.action) for reason, entry in loaded.unusual.reasons.items()}
    assert reasons == {
        "empty prompt": (1, "kept"),
        "identical completions, so the rewards are equal": (1, "kept"),
        "id occurs before": (3, "kept"),
    }
    ids = [example.id for example in loaded.examples]
    assert len(set(ids)) == len(ids) == len(rows)
    assert sum(id.startswith("j0~") for id in ids) == 3
    assert sum(id.startswith("j1~") for id in ids) == 2


def test_pandalm_rows_without_input(load, samples):
    rows = samples.rows("pandalm")
    rows[0]["input"] = None
    del rows[1]["input"]
    loaded = load("pandalm", rows)
    assert not loaded.unusual.reasons
    assert {"do 0", "do 1"} <= {example.judgment.prompt for example in loaded.examples}


def test_lines_about_oddities_name_count_reason_and_place(load, samples):
    rows = samples.rows("judgebench")
    rows[2]["response_A"] = None
    loaded = load("judgebench", rows)
    (line,) = loaded.unusual.lines()
    assert line.startswith("1 left out: 'response_A' is null (")
    assert line.endswith("data.json:3, field 'response_A')")


@pytest.mark.parametrize(
    "name", ["judgebench", "rm-bench", "rmb", "pandalm", "rewardbench", "mt-bench-human", "hh-rlhf"]
)
def test_a_file_of_something_else_is_an_error(load, name):
    with pytest.raises(DataError, match=r"data\.json:1: field '\w+'.*None of the 2 rows can be used"):
        load(name, [{"text": "a"}, {"text": "b"}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"rows": [1, 2]}', r"odd\.json:1: field 'label': no field 'label'; the row has: rows"),
        (b'"just text"', r"odd\.json:1: .*a row is a JSON object"),
        (b"17", r"odd\.json:1: .*a row is a JSON object"),
        (b"[]", r"odd\.json.*not a single row"),
        (b"", r"odd\.json.*not a single row"),
        (b"[1, 2]", r"odd\.json:1.*None of the 2 rows"),
        (b'[{"label": ', r"odd\.json:1.*not valid JSON"),
        (b"\xff\xfe[]", r"odd\.json.*UTF-8"),
    ],
)
def test_a_mis_shaped_file_is_an_error(tmp_path, content, message):
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        get_benchmark("judgebench").load(str(path))


def test_damage_is_an_error_and_a_bad_line_is_counted(tmp_path, samples):
    rows = samples.rows("judgebench")
    lines = [json.dumps(row) for row in rows]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join([*lines, "{broken", '{"label": NaN}']))
    loaded = get_benchmark("judgebench").load(str(path))
    assert len(loaded.examples) == len(rows)
    assert loaded.unusual.left_out == 2
    assert loaded.rows == len(rows) + 2
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress("\n".join(lines * 50).encode(), mtime=0)[:-200])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz.*breaks off"):
        get_benchmark("judgebench").load(str(cut))


def test_absent_paths_and_directories_without_data(tmp_path):
    with pytest.raises(DataError, match="no file or directory"):
        get_benchmark("rm-bench").load(str(tmp_path / "absent"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="no data file"):
        get_benchmark("rm-bench").load(str(tmp_path))
    with pytest.raises(DataError, match=r"rmb is not on the Hub.*rmb=PATH"):
        get_benchmark("rmb").load(None)


def test_styles_that_are_missing_are_counted(load, samples):
    rows = samples.rows("rm-bench")
    rows[0]["chosen"] = ["only one 1"]
    rows[1]["rejected"] = "a text"
    loaded = load("rm-bench", rows)
    assert loaded.unusual.left_out == 2
    assert set(loaded.unusual.reasons) == {"not 3 styles", "'rejected' is a text, no list"}
