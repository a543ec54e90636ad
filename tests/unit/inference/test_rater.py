"""Offsets of raters as a model carries them."""

from __future__ import annotations

import json
import math

import pytest
import torch

from vrm.core.likelihoods.base import Judgments
from vrm.core.nuisance import NuisanceOffset, spline_basis
from vrm.data.collate import TargetEncoder
from vrm.data.schema import Judgment
from vrm.data.style import style_measures
from vrm.errors import CheckpointError
from vrm.inference.rater import RaterOffset, nuisance_table, rater_margins, rater_offset
from vrm.model.configuration_vrm import VRMConfig

KNOTS = torch.tensor([[0.0, 0.2, 0.9], [0.0, 2.0, 7.0]]).double()
RATER = RaterOffset(
    ("list_density", "log_length"), NuisanceOffset(KNOTS, torch.tensor([0.1, -0.2, 1 / 3, 0.7]).double(), 0.9), 0.5
)
TEXTS = ["short", "- a list\n- of two", [{"role": "assistant", "content": "# A heading\n\nand more of it"}], ""]


def test_measures_are_those_named_in_their_order():
    table = nuisance_table(TEXTS, ["list_density", "log_length"])
    assert table.tolist() == [[style_measures(text)[1], style_measures(text)[0]] for text in TEXTS]
    assert table[1].tolist() == [1.0, math.log1p(len(TEXTS[1]))]
    assert nuisance_table([], ["log_length"]).shape == (0, 1)


def test_the_offset_is_the_factor_times_h():
    table = nuisance_table(TEXTS, RATER.measures)
    expected = 0.5 * spline_basis(table, KNOTS) @ RATER.offset.coefficients
    torch.testing.assert_close(RATER(TEXTS), expected)


def test_a_saved_offset_is_the_same_to_the_last_bit():
    again = RaterOffset.from_dict(json.loads(json.dumps(RATER.to_dict())))
    assert torch.equal(again(TEXTS), RATER(TEXTS))
    assert again.to_dict() == RATER.to_dict()
    config = VRMConfig.from_dict(VRMConfig(nuisance=RATER.to_dict()).to_dict())
    assert torch.equal(rater_offset(config)(TEXTS), RATER(TEXTS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measures": ["list_density", "flattery"]}, "flattery are unknown; this version has log_length"),
        ({"measures": ["log_length"]}, "do not fit together"),
        ({"coefficients": [1.0]}, "1 coefficients, which do not fit together"),
        ({"knots": [1.0, 2.0]}, "do not fit together"),
    ],
)
def test_an_offset_that_cannot_be_is_refused(change, message):
    with pytest.raises(CheckpointError, match=message):
        RaterOffset.from_dict({**RATER.to_dict(), **change})


def test_rater_margins_add_what_the_first_text_gains():
    config = VRMConfig(nuisance=RATER.to_dict())
    margins = torch.tensor([0.25, -1.0])
    found = rater_margins(config, margins, [TEXTS[1], TEXTS[0]], [TEXTS[0], TEXTS[1]])
    gain = float(RATER([TEXTS[1]]) - RATER([TEXTS[0]]))
    assert found.tolist() == pytest.approx([0.25 + gain, -1.0 - gain], abs=1e-6)
    assert abs(gain) > 0.05
    assert rater_margins(VRMConfig(), margins, TEXTS[:2], TEXTS[:2]) is margins


def test_labels_carry_the_offset_of_each_completion():
    rows = [
        Judgment("p", TEXTS[:2], 1.0),
        Judgment("p", objective_votes={"a": 1.0}),
        Judgment("p", TEXTS[:3], scores=[1.0, 2.0, 3.0]),
    ]
    labels = TargetEncoder(("a",), offset=RATER)(rows)
    h = RATER(TEXTS).float().tolist()
    expected = [[h[0], h[1], 0.0], [0.0, 0.0, 0.0], h[:3]]
    torch.testing.assert_close(labels["offsets"], torch.tensor(expected))
    assert torch.equal(Judgments(**labels).offsets, labels["offsets"])
    plain = TargetEncoder(("a",))(rows)
    assert not plain["offsets"].any()
    assert all(torch.equal(plain[key].nan_to_num(9), labels[key].nan_to_num(9)) for key in plain if key != "offsets")
