"""The benchmark `bon`: reading rows with gold scores, and curves from given rewards."""

from __future__ import annotations

import gzip
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from vrm.benchmarks import get_benchmark
from vrm.benchmarks.base import ExampleRewards
from vrm.benchmarks.best_of_n import BENCHMARK, BestOfNBenchmark
from vrm.benchmarks.best_of_n_summary import shown_sizes
from vrm.data.parse import parse_scoring_row
from vrm.data.problems import InvalidRowError
from vrm.data.validation import InvalidDataError
from vrm.errors import ConfigError, DataError
from vrm.metrics import ResampleOptions, best_of_n_curve

FAST = ResampleOptions(resamples=50)


def _row(question, completions, gold, **more):
    return {"prompt": [{"role": "user", "content": question}], "completions": completions, "gold": gold, **more}


ROWS = [
    _row("How hot is the sun?", ["Very.", "About 5,500 degrees at its surface.", "No idea"], [0.5, 2.25, -1], id="c"),
    _row("Name a bird.", ["A wren", "A stone, I think", "Birds fly", "Crow"], [3, -2, 0.0, 3], id="a", category="bio"),
    _row("Two and two?", ["Four.", "Five, or maybe six."], [1, 0], id="b"),
]


@pytest.fixture
def write(tmp_path):
    def write(rows, name="bon.jsonl"):
        path = tmp_path / name
        text = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return str(path)

    return write


def _rewards(examples, *, std=None, relative=True, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for example in examples:
        count = len(example.label)
        spread = rng.uniform(0.1, 2.0, size=(2, count)) if std is None else np.full((2, count), std)
        found.append(
            ExampleRewards(tuple(rng.normal(size=count)), tuple(spread[0]), tuple(spread[1]) if relative else ())
        )
    return found


def _shown(summary, loaded, width=110):
    console = Console(file=io.StringIO(), width=width)
    summary.print(console, loaded)
    return console.file.getvalue()


def test_it_is_registered():
    assert get_benchmark("bon") is BENCHMARK


@pytest.mark.parametrize("name", ["bon.jsonl", "bon.jsonl.gz"])
def test_rows_become_examples_in_order_of_their_ids(write, name):
    loaded = BENCHMARK.load(write(ROWS, name))
    assert [example.id for example in loaded.examples] == ["a", "b", "c"]
    bird, sums, sun = loaded.examples
    assert sun.label == [0.5, 2.25, -1.0]
    assert sun.judgment.completions[2] == [{"role": "assistant", "content": "No idea"}]
    assert sun.judgment.scores is None  # the model may not see the gold scores
    assert bird.labels == {"category": "bio"}
    assert bird.better == ((0, 1), (0, 2))  # not against the other best
    assert sums.better == ((0, 1),)
    assert (loaded.rows, loaded.unusual.left_out) == (3, 0)


def test_without_ids_the_texts_name_a_row_whatever_the_order(write):
    rows = [_row("Same?", ["yes", "no"], gold) for gold in ([1, 0], [0, 1])] + [_row("Other?", ["yes", "no"], [1, 0])]
    first, second = (BENCHMARK.load(write(given)).examples for given in (rows, rows[::-1]))
    assert [(example.id, example.label) for example in first] == [(example.id, example.label) for example in second]
    assert len({example.id for example in first}) == 3


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"gold": [1, 0]}, "gold", "2 numbers for 3 completions"),
        ({"gold": [1, math.nan, 0]}, "gold[1]", "nan is not finite"),
        ({"gold": [1, "good", 0]}, "gold[1]", "'good' is a str; a number is needed"),
        ({"gold": [1, None, 0]}, "gold[1]", "a number is needed"),
        ({"gold": [True, 0, 0]}, "gold[0]", "a number is needed"),
        ({"gold": 3}, "gold", "3 is a int; a list with one number a completion is needed"),
        ({"gold": None}, "gold", "absent or null"),
        ({"completions": ["only"], "gold": [1]}, "completions", "1 completions; there is nothing to pick from"),
        ({"completions": [], "gold": []}, "completions", "0 completions; there is nothing to pick from"),
        ({"completions": "a text"}, "completions", "a list of texts"),
        ({"completions": ["a", "", "c"]}, "completions[1]", "empty or blank"),
        ({"completions": None, "completion": "one"}, "completions", "picks from a list of completions"),
        ({"completions": None}, "completion", "the row has no completion"),
        ({"prompt": None}, "prompt", "absent or null"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(change, field, message):
    with pytest.raises(InvalidRowError) as caught:
        parse_scoring_row({**_row("Q", ["a", "b", "c"], [1, 0, 0]), **change}, file="x.jsonl", line=7, gold=True)
    problem = caught.value.problems[0]
    assert (problem.file, problem.line, problem.field) == ("x.jsonl", 7, field)
    assert message in problem.reason
    assert len(caught.value.problems) == 1


def test_all_problems_of_a_row_are_found():
    with pytest.raises(InvalidRowError) as caught:
        parse_scoring_row(_row("", ["a", "b"], [math.inf, "x", 0]), gold=True)
    assert {problem.field for problem in caught.value.problems} >= {"gold", "gold[0]", "gold[1]"}


BAD = [_row("Q", ["a", "b"], [1]), "not json\n", _row("Q", ["a", "b"], [1, math.nan])]


def test_a_file_with_faults_is_refused_with_all_of_them(write):
    path = write([ROWS[0], *BAD])
    with pytest.raises(InvalidDataError) as caught:
        BENCHMARK.load(path)
    for part in (f"{path}:2: field 'gold'", f"{path}:3", f"{path}:4: field 'gold[1]'", "--on-bad-rows skip"):
        assert part in str(caught.value)


def test_skipped_rows_are_counted_with_their_places(write):
    path = write([*ROWS, *BAD])
    loaded = BestOfNBenchmark(on_bad_rows="skip").load(path)
    assert (len(loaded.examples), loaded.rows, loaded.unusual.left_out) == (3, 6, 3)
    reasons = loaded.unusual.to_dict()["reasons"]
    assert reasons["lengths differ"]["places"] == [{"file": path, "row": 4, "field": "gold"}]
    shown = _shown(BENCHMARK.summarize(loaded.examples, _rewards(loaded.examples), FAST), loaded)
    assert "1 left out: lengths differ" in shown


def test_a_row_with_several_faults_is_one_row_left_out(write):
    loaded = BestOfNBenchmark(on_bad_rows="skip").load(write([*ROWS, _row("Q", ["a", "b", "c"], [None, "x"])]))
    assert loaded.unusual.left_out == 1
    assert [reason["count"] for reason in loaded.unusual.to_dict()["reasons"].values()] == [1]


def test_nothing_to_read_is_an_error(write):
    with pytest.raises(DataError, match="write bon=FILE"):
        BENCHMARK.load(None)
    with pytest.raises(InvalidDataError, match="not a single good row"):
        BestOfNBenchmark(on_bad_rows="skip").load(write(BAD))


@pytest.mark.parametrize("settings", [{"kappas": (1.0, -0.5)}, {"max_n": 1}, {"on_bad_rows": "drop"}])
def test_settings_are_checked(settings):
    with pytest.raises(ConfigError):
        BestOfNBenchmark(**settings)


def test_curves_are_those_of_the_rewards_and_their_lower_bounds(write):
    loaded = BENCHMARK.load(write(ROWS))
    rewards = _rewards(loaded.examples)
    summary = BestOfNBenchmark(kappas=(1.5,)).summarize(loaded.examples, rewards, FAST)
    curves = summary.curves
    assert list(curves) == ["mean", "pessimistic 1.5", "relative 1.5", "longest", "oracle", "random"]

    def expected(scores, n):
        return np.mean(
            [best_of_n_curve(given, ex.label, n)[-1] for given, ex in zip(scores, loaded.examples, strict=True)]
        )

    by_name = {
        "mean": [given.mean for given in rewards],
        "pessimistic 1.5": [np.subtract(given.mean, 1.5 * np.array(given.std)) for given in rewards],
        "relative 1.5": [np.subtract(given.mean, 1.5 * np.array(given.relative_std)) for given in rewards],
        "longest": [[len(text[0]["content"]) for text in ex.judgment.completions] for ex in loaded.examples],
    }
    for name, scores in by_name.items():
        for n in (1, 2):
            assert curves[name].gold[n - 1].estimate == pytest.approx(expected(scores, n)), name
    assert summary.baseline == "mean"
    assert curves["relative 1.5"].difference[1].estimate == pytest.approx(
        curves["relative 1.5"].gold[1].estimate - curves["mean"].gold[1].estimate
    )


def test_kappa_zero_is_the_mean_and_stands_once(write):
    loaded = BENCHMARK.load(write(ROWS))
    summary = BestOfNBenchmark(kappas=(0.0, 2.0, 2.0)).summarize(loaded.examples, _rewards(loaded.examples), FAST)
    assert list(summary.picks) == ["mean", "pessimistic 2", "relative 2"]


def test_without_uncertainty_there_is_only_the_mean_and_a_note(write):
    loaded = BENCHMARK.load(write(ROWS))
    summary = BENCHMARK.summarize(loaded.examples, _rewards(loaded.examples, std=0.0), FAST)
    assert list(summary.picks) == ["mean"]
    assert "no uncertainty" in _shown(summary, loaded)


def test_without_the_relative_spread_its_curves_are_left_out(write):
    loaded = BENCHMARK.load(write(ROWS))
    summary = BENCHMARK.summarize(loaded.examples, _rewards(loaded.examples, relative=False), FAST)
    assert {pick.spread for pick in summary.picks.values()} == {None, "reward"}


def test_dropped_and_short_rows_are_counted(write):
    loaded = BENCHMARK.load(write(ROWS))
    rewards = _rewards(loaded.examples)
    rewards[2] = None
    summary = BestOfNBenchmark(max_n=4).summarize(loaded.examples, rewards, FAST)
    assert (summary.rows, summary.left_out, summary.dropped) == (1, 1, 1)
    shown = _shown(summary, loaded)
    assert "having fewer than 4 completions: 1 of the rows" in shown
    assert "Dropped as overlong: 1 of the rows" in shown
    with pytest.raises(DataError, match="every row was dropped"):
        BENCHMARK.summarize(loaded.examples, [None] * 3, FAST)


def test_json_has_every_curve_with_what_it_is(write):
    loaded = BENCHMARK.load(write(ROWS))
    document = BENCHMARK.summarize(loaded.examples, _rewards(loaded.examples), FAST).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["n"], document["policy_kl"][0], document["sizes"]) == ([1, 2], 0.0, {"2": 1, "3": 1, "4": 1})
    kinds = {name: (curve["kappa"], curve["spread"]) for name, curve in document["curves"].items()}
    assert kinds["mean"] == (0.0, None)
    assert kinds["pessimistic 0.5"] == (0.5, "reward")
    assert kinds["relative 4"] == (4.0, "relative")
    assert kinds["oracle"] == kinds["random"] == kinds["longest"] == (None, None)
    assert {"estimate", "low", "high", "confidence"} == set(document["curves"]["mean"]["gold"][1])


def test_the_table_shows_what_the_json_has(write):
    loaded = BENCHMARK.load(write(ROWS))
    summary = BENCHMARK.summarize(loaded.examples, _rewards(loaded.examples), FAST)
    shown = _shown(summary, loaded)
    curves = summary.curves
    for value in (curves["mean"].gold[1], curves["pessimistic 4"].gold[1], curves["relative 4"].gold[1]):
        assert f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]" in shown
    for name in ("relative 4", "longest"):
        difference = curves[name].difference[1]
        assert f"{difference.estimate:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]" in shown
    assert "1 with 2, 1 with 3, 1 with 4" in shown
    assert "…" not in shown


def test_one_best_of_each_is_said_to_be_an_accuracy(write):
    rows = [_row(f"Q{i}", ["a", "bb", "ccc"], [0, i % 2, 1 - i % 2]) for i in range(4)]
    loaded = BENCHMARK.load(write(rows))
    summary = BENCHMARK.summarize(loaded.examples, _rewards(loaded.examples), FAST)
    assert summary.one_best
    assert "how often the best one is picked" in _shown(summary, loaded)
    assert summary.curves["random"].gold[-1].estimate == pytest.approx(1 / 3)
    assert summary.curves["longest"].gold[-1].estimate == pytest.approx(1 / 2)


def test_outcomes_add_up_to_the_curves(write):
    loaded = BENCHMARK.load(write(ROWS))
    rewards = _rewards(loaded.examples)
    curves = BENCHMARK.summarize(loaded.examples, rewards, FAST).curves
    outcomes = BENCHMARK.outcomes(loaded.examples, rewards)
    values = {figure.column: figure.value(outcomes.credit) for figure in outcomes.figures}
    assert values == {
        "gold, best of all": pytest.approx(curves["mean"].all_completions.estimate),
        "gold, best of 2": pytest.approx(curves["mean"].gold[1].estimate),
    }
    assert outcomes.ids == ("a", "b", "c")
    assert len(set(outcomes.groups)) == 3


def test_outcomes_of_one_n_are_over_the_rows_that_reach_the_end(write):
    loaded = BENCHMARK.load(write(ROWS))
    rewards = _rewards(loaded.examples)
    rewards[0] = None
    benchmark = BestOfNBenchmark(max_n=3)
    outcomes = benchmark.outcomes(loaded.examples, rewards)
    counted = {figure.column: len(outcomes.counted(figure)) for figure in outcomes.figures}
    assert counted == {"gold, best of all": 2, "gold, best of 2": 1, "gold, best of 3": 1}
    curve = benchmark.summarize(loaded.examples, rewards, FAST).curves["mean"]
    assert outcomes.figures[1].value(outcomes.credit) == pytest.approx(curve.gold[1].estimate)


def test_sizes_shown_are_few_and_end_with_the_last():
    assert shown_sizes(1) == [1]
    assert shown_sizes(3) == [1, 2, 3]
    assert shown_sizes(5) == [1, 2, 3, 4, 5]
    assert shown_sizes(100) == [1, 2, 3, 4, 8, 16, 32, 64, 100]
    assert shown_sizes(256) == [1, 2, 3, 4, 8, 16, 32, 64, 128, 256]
