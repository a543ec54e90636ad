"""Figures and their intervals against direct computation, and the table against the summary."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from rich.console import Console

from vrm.benchmarks import ExampleRewards, Figure, Outcomes, Term, get_benchmark
from vrm.benchmarks.outcomes import mean_figure, mean_of
from vrm.benchmarks.summary import summarize_outcomes
from vrm.metrics import ResampleOptions, bootstrap_rows


@pytest.fixture
def outcomes():
    rng = np.random.default_rng(0)
    size = 60
    first, second = rng.random(size), rng.random(size)
    second[rng.random(size) < 0.3] = np.nan
    masks = [np.arange(size) < 20, np.arange(size) >= 20]
    parts = [
        Figure("a", "x", (Term("first", masks[0], 3.0), Term("second", masks[1], 1.0)), level="part"),
        mean_figure("b", "x", "second", masks[0], "part"),
    ]
    figures = (mean_of("all", "x", parts), *parts, Figure("t", "x", parts[0].terms, total=True))
    groups = tuple(f"g{n % 17}" for n in range(size))
    return Outcomes(tuple(map(str, range(size))), groups, {"first": first, "second": second}, figures)


def test_figures_are_weighted_means_of_means(outcomes):
    first, second = outcomes.credit["first"], outcomes.credit["second"]
    a = (3 * first[:20].mean() + np.nanmean(second[20:])) / 4
    b = np.nanmean(second[:20])
    values = [figure.value(outcomes.credit) for figure in outcomes.figures]
    assert values == pytest.approx([(a + b) / 2, a, b, 4 * a])


def test_a_mean_of_totals_adds_no_weights(outcomes):
    total, plain = outcomes.figures[3], outcomes.figures[2]
    value = mean_of("all", "x", [total, plain]).value(outcomes.credit)
    assert value == pytest.approx((total.value(outcomes.credit) + plain.value(outcomes.credit)) / 2)


def test_intervals_are_those_of_the_bootstrap_over_prompts(outcomes):
    options = ResampleOptions(0.9, 200, 3)
    for figure in outcomes.figures:
        rows = outcomes.counted(figure)
        direct = bootstrap_rows(
            lambda times, figure=figure, rows=rows: figure.value(outcomes.credit, np.repeat(rows, times)),
            len(rows),
            [outcomes.groups[row] for row in rows],
            options,
        )
        found = outcomes.interval(figure, options)
        assert found.estimate == pytest.approx(direct.estimate)
        assert (found.low, found.high) == pytest.approx((direct.low, direct.high), abs=0.02)
        assert found.low < found.estimate < found.high


def test_a_figure_without_examples_is_unknown(outcomes):
    nothing = mean_figure("none", "x", "first", np.zeros(60, dtype=bool))
    assert math.isnan(nothing.value(outcomes.credit))
    assert math.isnan(outcomes.interval(nothing).estimate)


@pytest.fixture
def summary(load, samples):
    loaded = load("rm-bench")
    given = samples.rewards(loaded.examples)
    options = ResampleOptions(resamples=50)
    return loaded, summarize_outcomes(get_benchmark("rm-bench"), loaded.examples, given, options)


def test_the_summary_has_baseline_lengths_and_counts(summary):
    _, result = summary
    easy = next(figure for figure in result.figures if (figure.row, figure.column) == ("chat", "easy"))
    # Characters: right 3, 4, 5; wrong 3, 4, 5 ("a 0", "bb 2", ...): the longer wins all easy pairs and no other.
    assert easy.longer_wins == 1.0
    assert next(figure for figure in result.figures if figure.column == "normal").longer_wins == 0.0
    assert (easy.examples, easy.prompts) == (2, 2)
    (controlled,) = [entry for entry in result.length_controlled if (entry.level, entry.row) == ("", "all")]
    pairs = [
        (given_better > given_other, longer)
        for n in range(5)
        for i, given_better in enumerate((n, 2, 3))
        for j, given_other in enumerate((1, 2, n))
        for longer in [np.sign(i - j)]
        if longer and given_better != given_other
    ]
    ties = [
        (0.5, np.sign(i - j))
        for n in range(5)
        for i, a in enumerate((n, 2, 3))
        for j, b in enumerate((1, 2, n))
        if i != j and a == b
    ]
    sides = [np.mean([hit for hit, longer in pairs + ties if longer == side]) for side in (1, -1)]
    assert controlled.value == pytest.approx(np.mean(sides))
    assert result.equal_pairs == sum(a == b for n in range(5) for a in (n, 2, 3) for b in (1, 2, n))


@pytest.mark.parametrize("name", ["rm-bench", "judgebench", "autoj", "rewardbench2", "ppe", "rmb"])
def test_the_table_shows_the_numbers_of_the_document(load, samples, name):
    loaded = load(name)
    given = samples.rewards(loaded.examples)
    given[0] = None
    result = get_benchmark(name).summarize(loaded.examples, given, ResampleOptions(resamples=50))
    console = Console(width=150, record=True, file=io.StringIO())
    result.print(console, loaded)
    text = " ".join(console.export_text().split())
    document = result.to_dict()
    assert document["scored"] == document["examples"] - 1 == len(given) - 1
    assert "in no figure: 1." in text
    for figure in document["figures"]:
        if figure["estimate"] is not None:
            assert f"{100 * figure['estimate']:.1f}" in text
            assert figure["row"] in text
    assert document["equal_rewards"] in text
    assert f"{loaded.rows} rows read" in text


def test_missing_rewards_do_not_reach_the_baseline(load):
    loaded = load("judgebench")
    given = [None] * len(loaded.examples)
    given[0] = ExampleRewards((1.0, 0.0), (0.0, 0.0))
    result = get_benchmark("judgebench").summarize(loaded.examples, given, ResampleOptions(resamples=10))
    assert result.figures[0].examples == 1
    assert result.figures[0].longer_wins in (0.0, 1.0)
