from __future__ import annotations

import json
import math

import numpy as np
import pytest

from vrm import metrics
from vrm.errors import DataError
from vrm.metrics import UNLABELLED, ResampleOptions, by_group, json_ready, pair_predictions, preference_summary


def logs(probability):
    """Log of a probability and of one minus it, as `pair_predictions` takes them."""
    with np.errstate(divide="ignore"):
        return {"log_probability": np.log(probability), "log_complement": np.log1p(-np.asarray(probability))}


@pytest.fixture
def inputs():
    rng = np.random.default_rng(8)
    margins = rng.normal(size=300) * 2
    probability = 1 / (1 + np.exp(-margins))
    preference = (rng.random(300) < probability).astype(float)
    preference[:20] = 0.5
    return {
        "margins": margins,
        "preference": preference,
        "lengths": (rng.integers(1, 60, 300), rng.integers(1, 60, 300)),
        **logs(probability),
        "groups": [f"prompt {row // 3}" for row in range(300)],
    }


def test_summary_holds_what_the_single_metrics_give(inputs):
    pairs = pair_predictions(**inputs)
    summary = preference_summary(pairs, ResampleOptions(0.9, 200, 3), bins=10)
    margins, preference, probability = inputs["margins"], inputs["preference"], pairs.probability
    assert probability == pytest.approx(1 / (1 + np.exp(-margins)), rel=1e-12)
    judged = preference != 0.5
    hits, groups = metrics.pairwise_hits(margins, preference)[judged], np.array(inputs["groups"])[judged]
    assert (summary.count, summary.ties, summary.prompts) == (300, 20, 100)
    assert summary.accuracy == metrics.share_interval(hits, groups, 0.9)
    assert summary.length_controlled == metrics.length_controlled_accuracy(margins, preference, *inputs["lengths"])
    assert summary.longer_wins == metrics.longer_wins(preference, *inputs["lengths"])
    assert summary.negative_log_likelihood == pytest.approx(metrics.negative_log_likelihood(probability, preference))
    assert summary.brier == metrics.brier_score(probability, preference)
    assert summary.calibration == metrics.expected_calibration_error(probability, preference, 10)
    assert summary.calibration_equal_width.binning == "equal_width"
    certainty = np.maximum(probability, 1 - probability)
    half = metrics.selective_accuracy(margins, preference, certainty).at(0.5)
    assert summary.accuracy_most_certain_half == half > summary.accuracy.estimate
    assert summary.selective_area == metrics.selective_accuracy(margins, preference, certainty).area


def test_log_probabilities_keep_saturated_predictions_apart():
    both = [-1e-300, -1e-200, 0.0], [-690.0, -460.0, -math.inf]
    pairs = pair_predictions([1.0, 1.0, 1.0], [1.0, 0.0, 1.0], ([1, 1, 1], [2, 2, 2]), *both)
    assert np.argsort(pairs.certainty).tolist() == [1, 0, 2]
    assert preference_summary(pairs).negative_log_likelihood == pytest.approx(460 / 3)


def test_to_dict_is_strict_json_with_none_for_nan(inputs):
    pairs = pair_predictions([1.0], [0.0], ([5], [5]), **logs([1.0]))
    plain = json_ready(preference_summary(pairs))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["negative_log_likelihood"] == "inf"
    assert plain["accuracy"] == {"estimate": 0.0, "low": None, "high": None, "confidence": 0.95}
    assert plain["length_controlled"]["value"] is None
    assert plain["calibration_equal_width"]["accuracy"][0] is None
    json.dumps(json_ready(preference_summary(pair_predictions(**inputs))), allow_nan=False)


def test_ties_alone_leave_accuracies_unknown():
    summary = preference_summary(pair_predictions([1.0, 2.0], [0.5, 0.5], ([1, 2], [2, 1]), **logs([0.6, 0.5])))
    assert (summary.count, summary.ties) == (2, 2)
    assert json_ready(summary)["accuracy"]["estimate"] is None
    assert math.isnan(summary.accuracy_most_certain_half)
    assert summary.negative_log_likelihood > math.log(2)


def test_by_group_summarizes_each_label(inputs):
    pairs = pair_predictions(**inputs)
    labels = ["b", "a", None] * 100
    result = by_group(lambda rows: preference_summary(pairs.take(rows), ResampleOptions(resamples=50)), labels)
    assert list(result) == [UNLABELLED, "a", "b"]
    rows = np.arange(0, 300, 3)
    alone = pair_predictions(
        inputs["margins"][rows],
        inputs["preference"][rows],
        tuple(side[rows] for side in inputs["lengths"]),
        inputs["log_probability"][rows],
        inputs["log_complement"][rows],
        groups=[inputs["groups"][row] for row in rows],
    )
    assert result["b"] == preference_summary(alone, ResampleOptions(resamples=50))
    assert sum(summary.count for summary in result.values()) == len(pairs) == 300


def test_by_group_refuses_no_labels():
    with pytest.raises(DataError, match="'labels' is empty"):
        by_group(len, [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_complement": [-1.0, -1.0]}, "add up to"),
        ({"lengths": ([1, 1], [1])}, r"'lengths\[1\]' 1"),
        ({"lengths": ([1, -1], [1, 1])}, r"'lengths\[0\]' must hold lengths"),
        ({"groups": ["a"]}, "1 labels for 2 rows"),
        ({"margins": [1.0, math.nan]}, "'margins' must be finite"),
    ],
)
def test_wrong_input_is_named(changes, message):
    inputs = {"margins": [1.0, 2.0], "preference": [1.0, 0.0], "lengths": ([1, 2], [3, 4]), **logs([0.5, 0.6])}
    with pytest.raises(DataError, match=message):
        pair_predictions(**{**inputs, **changes})


def test_json_ready_of_nested_values():
    value = {"a": (1, math.nan, -math.inf), 2: [True, None, "x"], "c": metrics.Interval(1.0, math.nan, 2.0, 0.5)}
    expected = {"a": [1, None, "-inf"], "2": [True, None, "x"]}
    assert json_ready(value) == {**expected, "c": {"estimate": 1.0, "low": None, "high": 2.0, "confidence": 0.5}}
