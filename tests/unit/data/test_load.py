from __future__ import annotations

import gzip
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from vrm.data import (
    InvalidDataError,
    InvalidRowError,
    Source,
    load_judgments,
    parse_scoring_row,
    shared_prompts,
    split_by_prompt,
)
from vrm.errors import ConfigError, DataError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "recipes"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "preferences"


def pair(number: int, **columns):
    return {"prompt": f"Prompt {number}?", "chosen": "Yes.", "rejected": "No.", **columns}


@pytest.fixture
def write(tmp_path):
    def writer(name: str, *rows):
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return writer


def test_rows_of_several_sources_with_their_places_and_names(write):
    first = write("a.jsonl", pair(1), pair(2, source="own"))
    second = write("b.jsonl", pair(3))
    result = load_judgments([first, Source(second, name="beta")])
    assert [(row.file, row.line, row.source) for row in result.judgments] == [
        (str(first), 1, "a"),
        (str(first), 2, "own"),
        (str(second), 1, "beta"),
    ]
    assert {name: len(rows) for name, rows in result.by_source.items()} == {"a": 2, "beta": 1}
    assert result.report.ok
    assert (result.report.rows, result.report.good) == (3, {"a": 2, "beta": 1})


def test_one_path_is_enough_and_equal_names_are_told_apart(write, tmp_path):
    path = write("a.jsonl", pair(1))
    assert len(load_judgments(path).judgments) == 1
    (tmp_path / "sub").mkdir()
    other = write("sub/a.jsonl", pair(2))
    assert list(load_judgments([str(path), other, path]).by_source) == ["a", "a#2", "a#3"]


def test_every_bad_row_of_every_source_is_in_the_one_error(write):
    first = write("a.jsonl", pair(1), pair(2, preference=3, margin="x"), "nonsense", pair(4))
    second = write("b.jsonl", pair(5, chosen="No."))
    with pytest.raises(InvalidDataError) as caught:
        load_judgments([first, second])
    report, text = caught.value.report, str(caught.value)
    assert [(problem.line, problem.field, problem.kind) for problem in report.problems] == [
        (2, "preference", "out of range"),
        (2, "margin", "wrong type"),
        (3, "", "invalid JSON"),
        (1, "chosen", "identical sides"),
    ]
    assert (report.rows, report.good, report.bad) == (5, {"a": 2}, {"a": 2, "b": 1})
    assert "5 rows: 2 good, 3 bad" in text
    assert f"{first}:2: field 'preference': 3.0 is outside [0, 1]" in text
    assert f"{second}:1: field 'chosen'" in text
    assert pickle.loads(pickle.dumps(caught.value)).report.rows == 5


def test_skipped_rows_are_counted(write):
    path = write("a.jsonl", pair(1), pair(2, preference=3), "nonsense", pair(4))
    result = load_judgments(path, on_bad_rows="skip")
    assert [row.line for row in result.judgments] == [1, 4]
    assert result.report.bad == {"a": 2}
    assert result.report.reasons() == {"invalid JSON": 1, "out of range": 1}


def test_without_a_single_good_row_skipping_is_an_error_too(write):
    with pytest.raises(InvalidDataError, match="not a single usable row"):
        load_judgments(write("a.jsonl", "nonsense"), on_bad_rows="skip")


def test_a_truncated_file_stops_the_run_unless_told_to_skip(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    data = gzip.compress("".join(json.dumps(pair(n)) + "\n" for n in range(5000)).encode())
    path.write_bytes(data[:-2000])
    with pytest.raises(InvalidDataError, match="the gzip data breaks off here"):
        load_judgments(path)
    result = load_judgments(path, on_bad_rows="skip")
    assert 1000 < len(result.judgments) < 5000
    assert result.report.reasons() == {"truncated gzip": 1}


def test_a_damaged_file_does_not_hide_what_is_wrong_with_the_others(write, tmp_path):
    damaged = tmp_path / "b.parquet"
    damaged.write_bytes(b"PAR1 damaged")
    result = load_judgments([damaged, write("a.jsonl", pair(1), pair(2, margin="x"))], on_bad_rows="skip")
    assert result.report.reasons() == {"unreadable": 1, "wrong type": 1}
    assert len(result.judgments) == 1


def test_unknown_objectives(write):
    path = write("a.jsonl", pair(1, objective_votes={"saftey": 1}))
    assert load_judgments(path).report.ok
    with pytest.raises(InvalidDataError, match="Did you mean 'safety'"):
        load_judgments(path, objectives=["safety"])


def test_mapping_and_columns_that_nobody_reads(write):
    path = write("a.jsonl", {"q": "Q?", "chosen": "a", "rejected": "b", "id": 1, "perference": 1, "empty": None})
    report = load_judgments(Source(path, mapping={"prompt": "q"})).report
    assert report.ignored == {"id": 1, "perference": 1}
    assert "'perference' (in 1) Did you mean 'preference'?" in report.render()


def test_a_mapped_column_that_no_row_has_is_a_fault(write):
    source = Source(write("a.jsonl", pair(1)), mapping={"margin": "mragin"})
    with pytest.raises(InvalidDataError, match=r"field 'mragin': the mapping takes 'margin' from this column"):
        load_judgments(source)


def test_all_columns_that_rows_lack_are_named_at_once(write):
    path = write("a.jsonl", *({"question": f"q{n}", "better": "a", "worse": "b"} for n in range(3)))
    hint = "--column prompt=question --column chosen=better --column rejected=worse "
    with pytest.raises(InvalidDataError, match=r"skip bad rows \(on_bad_rows: skip\)") as error:
        load_judgments(path)
    assert hint in str(error.value)
    assert "mapping: {prompt: question, chosen: better, rejected: worse}" in str(error.value)
    assert str(error.value).count("(in 3 rows)") == 1
    with pytest.raises(InvalidRowError, match=hint):
        parse_scoring_row({"question": "q", "better": "a", "worse": "b"})
    with pytest.raises(InvalidDataError, match="--column chosen=NAME --column rejected=NAME "):
        load_judgments(write("b.jsonl", {"prompt": "q", "left": "a", "right": "b"}))


def test_limit_reads_no_further(write):
    path = write("a.jsonl", pair(1), pair(2), "nonsense")
    assert [row.line for row in load_judgments(Source(path, limit=2)).judgments] == [1, 2]


def test_weights_repeat_rows_and_leave_by_source_alone(write):
    first, second = write("a.jsonl", *map(pair, range(10))), write("b.jsonl", *map(pair, range(10, 14)))
    result = load_judgments([Source(first, weight=0.5), Source(second, weight=2)])
    assert len(result.judgments) == 5 + 8
    assert {name: len(rows) for name, rows in result.by_source.items()} == {"a": 10, "b": 4}
    assert result.weights == {"a": 0.5, "b": 2}
    kept = {row.prompt for row in load_judgments([Source(first, weight=0.5)], seed=1).judgments}
    assert kept != {row.prompt for row in result.judgments[:5]}


def test_nothing_is_read_if_one_source_is_missing(write):
    with pytest.raises(DataError, match="no file or directory"):
        load_judgments([write("a.jsonl", "nonsense"), "absent.jsonl"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": 0}, "weight of 'a.jsonl' is 0"),
        ({"weight": float("nan")}, "must be a number > 0"),
        ({"weight": True}, "must be a number > 0"),
        ({"mapping": {"promt": "q"}}, "'promt' is not a column of the row schema. Did you mean 'prompt'?"),
        ({"mapping": {"query": "prompt"}}, "Is it the other way round, prompt: query?"),
        ({"mapping": {"prompt": "q", "chosen": "q"}}, "both take the column 'q'"),
        ({"mapping": {"prompt": ""}}, "must be the name of a column"),
        ({"mapping": {"prompt": "q"}, "recipe": "nectar"}, "give 'recipe' or 'mapping'"),
        ({"limit": 0}, "limit is 0"),
    ],
)
def test_sources_check_their_values(arguments, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        Source("a.jsonl", **arguments)


def test_wrong_arguments(write):
    with pytest.raises(ConfigError, match="on_bad_rows must be one of error, skip; got"):
        load_judgments(write("a.jsonl", pair(1)), on_bad_rows="ignore")
    with pytest.raises(ConfigError, match="no source is given"):
        load_judgments([])
    with pytest.raises(ConfigError, match="no recipe 'nectra'"):
        load_judgments(Source(write("b.jsonl", pair(1)), recipe="nectra"))


def test_a_recipe_converts_rows_and_what_it_leaves_out_is_counted():
    result = load_judgments(Source(FIXTURES / "pku-saferlhf.jsonl", recipe="pku-saferlhf"))
    counts = result.report.recipes["pku-saferlhf"]
    assert counts.made == len(result.judgments) > 0
    assert counts.left_out
    assert f"the recipe made {counts.made} rows of {counts.read}" in result.report.render()
    assert f"left out: {counts.left_out.total()}" in result.report.render() or len(counts.left_out) > 1


def test_a_row_that_a_recipe_cannot_convert_has_its_line(tmp_path):
    lines = (FIXTURES / "nectar.jsonl").read_text().splitlines()
    path = tmp_path / "nectar.jsonl"
    path.write_text("\n".join([lines[0], '{"prompt": 5}', *lines[1:]]))
    with pytest.raises(InvalidDataError, match=r"nectar\.jsonl:2: field '\w+': "):
        load_judgments(Source(path, recipe="nectar"))
    skipped = load_judgments(Source(path, recipe="nectar"), on_bad_rows="skip")
    whole = load_judgments(Source(FIXTURES / "nectar.jsonl", recipe="nectar"))
    assert [row.completions for row in skipped.judgments] == [row.completions for row in whole.judgments]
    assert skipped.report.bad == {"nectar": 1}


def test_a_recipe_that_joins_rows(tmp_path):
    result = load_judgments(Source(FIXTURES / "helpsteer2.jsonl", recipe="helpsteer2", limit=1))
    assert result.report.recipes["helpsteer2"].read == 1
    assert result.judgments[0].ratings
    bad = tmp_path / "rows.jsonl"
    bad.write_text('{"response": "x"}\n')
    with pytest.raises(InvalidDataError, match=r"rows\.jsonl: field 'prompt': missing"):
        load_judgments(Source(bad, recipe="helpsteer2"))


def test_a_recipe_that_joins_tables(tmp_path):
    for table in ("survey", "utterances"):
        (tmp_path / f"{table}.jsonl").write_bytes((FIXTURES / f"prism-{table}.jsonl").read_bytes())
    result = load_judgments(Source(tmp_path, recipe="prism"))
    assert any(row.objective_votes for row in result.judgments)
    (tmp_path / "survey.jsonl").unlink()
    with pytest.raises(DataError, match=r"one file 'survey\.\*'; 0 files"):
        load_judgments(Source(tmp_path, recipe="prism"))
    with pytest.raises(DataError, match="it is no directory"):
        load_judgments(Source(tmp_path / "utterances.jsonl", recipe="prism"))


def test_recipes_choose_configuration_folder_and_tables_on_the_hub(monkeypatch):
    import datasets

    calls = []

    def load_dataset(name, config, data_dir):
        calls.append((config, data_dir))
        file = f"prism-{config}" if "prism" in name else "hh-rlhf"
        rows = [json.loads(line) for line in (FIXTURES / f"{file}.jsonl").read_text().splitlines()]
        return [dict(row) for row in rows]

    class Rows(list):
        def with_format(self, _):
            return self

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: Rows(load_dataset(*args, **kwargs)))
    sources = [
        Source("Anthropic/hh-rlhf", recipe="hh-rlhf-helpful-base"),
        Source("HannahRoseKirk/prism-alignment", recipe="prism"),
    ]
    result = load_judgments(sources, on_bad_rows="skip")
    assert calls == [(None, "helpful-base"), ("survey", None), ("utterances", None)]
    assert all(result.by_source.values())


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"torch", "transformers", "datasets", "pyarrow", "pandas", "numpy"}
    code = f"import sys, vrm.data; print(sorted({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


REAL = sorted(SHARED.glob("*.jsonl.gz")) if SHARED.is_dir() else []
# Refusals and short answers that the benchmark's pipeline drew twice for one prompt.
# Three completions of RMB are a zero-width space.
FAULTS_OF_RMB = {"rmb.train": {"identical sides": 12}, "rmb.dev": {"empty completion": 3, "identical sides": 2}}


@pytest.mark.shared
@pytest.mark.skipif(not REAL, reason="../shared/data/preferences is absent")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_have_no_bad_row_but_some_in_rmb(path):
    result = load_judgments(path, on_bad_rows="skip")
    assert result.report.reasons() == FAULTS_OF_RMB.get(path.name.removesuffix(".jsonl.gz"), {})
    assert not result.report.ignored
    kept, held_out = split_by_prompt(result.judgments)
    assert held_out
    assert shared_prompts(kept, held_out) == 0
    assert len(kept) + len(held_out) == len(result.judgments)
