"""Rater metrics: reward and nuisance offset together, beside quality metrics that leave the offset out."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from rich.console import Console

from vrm.core.nuisance import NuisanceOffset
from vrm.core.predictive import log_probabilities
from vrm.data.schema import Judgment
from vrm.evaluate.preferences import evaluate_judgments
from vrm.evaluate.tables import print_evaluation
from vrm.inference.engine import RewardEngine
from vrm.inference.extraction import ExtractionOptions
from vrm.inference.rater import RaterOffset
from vrm.metrics import ResampleOptions
from vrm.model import load_model

KNOTS = torch.tensor([[0.0, 2.0, 4.0]]).double()
RATER = RaterOffset(("log_length",), NuisanceOffset(KNOTS, torch.tensor([1.5, 0.5]).double(), 1.0), 0.5)
ROWS = [
    Judgment(f"how {n}", ["good plan " * (1 + n % 3), "no"], preference=(1.0, 0.0, 0.5, 1.0)[n % 4]) for n in range(16)
]
LISTED = Judgment("what", ["a", "the city is good", "water"], scores=[1.0, 2.0, 1.0])


def engine(make_tiny_model, head, **more):
    return RewardEngine(*load_model(make_tiny_model(head, **more)), ExtractionOptions("float32"))


def gains(rows):
    """h of the first completion minus that of the second, factor applied."""
    return torch.stack([RATER(row.completions[:1])[0] - RATER(row.completions[1:2])[0] for row in rows])


def test_labels_are_predicted_by_margin_and_offset_together(make_tiny_model):
    given = engine(make_tiny_model, "bt", nuisance=RATER.to_dict())
    found = evaluate_judgments(given, ROWS, ResampleOptions(resamples=50))
    rewards = given.judge(ROWS).moments.mean
    margins = (rewards[:, 0] - rewards[:, 1]).numpy() + gains(ROWS).numpy()
    labels = np.array([row.preference for row in ROWS])
    # A head without uncertainty: P is the logistic function of the margin, written out.
    losses = labels * np.log1p(np.exp(-margins)) + (1 - labels) * np.log1p(np.exp(margins))
    decided = labels != 0.5
    assert found.rater.negative_log_likelihood == pytest.approx(losses.mean(), abs=1e-5)
    assert found.rater.accuracy.estimate == pytest.approx(np.mean((margins > 0)[decided] == (labels > 0.5)[decided]))
    assert found.rater.measures == ("log_length",)
    assert found.to_dict()["rater"]["accuracy"]["estimate"] == found.rater.accuracy.estimate


def test_quality_metrics_leave_the_offset_out(make_tiny_model):
    given = engine(make_tiny_model, "vrm", nuisance=RATER.to_dict())
    found = evaluate_judgments(given, ROWS, ResampleOptions(resamples=20))
    given.model.config.nuisance = None
    given.reset_report()
    plain = evaluate_judgments(given, ROWS, ResampleOptions(resamples=20))
    assert {**found.to_dict(), "rater": None} == plain.to_dict()
    assert plain.rater is None
    assert abs(found.rater.negative_log_likelihood - plain.pairs.negative_log_likelihood) > 1e-3


def test_probabilities_of_an_uncertain_head_are_averaged_with_the_offset_inside(make_tiny_model):
    given = engine(make_tiny_model, "vrm", nuisance=RATER.to_dict())
    found = evaluate_judgments(given, ROWS, ResampleOptions(resamples=20))
    posteriors = given.judge(ROWS).posteriors
    first, second = posteriors.features.completion(0), posteriors.features.completion(1)
    logs = log_probabilities(posteriors.weights, first, second, posteriors.decoder, target_margin=-gains(ROWS).float())
    labels = torch.tensor([row.preference for row in ROWS])
    expected = -(labels * logs[0] + (1 - labels) * logs[1]).mean()
    assert found.rater.negative_log_likelihood == pytest.approx(float(expected), abs=1e-5)


def test_pairs_of_a_list_have_the_offsets_of_their_own_completions(make_tiny_model):
    given = engine(make_tiny_model, "bt", nuisance=RATER.to_dict())
    found = evaluate_judgments(given, [LISTED], ResampleOptions(resamples=5))
    rewards = given.judge([LISTED]).moments.mean[0].double() + RATER(LISTED.completions)
    pairs = ((0, 1, 0.0), (0, 2, 0.5), (1, 2, 1.0))
    losses = [
        -p * math.log(1 / (1 + math.exp(rewards[b] - rewards[a])))
        - (1 - p) * math.log(1 / (1 + math.exp(rewards[a] - rewards[b])))
        for a, b, p in pairs
    ]
    assert found.rater.negative_log_likelihood == pytest.approx(sum(losses) / 3, abs=1e-5)


def test_one_line_below_the_table_says_it(make_tiny_model):
    def printed(**more):
        console = Console(file=io.StringIO(), width=240)
        print_evaluation(
            console,
            evaluate_judgments(engine(make_tiny_model, "bt", **more), ROWS, ResampleOptions(resamples=5)),
            "x",
        )
        return console.file.getvalue()

    (line,) = [line for line in printed(nuisance=RATER.to_dict()).splitlines() if "nuisance offset" in line]
    found = evaluate_judgments(
        engine(make_tiny_model, "bt", nuisance=RATER.to_dict()), ROWS, options=ResampleOptions(resamples=5)
    ).rater
    assert "(log_length, factor 0.5)" in line
    interval = found.accuracy
    ends = f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
    assert f"accuracy {100 * interval.estimate:.1f} {ends} of 12 pairs, NLL" in line
    assert f"NLL {found.negative_log_likelihood:.3f}" in line
    assert "nuisance" not in printed()
