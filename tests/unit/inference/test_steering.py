"""Steering after the fact is the engine's steering."""

from __future__ import annotations

import pytest
import torch

from vrm.data.schema import Judgment
from vrm.errors import ConfigError
from vrm.inference.engine import RewardEngine
from vrm.inference.steering import Steering

ROWS = [Judgment("how do i plan", ["good", "no"]), Judgment("help", ["a safe story", "short", "yes please"])]


@pytest.mark.parametrize(
    "steering",
    [Steering({"safety": 3.0}), Steering({}, ("brevity",)), Steering({"helpfulness": 2.0}, ("free_1", "safety"))],
)
def test_steering_a_batch_is_judging_with_a_steered_engine(tiny_model_dir, steering):
    steered = RewardEngine.from_pretrained(tiny_model_dir).judge(ROWS).steered(steering)
    expected = RewardEngine.from_pretrained(tiny_model_dir, steering=steering).judge(ROWS)
    assert (steered.objectives, steered.steering) == (expected.objectives, expected.steering)
    torch.testing.assert_close(steered.moments.mean, expected.moments.mean)
    torch.testing.assert_close(steered.moments.std, expected.moments.std)
    torch.testing.assert_close(steered.posteriors.rating_model.offset, expected.posteriors.rating_model.offset)


def test_without_steering_the_batch_is_the_same(tiny_model_dir):
    batch = RewardEngine.from_pretrained(tiny_model_dir).judge(ROWS)
    assert batch.steered(None) is batch


def test_a_head_without_concentration_cannot_be_emphasized(make_tiny_model):
    batch = RewardEngine.from_pretrained(make_tiny_model("gated")).judge(ROWS)
    with pytest.raises(ConfigError, match="point mass"):
        batch.steered(Steering({"safety": 1.0}))
