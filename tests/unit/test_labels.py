"""The table of kinds of label against what it names elsewhere."""

from __future__ import annotations

import pytest

from vrm.config import LossConfig
from vrm.core.likelihoods import LIKELIHOODS
from vrm.data.schema import Judgment
from vrm.errors import DataError
from vrm.labels import KINDS, LabelSpace, has_label, likelihoods, multipliers

ROWS = {
    "comparison": Judgment("p", ["a", "b"], preference=0.0),
    "ranking": Judgment("p", ["a", "b"], scores=[0.0, 0.0]),
    "ratings": Judgment("p", ["a", "b"], ratings=[{}, {"x": 0.0}]),
    "votes": Judgment("p", objective_votes={"x": 1.0}),
}


def test_the_built_in_kinds_have_the_likelihoods_of_the_equations_in_the_order_of_the_terms():
    assert likelihoods() == LIKELIHOODS
    assert list(KINDS) == list(LIKELIHOODS)


def test_a_kind_is_known_by_its_own_name_and_observed_by_one_of_its_own_tensors():
    for name, kind in KINDS.items():
        assert kind.name == name
        assert kind.likelihood().label in {tensor.name for tensor in kind.tensors}


def test_multipliers_are_keys_of_the_configuration():
    assert {kind.multiplier for kind in KINDS.values()} - {None} <= set(LossConfig.model_fields)
    assert multipliers(LossConfig(ratings=0.25, votes=3.0)) == {"ratings": 0.25, "votes": 3.0}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_its_kind_alone(name):
    assert [other for other, kind in KINDS.items() if kind.has(ROWS[name])] == [name]
    assert has_label(ROWS[name])


def test_texts_alone_are_no_label():
    assert not has_label(Judgment("p", ["a", "b"], margin=1.0))


def test_values_stand_in_the_order_of_the_objectives_and_others_are_refused():
    space = LabelSpace(("b", "a"), rating_mean={"a": 2.0}, rating_std={"a": 4.0, "b": 0.0})
    assert space.standardized({"a": 10.0, "b": 3.0}) == {"a": 2.0, "b": 3.0}
    assert space.by_objective(ROWS["votes"], {"a": 1.0}, 0.0) == [0.0, 1.0]
    with pytest.raises(DataError, match="objective 'x' is not one of the model's: b, a"):
        space.by_objective(ROWS["votes"], {"x": 1.0}, 0.0)


def test_a_vote_of_zero_needs_no_objective_of_the_model():
    votes = next(tensor for tensor in KINDS["votes"].tensors if tensor.name == "votes")
    row = Judgment("p", objective_votes={"nobody's": 0.0, "x": 2.0})
    assert votes.values(row, LabelSpace(("x", "y"))) == [2.0, 0.0]
    with pytest.raises(DataError, match="nobody's"):
        votes.values(Judgment("p", objective_votes={"nobody's": 1.0}), LabelSpace(("x",)))


def test_scores_that_float32_cannot_tell_apart_keep_their_order():
    (scores,) = KINDS["ranking"].tensors
    row = Judgment("p", ["a", "b", "c"], scores=[1_700_000_001.0, 1_700_000_000.0, 1_700_000_001.0])
    assert scores.values(row, LabelSpace()) == [1.0, 0.0, 1.0]
