"""Where rows come from: formats, splits, the Hub by a stand-in, the real files; and that their order means nothing."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import pytest

from vrm.benchmarks import ExampleRewards, benchmark_names, get_benchmark, published
from vrm.cli.evaluate import find_input
from vrm.cli.main import main
from vrm.errors import ConfigError, DataError

SHARED = Path(__file__).parents[4] / "shared" / "data" / "benchmarks"
NAMES = [name for name in benchmark_names() if name != "bon"]


@pytest.mark.parametrize("name", benchmark_names())
def test_a_benchmark_has_the_name_of_its_file_and_a_line_on_the_page(name):
    assert get_benchmark(name).name == name, "the file's name, with - for _"
    page = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert f"\n| `{name}` |" in page, "add it to the table of docs/benchmarks.md"


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_rows_changes_nothing(load, samples, name):
    benchmark = get_benchmark(name)
    rows = samples.rows(name)
    rows += [{**rows[0]}, {**rows[1]}, {}]
    results = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        loaded = load(name, rows)
        given = samples.rewards(loaded.examples)
        outcomes = benchmark.outcomes(loaded.examples, given)
        intervals = [outcomes.interval(figure) for figure in outcomes.figures]
        texts = [(example.id, example.labels, example.judgment.completions) for example in loaded.examples]
        counts = {reason: entry.count for reason, entry in loaded.unusual.reasons.items()}
        results.append((texts, str(intervals), counts, loaded.notes))
    assert results[0] == results[1] == results[2]
    assert len(results[0][0]) == len(rows) - 1


@pytest.mark.parametrize("file", ["d.json", "d.jsonl", "d.json.gz", "d.jsonl.gz"])
def test_formats_of_text(load, figures, file):
    assert figures(load("judgebench", file=file)) == figures(load("judgebench"))


def test_parquet_and_splits_by_file_name(samples, figures, load, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = samples.rows("rewardbench")
    directory = tmp_path / "published"
    (directory / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), directory / "data" / "filtered-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows * 2), directory / "data" / "raw-00000-of-00001.parquet")
    loaded = get_benchmark("rewardbench").load(str(directory))
    assert figures(loaded) == figures(load("rewardbench", rows))
    assert loaded.rows == len(rows)
    assert "raw-00000" in loaded.notes[0]


def test_a_saved_dataset_is_read_in_its_published_split(samples, figures, load, tmp_path):
    from datasets import Dataset, DatasetDict

    rows = samples.rows("rewardbench")
    parts = {"raw": Dataset.from_list(rows[:1]), "filtered": Dataset.from_list(rows)}
    DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    assert figures(get_benchmark("rewardbench").load(str(tmp_path / "saved"))) == figures(load("rewardbench", rows))


def test_without_a_path_the_hub_is_asked_through_datasets(samples, monkeypatch):
    import datasets

    asked = []

    def load_dataset(name, config=None, data_dir=None):
        asked.append((name, config, data_dir))
        rows = samples.rows("hh-rlhf")
        return datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split in ("train", "test")})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    loaded = get_benchmark("hh-rlhf").load(None)
    assert asked[0] == ("Anthropic/hh-rlhf", None, "helpful-base")
    assert len(asked) == 4
    assert loaded.rows == 16
    assert {example.labels["kind"] for example in loaded.examples} == {"helpful", "harmless"}


def test_a_hub_that_cannot_be_reached_is_an_error_that_says_what_else_to_do(monkeypatch):
    import datasets

    def load_dataset(name, config=None, data_dir=None):
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"allenai/reward-bench.*offline.*rewardbench=PATH"):
        get_benchmark("rewardbench").load(None)


def test_names():
    assert set(NAMES) <= set(benchmark_names())
    for name in NAMES:
        benchmark = get_benchmark(name)
        assert benchmark.name == name
        assert all((benchmark.title, benchmark.description, benchmark.equal_rewards))
    with pytest.raises(ConfigError, match=r"no benchmark 'rm_bench'.*Did you mean 'rm-bench'.*judgebench"):
        get_benchmark("rm_bench")


TOY = """
from vrm.benchmarks.credits import HALF, HALF_TEXT, pair_outcomes
from vrm.benchmarks.sources import FileBenchmark


def _convert(row):
    completions = [row.text("good"), row.text("bad")]
    labels = {"topic": row.label("topic")}
    return [row.example(row.text("question"), completions, [(0, 1)], label="good", labels=labels)]


BENCHMARK = FileBenchmark(
    name="toy-set",
    title="Toy set",
    description="good against bad",
    equal_rewards=HALF_TEXT,
    convert=_convert,
    measure=pair_outcomes(HALF, ["topic"]),
)
"""


@pytest.fixture
def add(tmp_path, monkeypatch):
    """add(text): a file `toy_set.py` beside those of the published benchmarks."""
    monkeypatch.setattr(published, "__path__", [*published.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "vrm.benchmarks.published.toy_set", raising=False)
    yield lambda text: (tmp_path / "toy_set.py").write_text(text, encoding="utf-8")
    sys.modules.pop("vrm.benchmarks.published.toy_set", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("HELPERS = 1\n", r"toy_set\.py: .*`FileBenchmark` called BENCHMARK; this has none"),
        ("BENCHMARK = 'toy-set'\n", r"toy_set\.py: .*this has a str of that name"),
        (TOY.replace("toy-set", "toy_set"), r"toy_set\.py: the name of its BENCHMARK is 'toy_set', .* 'toy-set'"),
    ],
)
def test_a_file_that_is_no_benchmark_is_named_and_hides_no_other(add, capsys, text, message):
    add(text)
    with pytest.raises(ConfigError, match=message):
        get_benchmark("toy-set")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--list"])
    assert stop.value.code == 1
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()] == [n for n in benchmark_names() if n != "toy-set"]
    assert re.search(message, " ".join(captured.err.split()))
    assert "Traceback" not in captured.err


def test_a_new_benchmark_is_one_file(add, tmp_path, samples, figures):
    add(TOY)
    assert "toy-set" in benchmark_names()
    assert find_input("toy-set=rows.jsonl").name == "toy-set"
    rows = [
        {"question": "a?", "good": "yes 2", "bad": "no 1", "topic": "sums"},
        {"question": "b?", "good": "yes 1", "bad": "no 1", "topic": "sums"},
        {"question": "c?", "good": "yes 0", "bad": "no 1"},
    ]
    loaded = get_benchmark("toy-set").load(str(samples.write(tmp_path / "rows.jsonl", rows)))
    assert figures(loaded) == {("all", "accuracy"): 0.5, ("sums", "accuracy"): 0.75}
    (line,) = loaded.unusual.lines()
    assert line.startswith("1 kept: without 'topic': counted in the whole")
    assert line.endswith("rows.jsonl:3)")


def test_levels_that_are_numbers_are_in_the_order_of_numbers(add, tmp_path, samples, figures):
    add(TOY)
    levels = [10, 2, "2.5", -1, "v10", "v9", "easy", "10 turns", "9 turns"]
    rows = [{"question": f"{n}?", "good": "yes 2", "bad": "no 1", "topic": level} for n, level in enumerate(levels)]
    loaded = get_benchmark("toy-set").load(str(samples.write(tmp_path / "rows.jsonl", rows)))
    ordered = ["all", "-1", "2", "2.5", "10", "9 turns", "10 turns", "easy", "v9", "v10"]
    assert [row for row, _ in figures(loaded)] == ordered


def by_length(examples):
    return [
        ExampleRewards(tuple(float(len(str(text))) for text in example.judgment.completions), ())
        for example in examples
    ]


@pytest.mark.shared
def test_the_real_rm_bench_files_load_whole():
    directory = SHARED / "rm-bench"
    if not directory.exists():
        pytest.skip("needs ../shared/data/benchmarks/rm-bench")
    benchmark = get_benchmark("rm-bench")
    loaded = benchmark.load(str(directory))
    assert (loaded.rows, len(loaded.examples)) == (798, 798)
    assert not loaded.unusual.reasons
    assert loaded.notes == ("Absent: math; the row 'all' is the mean of chat, code, safety.",)
    outcomes = benchmark.outcomes(loaded.examples, by_length(loaded.examples))
    found = {(figure.row, figure.column): round(100 * figure.value(outcomes.credit), 1) for figure in outcomes.figures}
    # The figures of "the longer wins" that the data's own page quotes.
    assert [found["chat", column] for column in ("easy", "normal", "hard")] == [81.1, 28.4, 2.6]
    assert [found["code", column] for column in ("easy", "normal", "hard")] == [77.5, 51.9, 25.4]


@pytest.mark.shared
def test_the_real_rmb_best_of_n_file_loads_whole():
    path = SHARED / "rmb-bon.dev.jsonl.gz"
    if not path.exists():
        pytest.skip("needs ../shared/data/benchmarks/rmb-bon.dev.jsonl.gz")
    loaded = get_benchmark("rmb").load(str(path))
    assert (loaded.rows, len(loaded.examples)) == (565, 565)
    assert loaded.unusual.left_out == 0
    assert {example.labels["goal"] for example in loaded.examples} == {"helpfulness", "harmlessness"}
    assert all(len(example.better) == len(example.judgment.completions) - 1 for example in loaded.examples)
