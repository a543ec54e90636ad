"""The pairs that judgments compare."""

from vrm.data.schema import Judgment
from vrm.labels import decided_pairs, labelled_pairs


def test_pairs_of_a_judgment():
    assert labelled_pairs(Judgment("p", ["a", "b"], 0.25)) == [(0, 1, 0.25)]
    listed = Judgment("p", ["a", "b", "c"], scores=[1.0, 2.0, 1.0])
    assert labelled_pairs(listed) == [(0, 1, 0.0), (0, 2, 0.5), (1, 2, 1.0)]
    assert labelled_pairs(Judgment("p", objective_votes={"a": 1.0})) == []


def test_decided_pairs_name_the_chosen_first_and_leave_out_ties():
    assert decided_pairs(Judgment("p", ["a", "b"], preference=0.7)) == [(0, 1)]
    assert decided_pairs(Judgment("p", ["a", "b"], preference=0.2)) == [(1, 0)]
    assert decided_pairs(Judgment("p", ["a", "b"], preference=0.5)) == []
    assert decided_pairs(Judgment("p", ["a", "b", "c"], scores=[1.0, 2.0, 2.0])) == [(1, 0), (2, 0)]
    assert decided_pairs(Judgment("p", ["a", "b"])) == []
