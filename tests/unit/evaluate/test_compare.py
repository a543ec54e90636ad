from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from vrm.benchmarks.compare import compare_outcomes
from vrm.benchmarks.outcomes import Figure, Outcomes, Term, mean_figure
from vrm.data.schema import Judgment
from vrm.errors import DataError
from vrm.evaluate.collect import Collected
from vrm.evaluate.compare import compare_collected, equality_test
from vrm.evaluate.compare_words import conclusions
from vrm.metrics import (
    ResampleOptions,
    holm,
    length_controlled_accuracy,
    mcnemar,
    style_controlled_accuracy,
    style_log_odds,
    wilson_interval,
)

OPTIONS = ResampleOptions(resamples=300)


def rows(count, prompts=None, categories=None, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Judgment(
            f"prompt {n if prompts is None else n % prompts}",
            ["word " * int(rng.integers(1, 30)), "- word\n" * int(rng.integers(1, 30))],
            preference=float(rng.integers(0, 2)) if n % 10 else 0.5,
            category=None if categories is None else categories[n % len(categories)],
            source="s",
        )
        for n in range(count)
    ]


def said(judgments, accuracy, seed):
    """What a model would have said that is right on this share of the pairs."""
    rng = np.random.default_rng(seed)
    right = rng.random(len(judgments)) < accuracy
    label = np.array([row.preference for row in judgments])
    margin = np.where(right == (label >= 0.5), 1.0, -1.0) * rng.exponential(1.0, len(judgments))
    return Collected(
        margin=margin.tolist(),
        log_first=(-np.log1p(np.exp(-margin))).tolist(),
        log_second=(-np.log1p(np.exp(margin))).tolist(),
        pairs=[(row, 0, 1, row.preference) for row in judgments],
    )


def hits(found):
    label, margin = np.array(found.preference), np.array(found.margin)
    return ((margin > 0) == (label > 0.5))[label != 0.5] * 1.0


def test_measures_against_single_models():
    judgments = rows(300)
    first, second = said(judgments, 0.8, 1), said(judgments, 0.7, 2)
    found = compare_collected(first, second, OPTIONS).overall
    assert (found.count, found.ties, found.prompts) == (300, 30, 300)
    assert (found.accuracy.first, found.accuracy.second) == pytest.approx((hits(first).mean(), hits(second).mean()))
    assert found.accuracy.difference.estimate == pytest.approx(hits(first).mean() - hits(second).mean())
    assert found.mcnemar == mcnemar(hits(first), hits(second))
    assert (found.p_value, found.test) == (found.mcnemar.p_value, "mcnemar")
    for name, model in (("first", first), ("second", second)):
        controlled = length_controlled_accuracy(model.margin, model.preference, *model.lengths).value
        assert getattr(found.length_controlled, name) == pytest.approx(controlled)
        log_odds = style_log_odds(model.style, model.preference, model.prompts)
        controlled = style_controlled_accuracy(model.margin, model.preference, log_odds).accuracy.estimate
        assert getattr(found.style_controlled, name) == pytest.approx(controlled)
        label = np.array(model.preference)
        loss = -(label * model.log_first + (1 - label) * np.array(model.log_second)).mean()
        assert getattr(found.negative_log_likelihood, name) == pytest.approx(loss)
    for measure in (found.accuracy, found.length_controlled, found.style_controlled, found.negative_log_likelihood):
        assert measure.difference.estimate == pytest.approx(measure.first - measure.second)
        assert measure.difference.low < measure.difference.estimate < measure.difference.high


def test_interval_is_paired():
    judgments = rows(400)
    first = said(judgments, 0.8, 1)
    near = said(judgments, 0.8, 1)
    near.margin[1] = -near.margin[1]
    other = said(judgments, 0.8, 5)
    narrow, wide = (compare_collected(first, second, OPTIONS).overall.accuracy.difference for second in (near, other))
    assert narrow.high - narrow.low < 0.2 * (wide.high - wide.low)
    d = hits(first) - hits(other)
    normal = 1.96 * d.std() / math.sqrt(len(d))
    assert (wide.high - wide.low) / 2 == pytest.approx(normal, rel=0.15)


def test_where_prompts_repeat_the_test_flips_prompts():
    judgments = rows(120, prompts=30)
    first, second = said(judgments, 0.9, 1), said(judgments, 0.6, 2)
    found = compare_collected(first, second, OPTIONS).overall
    prompts = np.array([row.prompt for row in judgments if row.preference != 0.5])
    d = hits(first) - hits(second)
    sums = np.array([d[prompts == prompt].sum() for prompt in sorted(set(prompts))])
    exact = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=50_000, rng=1).pvalue
    assert found.test == "sign_flip"
    assert found.p_value == pytest.approx(exact, abs=0.005)
    assert "Prompts repeat (120 pairs, 30 prompts)" in " ".join(conclusions(compare_collected(first, second, OPTIONS)))


def test_shares_of_a_point_are_not_taken_for_whole_ones():
    differences = np.array([1.0, 1.0, 1.0, -1 / 3, -1 / 3, -1 / 3])
    exact = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    p_value, test = equality_test(differences, range(6))
    assert test == "sign_flip"
    assert p_value == pytest.approx(exact, abs=0.02)
    assert mcnemar(differences, np.zeros(6)).p_value == 1.0
    assert equality_test(np.sign(differences), range(6)) == (1.0, "mcnemar")


def test_groups_are_their_rows_and_their_p_values_adjusted():
    judgments = rows(200, categories=["x", "y", "z", None])
    first, second = said(judgments, 0.9, 3), said(judgments, 0.6, 4)
    found = compare_collected(first, second, OPTIONS)
    assert found.by_source == {}
    assert list(found.by_category) == ["(none)", "x", "y", "z"]
    groups = list(found.by_category.values())
    assert [group.holm_p_value for group in groups] == holm([group.p_value for group in groups])
    assert found.overall.holm_p_value is None
    of_x = [row for row, *_ in first.pairs if row.category == "x"]
    alone = [hits(said(judgments, *given))[[r.category == "x" for r in judgments if r.preference != 0.5]].mean()
             for given in ((0.9, 3), (0.6, 4))]  # fmt: skip
    assert found.by_category["x"].count == len(of_x)
    assert (found.by_category["x"].accuracy.first, found.by_category["x"].accuracy.second) == pytest.approx(alone)


def test_pairs_that_one_model_dropped_are_left_out_and_counted():
    judgments = rows(60)
    whole = compare_collected(said(judgments[5:], 0.8, 1), said(judgments[5:], 0.7, 2), OPTIONS).overall
    first, second = said(judgments[5:], 0.8, 1), said(judgments[5:], 0.7, 2)
    extra = said(judgments[:5], 0.5, 3)
    for name in ("margin", "log_first", "log_second", "pairs"):
        setattr(first, name, getattr(extra, name) + getattr(first, name))
        setattr(second, name, getattr(second, name)[::-1])
    found = compare_collected(first, second, OPTIONS)
    assert (found.only_first, found.only_second) == (5, 0)
    assert found.overall.accuracy == whole.accuracy
    assert "5 pairs that only A judged and 0 that only B judged" in " ".join(conclusions(found))
    with pytest.raises(DataError, match="no pair"):
        compare_collected(extra, second, OPTIONS)


def words(count, accuracies, **more):
    judgments = rows(count, **more)
    found = compare_collected(*(said(judgments, value, seed) for seed, value in enumerate(accuracies, 1)), OPTIONS)
    json.dumps(found.to_dict(), allow_nan=False)
    return conclusions(found), found.overall


def test_words_for_a_clear_difference():
    sentences, overall = words(600, (0.9, 0.6))
    low, high = 100 * overall.accuracy.difference.low, 100 * overall.accuracy.difference.high
    size = 100 * overall.accuracy.difference.estimate
    assert sentences[0] == (
        f"A is more accurate than B by {size:.1f} points (95 % interval [{low:.1f}, {high:.1f}]; p < 0.001)."
    )
    turned, _ = words(600, (0.6, 0.9))
    assert turned[0].startswith("B is more accurate than A by ")
    assert "interval -" not in turned[0]
    assert turned[2].startswith("B's probabilities are better than A's: log loss A - B is +0.")


def test_words_for_a_clear_difference_on_few_pairs_are_of_these_pairs():
    sentences, overall = words(11, (1.0, 0.0))
    assert overall.accuracy.difference == wilson_interval(1.0, 9)
    turned, other = words(11, (0.0, 1.0))
    assert other.accuracy.difference.low == -1.0
    assert other.accuracy.difference.high == -wilson_interval(1.0, 9).low
    assert sentences[0].startswith(
        "On these 9 pairs A is more accurate than B by 100.0 points (95 % interval [70.1, 100"
    )
    assert sentences[2].startswith(
        "On these 11 pairs A's probabilities are better than B's, which is not yet shown for "
    )
    assert turned[0].startswith("On these 9 pairs B is more accurate than A by 100.0 points")


def test_words_for_no_difference_say_what_would_be_needed():
    sentences, overall = words(300, (0.75, 0.74))
    assert overall.accuracy.difference.low < 0 < overall.accuracy.difference.high
    assert sentences[0].startswith("A and B cannot be told apart by accuracy: A - B is ")
    d = overall.mcnemar.only_first + overall.mcnemar.only_second
    mean = overall.accuracy.difference.estimate
    expected = (1.95996 + 0.84162) ** 2 * (d / 270 - mean**2) / max(0.01, abs(mean)) ** 2
    assert overall.pairs_needed == pytest.approx(expected, rel=1e-3)
    assert f"about {int(round(expected, 1 - int(math.log10(expected)))):,} pairs like these are needed." in sentences[0]


def test_words_for_models_that_never_differ():
    judgments = rows(80)
    first = said(judgments, 0.8, 1)
    found = compare_collected(first, said(judgments, 0.8, 1), OPTIONS)
    assert conclusions(found)[0] == (
        "A and B are right and wrong on the same of the 72 pairs: their accuracies are equal."
    )
    assert found.overall.pairs_needed == math.inf
    assert found.overall.p_value == 1.0


def test_words_beware_of_few_prompts_few_differences_and_many_groups():
    sentences, _ = words(40, (0.95, 0.95), prompts=8, categories=["x", "y"])
    assert "Only 8 prompts: bootstrap intervals are too short with so few." in sentences
    assert any(sentence.startswith("The models differ on ") for sentence in sentences)
    assert any(sentence.startswith("By category, 0 of 2 groups have p < 0.05;") for sentence in sentences)
    clear, _ = words(400, (0.95, 0.5), categories=["x", "y"])
    (by_category,) = (sentence for sentence in clear if sentence.startswith("By category"))
    assert "2 of 2 groups have p < 0.05, where 0.1 would by chance alone" in by_category
    assert "A - B differs from 0 in x (+" in by_category


def test_an_advantage_that_is_style_is_called_so():
    judgments = [row for row in rows(700, seed=3) if row.preference != 0.5]
    longer = [np.subtract(*map(len, row.completions)) for row in judgments]
    # Labels follow length nine times in ten; A does nothing but read the length, B does better than chance without.
    flips = np.random.default_rng(0).random(len(judgments)) < 0.1
    for row, excess, flip in zip(judgments, longer, flips, strict=True):
        object.__setattr__(row, "preference", float((excess > 0) != flip))
    first, second = said(judgments, 0.5, 1), said(judgments, 0.65, 2)
    first.margin = [float(excess) for excess in longer]
    found = compare_collected(first, second, OPTIONS)
    assert found.overall.accuracy.difference.low > 0.1
    sentences = conclusions(found)
    assert sentences[0].startswith("A is more accurate than B")
    assert sentences[1].endswith("the difference in accuracy may be a matter of length or style.")


def test_without_decided_pairs_only_the_log_loss_is_compared():
    judgments = [Judgment(f"p{n}", ["a", "b"], preference=0.5) for n in range(12)]
    found = compare_collected(said(judgments, 0.5, 1), said(judgments, 0.5, 2), OPTIONS)
    assert math.isnan(found.overall.accuracy.first)
    assert conclusions(found)[0] == "Accuracy cannot be compared: there is no pair with a preferred side."
    assert found.overall.negative_log_likelihood.difference.low < found.overall.negative_log_likelihood.difference.high
    json.dumps(found.to_dict(), allow_nan=False)


def outcomes(credit, groups=None, hard=None):
    count = len(credit)
    hard = np.arange(count) % 2 == 0 if hard is None else hard
    figures = (
        Figure("all", "mean of parts", (Term("hit", hard, 2.0), Term("hit", ~hard, 1.0))),
        mean_figure("easy", "accuracy", "hit", ~hard),
        mean_figure("hard", "accuracy", "hit", hard),
    )
    ids = tuple(map(str, range(count)))
    groups = tuple(ids if groups is None else groups)
    return Outcomes(ids, groups, {"hit": np.asarray(credit, dtype=float)}, figures)


def test_benchmark_figures_are_compared_as_the_benchmark_computes_them():
    rng = np.random.default_rng(5)
    one, other = (rng.random(200) < 0.9) * 1.0, (rng.random(200) < 0.6) * 1.0
    one[3], other[4] = np.nan, np.nan
    found = compare_outcomes(outcomes(one), outcomes(other), OPTIONS)
    assert (found.examples, found.only_first, found.only_second, found.prompts) == (198, 1, 1, 198)
    both = ~np.isnan(one) & ~np.isnan(other)
    hard = np.arange(200) % 2 == 0
    main, easy, difficult = found.figures
    means = [[values[both & part].mean() for part in (hard, ~hard)] for values in (one, other)]
    assert (main.first, main.second) == pytest.approx([(2 * a + b) / 3 for a, b in means])
    assert main.name == "all: mean of parts"
    assert main.p_value is None
    assert main.difference.low < main.difference.estimate < main.difference.high
    assert easy.first == pytest.approx(means[0][1])
    assert difficult.p_value == mcnemar(one[both & hard], other[both & hard]).p_value
    assert [easy.holm_p_value, difficult.holm_p_value] == holm([easy.p_value, difficult.p_value])
    assert found.conclusions[0].startswith("A is better than B on all: mean of parts by ")
    assert found.conclusions[1].startswith("Of 2 further figures 2 have p < 0.05;")
    assert "1 examples that only A judged and 1 that only B judged" in found.conclusions[2]
    json.dumps(found.to_dict(), allow_nan=False)


def test_benchmarks_of_other_units_and_other_examples():
    gold = np.random.default_rng(6).normal(size=60) * 5
    found = compare_outcomes(outcomes(gold), outcomes(gold + 1.0), OPTIONS)
    assert not found.figures[0].share
    assert found.conclusions[0].startswith("B is better than A on all: mean of parts by 1.000 (")
    same = compare_outcomes(outcomes(np.ones(60)), outcomes(np.ones(60)), OPTIONS)
    assert same.conclusions[0].startswith("A and B cannot be told apart on all: mean of parts: A - B is +0.0 points")
    with pytest.raises(DataError, match="same examples"):
        compare_outcomes(outcomes(np.ones(3)), outcomes(np.ones(4)), OPTIONS)
    with pytest.raises(DataError, match="no example"):
        compare_outcomes(outcomes([1.0, np.nan]), outcomes([np.nan, 1.0]), OPTIONS)
