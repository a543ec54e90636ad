"""Label encoders of models."""

import pytest

from vrm.data.schema import Judgment
from vrm.inference.targets import target_encoder
from vrm.model.configuration_vrm import VRMConfig

RATED = {"rating_mean": {"a": 2.0, "b": 3.0}, "rating_std": {"a": 0.5, "b": 1.0}}
ROW = Judgment("p", ["x", "y"], preference=1.0, ratings=[{"a": 3.0}, {"b": 3.0}], objective_votes={"a": 3.0, "b": 1.0})


def test_objectives_stand_in_the_heads_order_and_ratings_are_standardized():
    config = VRMConfig(head="vrm", objectives=["b", "a"], num_free_objectives=1, **RATED)
    labels = target_encoder(config)([ROW])
    assert labels["ratings"][0, 0].tolist() == pytest.approx([float("nan"), 2.0, float("nan")], nan_ok=True)
    assert labels["ratings"][0, 1, 0] == 0.0
    assert labels["votes"][0].tolist() == [0.25, 0.75, 0.0]
    assert target_encoder(config, votes_total=None)([ROW])["votes"][0].tolist() == [1.0, 3.0, 0.0]


def test_objectives_that_steering_left_have_no_column():
    config = VRMConfig(head="vrm", objectives=["b", "a"], num_free_objectives=0, **RATED)
    row = Judgment("p", objective_votes={"a": 2.0})
    assert target_encoder(config, None, objectives=["a"])([row])["votes"].tolist() == [[2.0]]


def test_heads_without_objectives_have_no_such_labels():
    labels = target_encoder(VRMConfig(head="bt"))([Judgment("p", ["x", "y"], preference=1.0)])
    assert labels["ratings"].shape == (1, 2, 0)
    assert labels["votes"].shape == (1, 0)
