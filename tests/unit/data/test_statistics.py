from __future__ import annotations

import pytest

from vrm.data import Judgment, objective_names, rating_statistics

ROWS = [
    Judgment("p", ratings=[{"style": 1.0, "facts": 1e8}, {"style": 2.0}], objective_votes={"tone": 1.0, "zero": 0.0}),
    Judgment("p", ratings=[{"facts": 1e8 + 1}, {}, {"depth": 7.0}], objective_votes={"accuracy": 0.5}),
    Judgment("p", objective_votes={"tone": 5.0}),
    Judgment("p"),
]


def test_names_by_frequency_then_name():
    assert objective_names(ROWS) == (["facts", "style", "depth"], ["tone", "accuracy"])
    assert objective_names([]) == ([], [])


def test_rating_statistics():
    found = rating_statistics(ROWS)
    assert list(found) == ["depth", "facts", "style"]
    assert (found["style"].count, found["style"].mean, found["style"].standard_deviation) == (2, 1.5, 0.5)
    assert found["facts"].standard_deviation == pytest.approx(0.5)
    assert (found["depth"].mean, found["depth"].standard_deviation) == (7.0, 0.0)
