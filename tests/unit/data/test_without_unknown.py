from __future__ import annotations

from vrm.data.schema import Judgment
from vrm.data.statistics import without_unknown

ROW = Judgment("p", ["a", "b"], 1.0, ratings=[{"x": 1.0, "z": 2.0}, {"z": 3.0}], objective_votes={"y": 1.0, "z": 2.0})


def test_rows_of_known_objectives_are_left_as_they_are():
    row, unknown = without_unknown(ROW, ["x", "z"], ["y", "z"])
    assert row is ROW
    assert unknown == []


def test_unknown_labels_are_left_out_and_named_each_time():
    row, unknown = without_unknown(ROW, ["x"], ["y"])
    assert row.ratings == [{"x": 1.0}, {}]
    assert row.objective_votes == {"y": 1.0}
    assert (row.prompt, row.completions, row.preference) == (ROW.prompt, ROW.completions, ROW.preference)
    assert sorted(unknown) == ["z", "z", "z"]


def test_ratings_and_votes_are_known_apart_and_none_is_left_of_nothing():
    row, unknown = without_unknown(ROW, ["y"], ["x"])
    assert row.ratings is None
    assert row.objective_votes is None
    assert sorted(unknown) == ["x", "y", "z", "z", "z"]
